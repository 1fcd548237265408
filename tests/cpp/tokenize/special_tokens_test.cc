#include "tokenize/special_tokens.h"

#include <algorithm>
#include <random>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

using Match = SpecialTokens::Match;

std::optional<Match> NaiveFind(const SpecialTokens& specials, std::string_view text,
                               std::size_t from) {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    std::optional<Match> longest;
    for (const SpecialToken& token : specials.tokens()) {
      if (!text.substr(begin).starts_with(token.spelling)) continue;
      const std::size_t end = begin + token.spelling.size();
      if (!longest || end > longest->end) longest = Match{begin, end, token.id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

bool Same(const std::optional<Match>& a, const std::optional<Match>& b) {
  if (!a || !b) return !a && !b;
  return a->begin == b->begin && a->end == b->end && a->id == b->id;
}

TEST_CASE("leftmost, then longest") {
  const SpecialTokens specials({{"<a>", 1}, {"<a><b>", 2}, {"<b>", 3}, {"x", 4}});
  CHECK(Same(specials.Find("..<a><b>"), Match{2, 8, 2}));
  CHECK(Same(specials.Find("..<a><c>"), Match{2, 5, 1}));
  CHECK(Same(specials.Find("..<a><b>", 3), Match{5, 8, 3}));
  CHECK(Same(specials.Find("<x<a>"), Match{1, 2, 4}));
  CHECK(Same(specials.Find("<a"), std::nullopt));
  CHECK(Same(specials.Find(""), std::nullopt));
  CHECK(Same(specials.Find("<a>", 3), std::nullopt));
  CHECK(Same(SpecialTokens().Find("<a>"), std::nullopt));
}

TEST_CASE("bytes above 127 and NUL are bytes like any other") {
  const SpecialTokens specials({{"\xC3\xA9", 1}, {std::string("\0z", 2), 2}, {"a", 3}});
  CHECK(Same(specials.Find("caf\xC3\xA9"), Match{1, 2, 3}));
  CHECK(Same(specials.Find("f\xC3\xA9"), Match{1, 3, 1}));
  CHECK(Same(specials.Find(std::string_view("\0\0z", 3)), Match{1, 3, 2}));
}

TEST_CASE("the search agrees with trying every spelling everywhere") {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    const int num_letters = 1 + round % 3;
    std::vector<SpecialToken> tokens;
    for (TokenId id = 0; id < static_cast<TokenId>(1 + round % 12); ++id) {
      const std::string spelling = testing::RandomLetters(random, 1 + random() % 5, num_letters);
      const bool known = std::any_of(tokens.begin(), tokens.end(),
                                     [&](const auto& token) { return token.spelling == spelling; });
      if (!known) tokens.push_back({spelling, id});
    }
    const SpecialTokens specials(tokens);
    const std::string text = testing::RandomLetters(random, 40, num_letters + 1);
    for (std::size_t from = 0; from <= text.size(); ++from) {
      REQUIRE(Same(specials.Find(text, from), NaiveFind(specials, text, from)));
    }
    for (const SpecialToken& token : tokens) CHECK(specials.IdOf(token.spelling) == token.id);
    CHECK(specials.IdOf("zz") == std::nullopt);
    CHECK(specials.IdOf("") == std::nullopt);
  }
}

TEST_CASE("empty and repeated spellings are refused") {
  CHECK_THROWS_WITH_AS(SpecialTokens({{"", 9}}), "special token 9 has an empty spelling",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(SpecialTokens({{"<x>", 1}, {"<x>", 2}}), "special token <x> is given twice",
                       ArgumentError);
}

TEST_CASE("construction survives failing allocations") {
  const std::vector<SpecialToken> tokens = {{"<|a long enough spelling|>", 1}, {"<b>", 2}};
  CHECK(ctx::testing::FailEveryAllocation([&] { SpecialTokens specials(tokens); }, [] {}) > 0);
}

}  // namespace
}  // namespace ctx::tokenize
