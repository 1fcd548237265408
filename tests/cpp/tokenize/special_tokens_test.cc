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

TEST_CASE("spellings of up to 65,535 bytes, valid UTF-8 only") {
  const std::string longest(65535, 'a');
  const SpecialTokens specials({{longest, 5}});
  CHECK(Same(specials.Find("b" + longest + "a"), Match{1, 1 + longest.size(), 5}));
  CHECK(Same(specials.Find(longest.substr(1)), std::nullopt));
  CHECK_THROWS_WITH_AS(SpecialTokens({{longest + "a", 5}}),
                       "the spelling of special token 5 has 65536 bytes; at most 65535 are allowed",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(SpecialTokens({{"<\xC3", 5}}),
                       "the spelling of special token 5 is not UTF-8", ArgumentError);
}

std::vector<Match> All(const SpecialTokens& specials, std::string_view text,
                       const std::vector<TextRange>& ranges) {
  std::vector<Match> found;
  SpecialTokenMatches matches(specials, text, ranges);
  while (const auto match = matches.Next()) found.push_back(*match);
  return found;
}

std::vector<Match> All(const SpecialTokens& specials, std::string_view text) {
  return All(specials, text, {{0, text.size()}});
}

bool Same(const std::vector<Match>& a, const std::vector<Match>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Match& x, const Match& y) { return Same(std::optional(x), y); });
}

TEST_CASE("all matches are those of one search after the other") {
  std::mt19937 random(6);
  for (int round = 0; round < 3000; ++round) {
    const int num_letters = 1 + round % 3;
    std::vector<SpecialToken> tokens;
    for (TokenId id = 0; id < static_cast<TokenId>(1 + round % 12); ++id) {
      const std::string spelling = testing::RandomLetters(random, 1 + random() % 9, num_letters);
      const bool known = std::any_of(tokens.begin(), tokens.end(),
                                     [&](const auto& token) { return token.spelling == spelling; });
      if (!known) tokens.push_back({spelling, id});
    }
    const SpecialTokens specials(tokens);
    const std::string text = testing::RandomLetters(random, 60, num_letters + round % 2);
    std::vector<Match> expected;
    for (auto match = NaiveFind(specials, text, 0); match;
         match = NaiveFind(specials, text, match->end)) {
      expected.push_back(*match);
    }
    REQUIRE(Same(All(specials, text), expected));
  }
}

TEST_CASE("spellings do not cross the borders of ranges") {
  const SpecialTokens specials({{"<a>", 1}, {"b", 2}});
  const std::string_view text = "<a><a>b<a>b";
  CHECK(Same(All(specials, text, {{0, 3}, {3, 5}, {5, 7}, {8, 11}}),
             {{0, 3, 1}, {6, 7, 2}, {10, 11, 2}}));
  CHECK(All(specials, text, {}).empty());
}

TEST_CASE("single words, stripped white space") {
  SpecialToken word{"<w>", 1};
  word.single_word = true;
  SpecialToken left{"<l>", 2};
  left.lstrip = true;
  SpecialToken right{"<r>", 3};
  right.rstrip = true;
  const SpecialTokens specials({word, left, right, {" x", 4}});
  CHECK(Same(All(specials, "<w> <w>a \xC3\xA9<w>"), {{0, 3, 1}}));
  CHECK(Same(All(specials, "a \xE3\x80\x80\n<l> b"), {{1, 9, 2}}));
  CHECK(Same(All(specials,
                 "a <r> \xC2\xA0"
                 "b"),
             {{2, 8, 3}}));
  // What one has stripped, the next cannot; and a spelling that begins there keeps its space.
  CHECK(Same(All(specials, "<r>  <l>"), {{0, 5, 3}, {5, 8, 2}}));
  CHECK(Same(All(specials, "<r>  x"), {{0, 4, 3}, {4, 6, 4}}));
  // Nothing is left of a token that strips to the left when all of it was stripped before.
  SpecialToken line{"\n", 5};
  line.lstrip = line.rstrip = true;
  CHECK(Same(All(SpecialTokens({line}), "a \n \n b\n"), {{1, 6, 5}, {7, 8, 5}}));
  // Beside a spelling the text of other ranges counts too.
  CHECK(Same(All(specials, "a<w>  <l>", {{1, 4}, {6, 9}}), {{4, 9, 2}}));
  // A search that begins later looks back for words, not for white space.
  CHECK(Same(specials.Find("a<w>", 1), std::nullopt));
  CHECK(Same(specials.Find("a <l>", 2), Match{2, 5, 2}));
}

TEST_CASE("a search reads each byte once, whatever the spellings") {
  // Both sets make a search that starts anew behind each match read the text 1,000 times over.
  std::vector<SpecialToken> runs = {{"a", 0}};
  for (TokenId i = 1; i <= 1000; ++i) runs.push_back({std::string(i, 'a') + "b", i});
  const SpecialTokens specials(runs);
  const std::string text(2'000'000, 'a');
  CHECK(All(specials, text).size() == text.size());
  CHECK(Same(All(specials, text.substr(0, 1500) + "b"),
             All(SpecialTokens({runs[0], runs[1000]}), text.substr(0, 1500) + "b")));

  SpecialToken space{" ", 1};
  space.rstrip = true;
  CHECK(All(SpecialTokens({space}), std::string(1'000'000, ' ')).size() == 1'000'000);
}

TEST_CASE("construction and search survive failing allocations") {
  const std::vector<SpecialToken> tokens = {
      {"<|a long enough spelling|>", 1}, {"<b>", 2}, {"b", 3}, {"bbbc", 4}};
  CHECK(ctx::testing::FailEveryAllocation([&] { SpecialTokens specials(tokens); }, [] {}) > 0);
  const SpecialTokens specials(tokens);
  CHECK(ctx::testing::FailEveryAllocation([&] { specials.Find("bbbd"); }, [] {}) > 0);
}

}  // namespace
}  // namespace ctx::tokenize
