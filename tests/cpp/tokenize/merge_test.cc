#include "tokenize/bpe/merge.h"

#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

using testing::MakeVocabulary;
using testing::NaiveMerge;
using testing::RandomLetters;
using testing::RandomRanks;
using testing::Ranks;
using testing::WithSingleBytes;

std::vector<TokenId> Short(const Vocabulary& vocabulary, std::string_view bytes) {
  std::vector<TokenId> ids(bytes.size());
  ids.resize(MergeShort(vocabulary, bytes, bytes.data() + bytes.size(), ids.data()));
  return ids;
}

std::vector<TokenId> Long(const Vocabulary& vocabulary, std::string_view bytes) {
  std::vector<TokenId> ids;
  MergeLong(vocabulary, bytes, ids);
  return ids;
}

TEST_CASE("the pair of lowest rank is joined first, the leftmost of equals") {
  const Ranks ranks = WithSingleBytes({"bc", "ab", "aa", "abc"});
  const Vocabulary vocabulary = MakeVocabulary(ranks);
  // bc before ab; then a+bc is a token, of whatever rank.
  CHECK(Short(vocabulary, "abc") == std::vector<TokenId>{ranks.at("abc")});
  CHECK(Short(vocabulary, "abd") == std::vector<TokenId>{ranks.at("ab"), 'd'});
  CHECK(Short(vocabulary, "aaa") == std::vector<TokenId>{ranks.at("aa"), 'a'});
}

TEST_CASE("a token that merging cannot reach does not appear") {
  // yz is joined before xy could be, and no token is spelled xyz or yzw.
  const Ranks ranks = WithSingleBytes({"yz", "xy", "xyzw"});
  const Vocabulary vocabulary = MakeVocabulary(ranks);
  CHECK(Short(vocabulary, "xyzw") == std::vector<TokenId>{'x', ranks.at("yz"), 'w'});
}

TEST_CASE("short and long merging agree with the plainest form, for any vocabulary") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int num_letters = 1 + round % 4;
    const Ranks ranks = RandomRanks(random, 1 + round, num_letters, 2 + round % 11);
    const Vocabulary vocabulary = MakeVocabulary(ranks);
    for (std::size_t size = 1; size <= kShortBytes; size += 1 + round % 7) {
      const std::string text = RandomLetters(random, size, num_letters);
      const std::vector<TokenId> expected = NaiveMerge(ranks, text);
      REQUIRE(Short(vocabulary, text) == expected);
      REQUIRE(Long(vocabulary, text) == expected);
    }
  }
}

TEST_CASE("blocks join exactly, for any vocabulary") {
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    const int num_letters = 1 + round % 3;
    const Ranks ranks = RandomRanks(random, 1 + 5 * round, num_letters, 2 + round % 40);
    const Vocabulary vocabulary = MakeVocabulary(ranks);
    const std::string text =
        RandomLetters(random, 2000 + 37 * static_cast<std::size_t>(round), num_letters);
    REQUIRE(Long(vocabulary, text) == NaiveMerge(ranks, text));
  }
}

TEST_CASE("a vocabulary in which the end of the text decides about its beginning") {
  // Tokens b, ab, aab, ...: merging starts at the b and swallows the a's before it one by one, up
  // to the longest token; "aa" ranks last, so it comes into play only afterwards.
  std::vector<std::string> tokens;
  for (std::size_t size = 1; size < 1200; ++size) tokens.push_back(std::string(size, 'a') + "b");
  tokens.push_back("aa");
  const Ranks ranks = WithSingleBytes(tokens);
  const Vocabulary vocabulary = MakeVocabulary(ranks);
  for (const std::size_t num_a : {1100u, 1190u, 2500u}) {
    const std::string text = std::string(num_a, 'a') + "b";
    REQUIRE(Long(vocabulary, text) == NaiveMerge(ranks, text));
  }
  std::string text;
  for (int i = 0; i < 4; ++i) text += std::string(700, 'a') + "b";
  REQUIRE(Long(vocabulary, text) == NaiveMerge(ranks, text));
}

TEST_CASE("a million equal or random bytes come to an end") {
  std::mt19937 random(3);
  const Ranks ranks = RandomRanks(random, 2000, 26, 6);
  const Vocabulary vocabulary = MakeVocabulary(ranks);
  for (const std::string& text :
       {std::string(1'000'000, 'a'), RandomLetters(random, 1'000'000, 26)}) {
    std::size_t size = 0;
    for (const TokenId id : Long(vocabulary, text)) {
      REQUIRE(text.compare(size, vocabulary.Bytes(id).size(), vocabulary.Bytes(id)) == 0);
      size += vocabulary.Bytes(id).size();
    }
    CHECK(size == text.size());
  }
}

TEST_CASE("a failing allocation leaves earlier ids alone") {
  std::mt19937 random(4);
  const Ranks ranks = RandomRanks(random, 50, 3, 5);
  const Vocabulary vocabulary = MakeVocabulary(ranks);
  const std::string text = RandomLetters(random, 5000, 3);
  std::vector<TokenId> ids = {7};
  const auto failures = ctx::testing::FailEveryAllocation(
      [&] {
        std::vector<TokenId> result = ids;
        Merge(vocabulary, text, result);
        CHECK(result.size() > 1);
      },
      [&] { CHECK(ids == std::vector<TokenId>{7}); });
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::tokenize
