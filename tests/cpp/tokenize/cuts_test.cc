#include "tokenize/cuts.h"

#include <array>
#include <random>
#include <string_view>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/kinds_of_encodings.h"
#include "tokenize/merged_run.h"
#include "tokenize/shipped.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

using testing::MakeVocabulary;
using testing::RandomLetters;
using testing::RandomRanks;
using testing::Shipped;

TEST_CASE("parts of a merged run count as merged from scratch") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const Vocabulary vocabulary = MakeVocabulary(RandomRanks(random, 40, 2, 7));
    const std::string text = RandomLetters(random, 1 + random() % 150, 2);
    MergedRun run(vocabulary, text);
    for (std::size_t at = 1; at < text.size(); ++at) {
      REQUIRE(run.CountTo(at) == CountMerged(vocabulary, text.substr(0, at)));
      REQUIRE(run.CountFrom(at) == CountMerged(vocabulary, text.substr(at)));
    }
    const std::string other = RandomLetters(random, 1 + random() % 9, 2);
    const std::size_t at = random() % text.size();
    REQUIRE(run.CountTo(at, other) == CountMerged(vocabulary, text.substr(0, at) + other));
    REQUIRE(run.CountFrom(at, other) == CountMerged(vocabulary, other + text.substr(at)));
    CHECK(run.CountTo(0) == 0);
    CHECK(run.CountFrom(text.size()) == 0);
    CHECK(run.EndOf(run.CountTo(text.size())) == text.size());
    CHECK(run.BeginOfLast(run.CountTo(text.size())) == 0);
  }
}

TEST_CASE("the longest prefix and suffix, every length tried") {
  const Encoding& encoding = Shipped("cl100k_base");
  // Counts go down where a longer text joins tokens: "I'l" has more than "I'll".
  for (const std::string text :
       {"I'll go   there\n\n now 123456 !!!", "aaaaaaaaaaaaaaaaaaaaaaaa"}) {
    for (std::int64_t limit = 0; limit < 20; ++limit) {
      std::size_t prefix = 0;
      std::size_t suffix = text.size();
      for (std::size_t at = 1; at <= text.size(); ++at) {
        if (encoding.CountOrdinary(text.substr(0, at)) <= limit) prefix = at;
        const std::size_t begin = text.size() - at;
        if (encoding.CountOrdinary(text.substr(begin)) <= limit) suffix = begin;
      }
      CHECK(LongestPrefix(encoding, text, limit) == prefix);
      CHECK(LongestSuffix(encoding, text, limit) == suffix);
    }
  }
}

TEST_CASE("every kind of encoding: the longest prefix and suffix, every length tried") {
  std::mt19937 random(3);
  for (const auto& [what, encoding] : testing::KindsOfEncodings()) {
    CAPTURE(what);
    for (int round = 0; round < 150; ++round) {
      const std::string text = testing::HardText(random, random() % 60);
      CAPTURE(text);
      std::vector<std::size_t> borders;
      std::vector<std::int64_t> prefix_counts;
      std::vector<std::int64_t> suffix_counts;
      for (std::size_t at = 0; at <= text.size(); ++at) {
        if (at < text.size() && (text[at] & 0xC0) == 0x80) continue;
        borders.push_back(at);
        prefix_counts.push_back(encoding->CountOrdinary(text.substr(0, at)));
        suffix_counts.push_back(encoding->CountOrdinary(text.substr(at)));
      }
      const std::int64_t count = prefix_counts.back();
      for (const std::int64_t limit :
           {std::int64_t{1}, std::int64_t{2}, count / 3, count / 2, count - 1, count}) {
        CAPTURE(limit);
        std::size_t prefix = 0;
        std::size_t suffix = text.size();
        for (std::size_t i = 0; i < borders.size(); ++i) {
          const std::size_t last = borders.size() - 1 - i;
          if (limit > 0 && prefix_counts[i] <= limit) prefix = borders[i];
          if (limit > 0 && suffix_counts[last] <= limit) suffix = borders[last];
        }
        REQUIRE(LongestPrefix(*encoding, text, limit) == prefix);
        REQUIRE(LongestSuffix(*encoding, text, limit) == suffix);
      }
    }
  }
}

TEST_CASE("every kind of encoding: long texts, the places around the cut tried") {
  std::mt19937 random(4);
  for (const auto& [what, encoding] : testing::KindsOfEncodings()) {
    if (!encoding->normalizer().Promises(Normalizer::Position::kInputStart)) continue;
    CAPTURE(what);
    for (int round = 0; round < 20; ++round) {
      const std::string text = testing::HardText(random, 1500);
      const std::string_view view = text;
      const auto begins = [&](std::size_t at) {
        return at >= text.size() || (text[at] & 0xC0) != 0x80;
      };
      const std::int64_t count = encoding->CountOrdinary(text);
      for (const std::int64_t limit : {count / 7 + 1, count / 2 + 1, count - 1}) {
        CAPTURE(limit);
        const std::size_t prefix = LongestPrefix(*encoding, text, limit);
        const std::size_t suffix = LongestSuffix(*encoding, text, limit);
        REQUIRE(encoding->CountOrdinary(view.substr(0, prefix)) <= limit);
        REQUIRE(encoding->CountOrdinary(view.substr(suffix)) <= limit);
        for (std::size_t more = 1; more < 200; more += 1 + more / 16) {
          const std::size_t end = prefix + more;
          if (end <= text.size() && begins(end)) {
            REQUIRE(encoding->CountOrdinary(view.substr(0, end)) > limit);
          }
          if (more <= suffix && begins(suffix - more)) {
            REQUIRE(encoding->CountOrdinary(view.substr(suffix - more)) > limit);
          }
        }
      }
    }
  }
}

TEST_CASE("long pre-tokens that tokens do not cut alike: every length tried") {
  std::mt19937 random(7);
  for (const char* const name : {"cl100k_base", "qwen3", "r50k_base"}) {
    const Encoding& encoding = Shipped(name);
    for (int round = 0; round < 12; ++round) {
      std::string text;
      while (text.size() < 350) {
        const std::string_view letters =
            std::array{"a", "ab", " ", "-", "\n ", "0", " xyz"}[random() % 7];
        for (auto i = random() % 200; i > 0; --i) text += letters[random() % letters.size()];
      }
      CAPTURE(name);
      CAPTURE(text);
      const std::int64_t count = encoding.CountOrdinary(text);
      for (const std::int64_t limit : {count / 3, count - 1}) {
        std::size_t prefix = 0;
        std::size_t suffix = text.size();
        for (std::size_t at = 1; at <= text.size(); ++at) {
          if (encoding.CountOrdinary(text.substr(0, at)) <= limit) prefix = at;
          const std::size_t begin = text.size() - at;
          if (encoding.CountOrdinary(text.substr(begin)) <= limit) suffix = begin;
        }
        REQUIRE(LongestPrefix(encoding, text, limit) == prefix);
        REQUIRE(LongestSuffix(encoding, text, limit) == suffix);
      }
    }
  }
}

TEST_CASE("parts of a split cover the text") {
  const Encoding& encoding = Shipped("cl100k_base");
  const std::string text = "one two three four five six seven";
  const std::vector<TextSpan> spans = Split(encoding, text, 4, 2);
  REQUIRE(spans.size() == 3);
  CHECK(text.substr(spans[0].begin, spans[0].end - spans[0].begin) == "one two three four");
  CHECK(text.substr(spans[1].begin, spans[1].end - spans[1].begin) == " three four five six");
  CHECK(text.substr(spans[2].begin, spans[2].end - spans[2].begin) == " five six seven");
  CHECK(Split(encoding, "", 4, 0).empty());
  CHECK_THROWS_AS(Split(encoding, text, 0, 0), ArgumentError);
  CHECK_THROWS_AS(Split(encoding, text, 4, 4), ArgumentError);
  CHECK_THROWS_WITH_AS(Split(Shipped("gpt2"), "a \xF0\x9F\xA6\x9C", 1, 0),
                       "the character at byte 2 has more than 1 tokens", ArgumentError);
}

TEST_CASE("cutting survives failing allocations") {
  const Encoding& encoding = Shipped("cl100k_base");
  const std::string text(600, 'a');
  const auto failures = ctx::testing::FailEveryAllocation(
      [&] {
        LongestPrefix(encoding, text, 70);
        LongestSuffix(encoding, text, 70);
      },
      [] {});
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::tokenize
