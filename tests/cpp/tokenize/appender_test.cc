#include "tokenize/appender.h"

#include <random>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/shipped.h"

namespace ctx::tokenize {
namespace {

std::vector<TokenId> Fresh(const Encoding& encoding, const std::vector<std::string>& texts,
                           const std::vector<bool>& trusted) {
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < texts.size(); ++i) segments.push_back({texts[i], trusted[i]});
  std::vector<TokenId> ids;
  encoding.EncodeSegments(segments, ids);
  return ids;
}

/// Pieces that pre-tokenizers and normalizers look at twice when more follows.
const std::vector<std::string> kPieces = {
    " ",      "  ",     "\n",     "\r",     "\t",     "a",      "B",      "don",
    "'",      "l",      "re",     "S",      "1",      "23",     ".",      "/",
    "\u4e2d", "\u0301", "e",      "<|",     "end",    "oftext", "|>",     "'s",
    "ab",     "A",      "\u00a0", "\u1100", "\u1161", "\u11a8", "\u0323", "<|endoftext|>",
    "\u00c5"};

TEST_CASE("after every append the ids are those of a fresh encoding") {
  std::mt19937 random(5);
  for (const char* const name : {"r50k_base", "cl100k_base", "o200k_base", "qwen3"}) {
    const auto encoding = testing::SharedShipped(name);
    for (int round = 0; round < 150; ++round) {
      Appender appender(encoding);
      std::vector<std::string> texts;
      std::vector<bool> trusted;
      std::vector<TokenId> before;
      for (int step = 0; step < 12; ++step) {
        std::string text;
        for (std::size_t i = random() % 4; i > 0; --i) text += kPieces[random() % kPieces.size()];
        texts.push_back(text);
        trusted.push_back(random() % 3 == 0);
        const std::int64_t count_with = appender.CountWith(text, trusted.back());
        REQUIRE(*appender.ids() == before);
        REQUIRE(appender.Append(text, trusted.back()) == count_with);
        const std::vector<TokenId> expected = Fresh(*encoding, texts, trusted);
        std::string shown;
        for (const std::string& part : texts) shown += "[" + part + "]";
        CAPTURE(encoding->name());
        CAPTURE(shown);
        REQUIRE(*appender.ids() == expected);
        REQUIRE(appender.count() == static_cast<std::int64_t>(expected.size()));
        std::size_t same = 0;
        while (same < before.size() && same < expected.size() && before[same] == expected[same]) {
          ++same;
        }
        REQUIRE(appender.changed_from() == same);
        before = expected;
      }
    }
  }
}

TEST_CASE("a long pre-token is merged at its end alone, and rightly") {
  const auto encoding = testing::SharedShipped("cl100k_base");
  std::mt19937 random(6);
  for (const int num_letters : {1, 2, 26}) {
    Appender appender(encoding);
    std::string text;
    for (int step = 0; step < 60; ++step) {
      std::string piece;
      for (std::size_t i = random() % 700; i > 0; --i) {
        piece += static_cast<char>('a' + random() % static_cast<unsigned>(num_letters));
      }
      text += piece;
      appender.Append(piece, false);
      REQUIRE(*appender.ids() == Fresh(*encoding, {text}, {false}));
    }
    text += " end";
    appender.Append(" end", false);
    REQUIRE(*appender.ids() == Fresh(*encoding, {text}, {false}));
  }
}

TEST_CASE("ids that were asked for stay as they were; copies go their own way") {
  const auto encoding = testing::SharedShipped("cl100k_base");
  Appender first(encoding);
  first.Append("one two", false);
  const auto seen = first.ids();
  const std::vector<TokenId> as_seen = *seen;
  Appender second(first);
  first.Append("fold", false);
  second.Append(" three", false);
  CHECK(*seen == as_seen);
  CHECK(*first.ids() == Fresh(*encoding, {"one twofold"}, {false}));
  CHECK(*second.ids() == Fresh(*encoding, {"one two three"}, {false}));
}

TEST_CASE("when memory runs out an append has not happened") {
  const auto encoding = testing::SharedShipped("cl100k_base");
  Appender appender(encoding);
  appender.Append("Some words and an open en", false);
  const std::vector<TokenId> before = *appender.ids();
  const std::string more = "d, <|endoftext|> and then some more words";
  const auto num_failures = ctx::testing::FailEveryAllocation(
      [&] { appender.Append(more, true); }, [&] { REQUIRE(*appender.ids() == before); });
  CHECK(num_failures > 0);
  CHECK(*appender.ids() == Fresh(*encoding, {"Some words and an open en" + more}, {true}));
}

TEST_CASE("when memory runs out a long pre-token has not grown, and goes on to grow") {
  for (const char* const name : {"cl100k_base", "qwen3"}) {
    const auto encoding = testing::SharedShipped(name);
    std::string text;
    for (int i = 0; i < 9000; ++i) text += static_cast<char>('a' + i * i % 23);
    Appender appender(encoding);
    appender.Append(text, false);
    std::mt19937 random(9);
    for (int step = 0; step < 4; ++step) {
      std::string more;
      for (int i = 0; i < 3000; ++i) more += static_cast<char>('a' + random() % 26);
      const std::vector<TokenId> before = *appender.ids();
      const auto num_failures = ctx::testing::FailEveryAllocation(
          [&] { appender.Append(more, false); }, [&] { REQUIRE(*appender.ids() == before); });
      CHECK(num_failures > 0);
      text += more;
      REQUIRE(*appender.ids() == Fresh(*encoding, {text}, {false}));
    }
  }
}

}  // namespace
}  // namespace ctx::tokenize
