#include "tokenize/text_counter.h"

#include <random>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/kinds_of_encodings.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

TEST_CASE("in chunks a text has the tokens that it has as a whole") {
  std::mt19937 random(7);
  for (const auto& [what, encoding] : testing::KindsOfEncodings()) {
    CAPTURE(what);
    for (int round = 0; round < 400; ++round) {
      const std::size_t chunk_bytes = 1 + random() % 12;
      TextCounter counter(*encoding, INT64_MAX, chunk_bytes);
      std::vector<std::string> texts;
      std::vector<Segment> segments;
      for (std::size_t i = 0; i < 1 + random() % 4; ++i) {
        texts.push_back(testing::HardText(random, random() % 40));
      }
      const bool has_special = random() % 3 == 0;
      std::string shown;
      for (std::size_t i = 0; i < texts.size(); ++i) {
        if (has_special && i == 1) {
          segments.push_back({"<s>", true});
          counter.EndSection();
          counter.Add(static_cast<std::int64_t>(encoding->SpecialTokenId("<s>") ? 1 : 0));
          shown += "<s>";
        }
        segments.push_back({texts[i], false});
        counter.Feed(texts[i]);
        shown += "[" + texts[i] + "]";
      }
      counter.EndSection();
      if (has_special && !encoding->SpecialTokenId("<s>")) continue;
      std::vector<TokenId> ids;
      encoding->EncodeSegments(segments, ids);
      CAPTURE(shown);
      CAPTURE(chunk_bytes);
      REQUIRE(counter.count() == std::ssize(ids));
    }
  }
}

TEST_CASE("a limit ends the counting early, and rightly") {
  std::mt19937 random(8);
  for (const auto& [what, encoding] : testing::KindsOfEncodings()) {
    CAPTURE(what);
    for (int round = 0; round < 60; ++round) {
      const std::string text = testing::HardText(random, 60);
      const std::int64_t count = encoding->CountOrdinary(text);
      for (const std::int64_t limit : {count / 2, count - 1, count, count + 1}) {
        TextCounter counter(*encoding, limit, 5);
        counter.FeedLast(text);
        CAPTURE(text);
        REQUIRE(counter.Full() == (count > limit));
      }
    }
  }
}

TEST_CASE("long texts, whose parts are dropped while they are counted") {
  std::mt19937 random(9);
  for (const auto& [what, encoding] : testing::KindsOfEncodings()) {
    CAPTURE(what);
    for (int round = 0; round < 4; ++round) {
      const std::string front = testing::HardText(random, 500);
      const std::string text = front + testing::HardText(random, 60'000);
      std::vector<TokenId> ids;
      encoding->EncodeOrdinary(text, ids);
      REQUIRE(encoding->CountOrdinary(text) == std::ssize(ids));
      REQUIRE(encoding->FitsOrdinary(text, std::ssize(ids)));
      REQUIRE_FALSE(encoding->FitsOrdinary(text, std::ssize(ids) - 1));
      const std::string_view view = text;
      const std::vector<Segment> segments = {
          {front, true}, {"<s>", true}, {view.substr(front.size()), true}};
      ids.clear();
      encoding->EncodeSegments(segments, ids);
      REQUIRE(encoding->CountSegments(segments) == std::ssize(ids));
    }
  }
}

TEST_CASE("bytes fed in parts merge to as many tokens as at once") {
  std::mt19937 random(10);
  for (int round = 0; round < 30; ++round) {
    const Vocabulary vocabulary = testing::MakeVocabulary(testing::RandomRanks(random, 40, 2, 7));
    MergeCounter counter(vocabulary);
    for (const std::size_t size : {0, 1, 5, 64, 65, 3000, 70'000}) {
      const std::string text = testing::RandomLetters(random, size, 2);
      for (std::size_t at = 0; at < size;) {
        const std::size_t part = 1 + random() % 9000;
        counter.Feed(std::string_view(text).substr(at, part));
        at += part;
      }
      std::int64_t expected = 0;
      if (size != 0)
        expected = vocabulary.Find(text) != kNoToken ? 1 : CountMerged(vocabulary, text);
      const auto count = counter.Finish();
      if (count) CHECK(*count == expected);
      if (size < 10'000) CHECK(count);
    }
  }
}

}  // namespace
}  // namespace ctx::tokenize
