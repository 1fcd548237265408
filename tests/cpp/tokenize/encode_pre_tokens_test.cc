#include "tokenize/bpe/encode_pre_tokens.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "doctest/doctest.h"
#include "support/guarded_text.h"
#include "tokenize/bpe/bridges.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/bpe/merge_many.h"
#include "tokenize/bpe/merge_pieces.h"
#include "tokenize/shipped.h"
#include "tokenize/tiny_vocabulary.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

using testing::Shipped;

/// One pre-token after the other, by the plain rule.
std::vector<TokenId> OneByOne(const Vocabulary& vocabulary,
                              const std::vector<std::string>& pre_tokens) {
  std::vector<TokenId> ids;
  for (const std::string& bytes : pre_tokens) {
    const Rank rank = vocabulary.Find(bytes);
    if (rank != kNoToken) {
      ids.push_back(rank);
    } else {
      MergeLong(vocabulary, bytes, ids);
    }
  }
  for (TokenId& id : ids) id = vocabulary.IdOf(id);
  return ids;
}

std::vector<TokenId> Many(const Vocabulary& vocabulary,
                          const std::vector<std::string>& pre_tokens) {
  std::string joined;
  std::vector<std::uint16_t> ends = {0};
  for (const std::string& bytes : pre_tokens) {
    joined += bytes;
    ends.push_back(static_cast<std::uint16_t>(joined.size()));
  }
  ends.resize(ends.size() + 8);
  const ctx::testing::GuardedText text(joined);
  const PreTokens many = {text.view().data(), &ends[1], pre_tokens.size(),
                          text.view().data() + text.view().size(), /*has_wide=*/true};
  IdMemory ids;
  EncodePreTokens(vocabulary, many, ids);
  CHECK(CountPreTokens(vocabulary, many) == static_cast<std::int64_t>(ids.size()));
  return {ids.view().begin(), ids.view().end()};
}

std::string RandomPreToken(std::mt19937& random, const Vocabulary& vocabulary) {
  constexpr std::array<std::string_view, 12> kCharacters = {
      "a",      "e",      "n",      "T",      " ",      "\u0436",
      "\u00E9", "\u4E2D", "\u56FD", "\u306E", "\uD55C", "\U0001F600"};
  std::string bytes;
  const std::size_t kind = random() % 8;
  if (kind < 3) {  // a token, or several; valid UTF-8 alone
    for (std::size_t i = 0; i <= random() % 3; ++i) {
      const std::string_view token = vocabulary.Bytes(static_cast<Rank>(random() % 60000));
      const bool is_ascii = std::all_of(
          token.begin(), token.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
      if (is_ascii) bytes += token;
    }
  } else {
    const std::size_t length = kind == 7 ? random() % 200 : 1 + random() % 20;
    const std::size_t variety = 1 + random() % kCharacters.size();
    for (std::size_t i = 0; i < length; ++i) bytes += kCharacters[random() % variety];
  }
  return bytes.empty() ? "x" : bytes;
}

TEST_CASE("many pre-tokens at a time become what each becomes by itself") {
  std::mt19937 random(7);
  for (const char* const name : {"cl100k_base", "o200k_base", "r50k_base", "qwen3"}) {
    const Vocabulary& vocabulary = Shipped(name).vocabulary();
    std::vector<std::string> seen;
    for (int round = 0; round < 400; ++round) {
      std::vector<std::string> pre_tokens;
      std::size_t size = 0;
      const std::size_t count = 1 + random() % 300;
      while (pre_tokens.size() < count && size < 6000) {
        // Half of them again: from the memos.
        const bool again = !seen.empty() && random() % 2 == 0;
        pre_tokens.push_back(again ? seen[random() % seen.size()]
                                   : RandomPreToken(random, vocabulary));
        size += pre_tokens.back().size();
        if (!again && seen.size() < 3000) seen.push_back(pre_tokens.back());
      }
      REQUIRE(Many(vocabulary, pre_tokens) == OneByOne(vocabulary, pre_tokens));
    }
  }
}

TEST_CASE("every token is found") {
  const Vocabulary& vocabulary = Shipped("cl100k_base").vocabulary();
  std::vector<std::string> pre_tokens;
  std::vector<TokenId> expected;
  for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    const std::string_view token = vocabulary.Bytes(rank);
    if (token.empty() || ValidUtf8Prefix(token) != token.size()) continue;
    pre_tokens.emplace_back(token);
    expected.push_back(rank);
    if (pre_tokens.size() == 400) {
      REQUIRE(Many(vocabulary, pre_tokens) == expected);
      pre_tokens.clear();
      expected.clear();
    }
  }
}

TEST_CASE("control characters are not taken for the lengths of shorter pre-tokens") {
  const Vocabulary& vocabulary = Shipped("cl100k_base").vocabulary();
  std::vector<std::string> pre_tokens;
  for (const std::string_view token : {"a", "the", " return", "Context", "1234567"}) {
    for (int last = 0; last < 256; ++last) {
      std::string bytes(token);
      bytes.resize(7);
      bytes += static_cast<char>(last);
      if (ValidUtf8Prefix(bytes) == bytes.size()) pre_tokens.push_back(bytes);
    }
    pre_tokens.emplace_back(std::string(token) + '\0');
  }
  pre_tokens.emplace_back(8, '\0');
  pre_tokens.emplace_back(5, '\0');
  CHECK(Many(vocabulary, pre_tokens) == OneByOne(vocabulary, pre_tokens));
}

TEST_CASE("merging many is merging each") {
  std::mt19937 random(11);
  for (const char* const name : {"cl100k_base", "o200k_base"}) {
    const Vocabulary& vocabulary = Shipped(name).vocabulary();
    for (int round = 0; round < 300; ++round) {
      std::vector<std::string> pre_tokens(random() % 40);
      for (std::string& bytes : pre_tokens) {
        bytes.resize(1 + random() % kShortBytes);
        const auto variety = static_cast<unsigned>(1 + random() % 26);
        for (char& c : bytes) c = static_cast<char>('a' + random() % variety);
        if (random() % 4 == 0) bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      std::vector<std::array<Rank, kShortBytes>> ranks(pre_tokens.size());
      for (const Isa isa : {Isa::kPortable, DetectIsa()}) {
        std::vector<MergeRequest> requests;
        for (std::size_t i = 0; i < pre_tokens.size(); ++i) {
          requests.push_back({pre_tokens[i].data(), pre_tokens[i].size(), ranks[i].data(), 0});
        }
        MergeMany(vocabulary, requests, /*readable_end=*/nullptr, isa);
        for (std::size_t i = 0; i < pre_tokens.size(); ++i) {
          std::vector<Rank> expected;
          MergeLong(vocabulary, pre_tokens[i], expected);
          REQUIRE(std::vector<Rank>(ranks[i].begin(), ranks[i].begin() + requests[i].count) ==
                  expected);
        }
      }
    }
  }
}

TEST_CASE("merging many is merging each, for any vocabulary and whatever stands behind") {
  std::mt19937 random(12);
  for (int round = 0; round < 300; ++round) {
    const int num_letters = 1 + round % 4;
    // Some with NUL for a letter, which is no padding.
    const auto spelled = [&](std::string letters) {
      if (round % 3 == 0) std::replace(letters.begin(), letters.end(), 'a', '\0');
      return letters;
    };
    testing::Ranks ranks;
    for (const auto& [token, rank] :
         testing::RandomRanks(random, 1 + 3 * round, num_letters, 2 + round % 11)) {
      ranks.emplace(token.size() == 1 ? token : spelled(token), rank);
    }
    const Vocabulary vocabulary = testing::MakeVocabulary(ranks);
    const std::string text = spelled(testing::RandomLetters(random, 3000, num_letters));
    const char* const end = text.data() + text.size();
    std::vector<Rank> room(text.size());
    std::vector<MergeRequest> requests;
    for (std::size_t done = 0; done < text.size();) {
      const std::size_t size =
          std::min(text.size() - done, 1 + random() % (round % 2 == 0 ? 16 : kShortBytes));
      requests.push_back({text.data() + done, size, room.data() + done, 0});
      done += size;
    }
    MergeMany(vocabulary, requests, end, DetectIsa());
    for (const MergeRequest& request : requests) {
      REQUIRE(std::vector<Rank>(request.ranks, request.ranks + request.count) ==
              testing::NaiveMerge(ranks, std::string(request.bytes, request.length)));
    }
  }
}

TEST_CASE("merging in pieces is merging, where it goes") {
  std::mt19937 random(13);
  const auto in_pieces = [](const Vocabulary& vocabulary, const std::string& text) {
    std::vector<Rank> ranks(text.size());
    MergeRequest request = {text.data(), text.size(), ranks.data(), 0};
    const std::array<MergeRequest*, 1> requests = {&request};
    MergeInPieces(vocabulary, requests, text.data() + text.size(), DetectIsa());
    ranks.resize(request.count);
    return ranks;
  };
  int num_gone = 0;
  for (int round = 0; round < 300; ++round) {
    const int num_letters = 1 + round % 4;
    const testing::Ranks ranks =
        testing::RandomRanks(random, 1 + 3 * round, num_letters, 2 + round % 11);
    const Vocabulary vocabulary = testing::MakeVocabulary(ranks);
    const std::size_t size = kMaxLaneBytes + 1 + random() % (kMaxInPieces - kMaxLaneBytes);
    const std::string text = testing::RandomLetters(random, size, num_letters);
    const std::vector<Rank> merged = in_pieces(vocabulary, text);
    if (merged.empty()) continue;
    REQUIRE(merged == testing::NaiveMerge(ranks, text));
    ++num_gone;
  }
  CHECK(num_gone > 30);
  // With a published vocabulary nearly all go.
  const Vocabulary& vocabulary = Shipped("cl100k_base").vocabulary();
  testing::Ranks ranks;
  for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    ranks.emplace(vocabulary.Bytes(rank), rank);
  }
  num_gone = 0;
  for (int round = 0; round < 50; ++round) {
    const std::string text = testing::RandomLetters(random, 33 + 20 * round, 26);
    const std::vector<Rank> merged = in_pieces(vocabulary, text);
    if (merged.empty()) continue;
    REQUIRE(merged == testing::NaiveMerge(ranks, text));
    ++num_gone;
  }
  CHECK(num_gone > 45);
}

TEST_CASE("where characters are cut apart no token joins them") {
  for (const char* const name : {"cl100k_base", "o200k_base", "qwen3"}) {
    const Vocabulary& vocabulary = Shipped(name).vocabulary();
    std::size_t num_parts = 0;
    std::array<std::uint16_t, 256> parts;
    for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
      const std::string token(vocabulary.Bytes(rank));
      if (token.empty() || ValidUtf8Prefix(token) != token.size()) continue;
      const auto end = static_cast<std::uint16_t>(token.size());
      REQUIRE(vocabulary.bridges()->Cut(token.data(), &end, 1, parts.data()) == 1);
    }
    // And that some are: two characters that hardly anybody has written side by side.
    const std::string strange = "\u9F98\u9F49\u9F98\u9F49\u9F98\u9F49";
    const auto end = static_cast<std::uint16_t>(strange.size());
    num_parts = vocabulary.bridges()->Cut(strange.data(), &end, 1, parts.data());
    CHECK(num_parts == 6);
  }
}

TEST_CASE("the shipped vocabularies merge to each of their tokens") {
  // So that parts may be looked up; Vocabulary takes it for granted.
  for (const char* const name : {"r50k_base", "p50k_base", "cl100k_base", "o200k_base", "qwen3"}) {
    const Vocabulary& vocabulary = Shipped(name).vocabulary();
    for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
      const std::string_view token = vocabulary.Bytes(rank);
      if (token.empty()) continue;
      std::vector<Rank> merged;
      MergeLong(vocabulary, token, merged);
      REQUIRE(merged == std::vector<Rank>{rank});
    }
  }
}

TEST_CASE("long pre-tokens become what merging them in one go gives") {
  constexpr std::array<std::string_view, 24> kCharacters = {
      "a",      "e",      "n",      "T",      "7",      "+",      " ",      "\t",
      "\n",     "\r",     "\u00E0", "\u00E9", "\u00F6", "\u00A0", "\u0436", "\u05D0",
      "\u4E2D", "\u56FD", "\u306E", "\u3000", "\uD55C", "\u2003", "\u179A", "\U0001F600"};
  std::mt19937 random(13);
  for (const char* const name : {"cl100k_base", "o200k_base", "r50k_base", "qwen3"}) {
    const Vocabulary& vocabulary = Shipped(name).vocabulary();
    for (int round = 0; round < 200; ++round) {
      const std::size_t size = round % 20 == 0 ? 30000 : 65 + random() % 300;
      std::array<std::string_view, 6> some;
      for (auto& character : some) character = kCharacters[random() % kCharacters.size()];
      const std::size_t variety = 1 + random() % some.size();
      std::string bytes;
      while (bytes.size() < size) {
        // Now and then a run as long as all that is cut at a time.
        const std::size_t times = random() % 2000 == 0 ? 9000 : 1;
        const std::string_view character = some[random() % variety];
        for (std::size_t i = 0; i < times; ++i) bytes += character;
      }
      std::vector<TokenId> expected;
      MergeLong(vocabulary, bytes, expected);
      const ctx::testing::GuardedText text(bytes);
      IdMemory ids;
      EncodeLong(vocabulary, text.view(), ids);
      REQUIRE(std::vector<TokenId>(ids.view().begin(), ids.view().end()) == expected);
      CHECK(CountLong(vocabulary, text.view()) == static_cast<std::int64_t>(ids.size()));
    }
  }
}

/// For so many bytes bridges are worth it.
constexpr std::size_t kManyBytes = std::size_t{1} << 20;

TEST_CASE("where bytes are cut apart no token joins them") {
  for (const char* const name : {"r50k_base", "cl100k_base", "o200k_base", "qwen3"}) {
    const Vocabulary& vocabulary = Shipped(name).vocabulary();
    std::array<std::uint16_t, 512> parts;
    for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
      // Within whole characters, as text has them, whatever stands on both sides.
      const std::string token(vocabulary.Bytes(rank));
      for (const std::string_view before : {"", "\xC3", "\xE4\xB8", "\xE4", "\xF0\x9F"}) {
        for (const std::string_view after : {"", "\xA9", "\xB8\xAD", "z"}) {
          const std::string bytes = std::string(before) + token + std::string(after);
          if (ValidUtf8Prefix(bytes) != bytes.size()) continue;
          const std::size_t count = vocabulary.byte_bridges(kManyBytes)->Cut(bytes, parts.data());
          for (std::size_t i = 0; i < count; ++i) {
            REQUIRE((parts[i] <= before.size() || parts[i] >= before.size() + token.size()));
          }
        }
      }
    }
    const std::string strange = "q\u00E7\u00F5Zjq\u00F5\u00E7QzX";
    CHECK(vocabulary.byte_bridges(kManyBytes)->Cut(strange, parts.data()) > 3);
  }
}

TEST_CASE("a long pre-token has the same ids before bridges are made and after") {
  const auto encoding = LoadShippedEncoding("r50k_base", CTXENGINE_VOCABULARY_DIR);
  const Vocabulary& vocabulary = encoding->vocabulary();
  std::mt19937 random(1);
  std::vector<std::string> words(3);
  for (std::string& word : words) {
    while (word.size() < 2000) word += static_cast<char>('!' + random() % 94);
  }
  CHECK(vocabulary.byte_bridges(1) == nullptr);
  const std::vector<TokenId> before = Many(vocabulary, words);
  CHECK(vocabulary.byte_bridges(1) == nullptr);
  CHECK(vocabulary.byte_bridges(kManyBytes) != nullptr);
  CHECK(before == OneByOne(vocabulary, words));
  CHECK(Many(vocabulary, words) == before);
}

TEST_CASE("tokens that merging does not give are not found in parts of a pre-token") {
  std::vector<std::pair<std::string, TokenId>> tokens;
  for (TokenId byte = 0; byte < 256; ++byte) {
    tokens.push_back({std::string(1, static_cast<char>(byte)), byte});
  }
  tokens.push_back({"\u4E2D", 256});  // no two of its bytes are a token
  const std::vector<std::pair<std::string_view, TokenId>> ranks(tokens.begin(), tokens.end());
  const Vocabulary vocabulary = Vocabulary::FromRanks(ranks);
  CHECK((vocabulary.bridges() == nullptr));
  CHECK(Many(vocabulary, {"\u4E2D"}) == std::vector<TokenId>{256});
  CHECK(Many(vocabulary, {"\u4E2D\u4E2D\u4E2D"}).size() == 9);
}

TEST_CASE("threads share the memos") {
  const Vocabulary& vocabulary = Shipped("o200k_base").vocabulary();
  std::mt19937 random(3);
  std::vector<std::string> pre_tokens;
  for (int i = 0; i < 250; ++i) pre_tokens.push_back(RandomPreToken(random, vocabulary));
  const std::vector<TokenId> expected = OneByOne(vocabulary, pre_tokens);
  std::vector<std::thread> threads;
  std::array<bool, 4> equal = {};
  for (bool& result : equal) {
    threads.emplace_back([&] {
      result = true;
      for (int i = 0; i < 50; ++i) result = result && Many(vocabulary, pre_tokens) == expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::count(equal.begin(), equal.end(), true) == 4);
}

}  // namespace
}  // namespace ctx::tokenize
