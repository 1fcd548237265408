#include "tokenize/bpe/canonical_model.h"

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

using MergeRule = ModelDefinition::MergeRule;
using Symbols = ModelDefinition::Symbols;

/// Hugging Face's rule in its plainest form: the pair that comes first in the list, leftmost first.
std::vector<TokenId> NaivePairs(const ModelDefinition& model, std::vector<TokenId> parts) {
  const auto bytes_of = [&](TokenId id) {
    for (const TokenDefinition& token : model.tokens) {
      if (token.id == id) return token.bytes;
    }
    return std::string();
  };
  for (;;) {
    std::size_t best = model.merges.size();
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      for (std::size_t place = 0; place < best; ++place) {
        if (model.merges[place] == std::pair(parts[i], parts[i + 1])) {
          best = place;
          at = i;
        }
      }
    }
    if (best == model.merges.size()) return parts;
    const std::string joined = bytes_of(parts[at]) + bytes_of(parts[at + 1]);
    for (const TokenDefinition& token : model.tokens) {
      if (token.bytes == joined) parts[at] = token.id;
    }
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

/// Random merges in random order, several pairs for one token, tokens that no merge gives.
ModelDefinition RandomPairs(std::mt19937& random, int num_letters) {
  ModelDefinition model;
  model.merge_rule = MergeRule::kPairs;
  model.whole_first = false;
  for (int byte = 0; byte < 256; ++byte) {
    model.tokens.push_back({std::string(1, static_cast<char>(byte)), static_cast<TokenId>(byte)});
  }
  std::map<std::string, TokenId> ids;
  const auto pick = [&]() -> TokenId {
    const std::size_t num_new = model.tokens.size() - 256;
    const std::size_t i = random() % (static_cast<std::size_t>(num_letters) + num_new);
    return static_cast<TokenId>(i < static_cast<std::size_t>(num_letters)
                                    ? 'a' + i
                                    : 256 + i - static_cast<std::size_t>(num_letters));
  };
  for (int i = 0; i < 25; ++i) {
    const TokenId left = pick();
    const TokenId right = pick();
    const std::string joined = model.tokens[left].bytes + model.tokens[right].bytes;
    if (joined.size() > 6) continue;
    const auto [found, added] = ids.emplace(joined, static_cast<TokenId>(model.tokens.size()));
    if (added) model.tokens.push_back({joined, found->second});
    const std::pair merge(left, right);
    if (std::find(model.merges.begin(), model.merges.end(), merge) == model.merges.end()) {
      model.merges.push_back(merge);
    }
  }
  std::shuffle(model.merges.begin(), model.merges.end(), random);
  return model;
}

std::vector<TokenId> MergedIds(const Vocabulary& vocabulary, std::string_view text) {
  std::vector<Rank> ranks;
  Merge(vocabulary, text, ranks);
  for (Rank& rank : ranks) rank = vocabulary.IdOf(rank);
  return ranks;
}

TEST_CASE("joined bytes choose the merges that a list of pairs chooses") {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int num_letters = 1 + static_cast<int>(random() % 3);
    const ModelDefinition model = RandomPairs(random, num_letters);
    const ModelDefinition canonical = CanonicalModel(model);
    CHECK(canonical.tokens.size() + canonical.unused_tokens.size() == model.tokens.size());
    const Vocabulary vocabulary = Vocabulary::FromModel(canonical);
    for (int i = 0; i < 20; ++i) {
      const std::string text = testing::RandomLetters(random, 1 + random() % 40, num_letters);
      const std::vector<TokenId> expected =
          NaivePairs(model, std::vector<TokenId>(text.begin(), text.end()));
      REQUIRE(MergedIds(vocabulary, text) == expected);
      const Rank whole = vocabulary.Find(text);
      if (whole != kNoToken) REQUIRE(expected == std::vector<TokenId>{vocabulary.IdOf(whole)});
    }
  }
}

TEST_CASE("a token that merging cannot give is found whole only where the model says so") {
  ModelDefinition model;
  model.merge_rule = MergeRule::kPairs;
  for (int byte = 0; byte < 256; ++byte) {
    model.tokens.push_back({std::string(1, static_cast<char>(byte)), static_cast<TokenId>(byte)});
  }
  model.tokens.push_back({"ab", 256});
  model.tokens.push_back({"abc", 257});  // of no merge
  model.merges = {{'a', 'b'}};
  for (const bool whole_first : {true, false}) {
    model.whole_first = whole_first;
    const ModelDefinition canonical = CanonicalModel(model);
    const Vocabulary vocabulary = Vocabulary::FromModel(canonical);
    CHECK((vocabulary.Find("abc") != kNoToken) == whole_first);
    CHECK(MergedIds(vocabulary, "abc") == std::vector<TokenId>{256, 'c'});
    CHECK(vocabulary.Bytes(vocabulary.RankOf(257)) == "abc");
  }
}

TEST_CASE("characters that are no token become their bytes") {
  ModelDefinition model;
  model.symbols = Symbols::kCharacters;
  model.whole_first = false;
  model.tokens = {{"ab", 300}, {"\u00e9x", 301}, {"a", 302},
                  {"b", 303},  {"x", 304},       {"\u4e2d", 305}};
  for (TokenId byte = 0; byte < 256; ++byte) model.byte_ids.push_back(byte + 3);
  const Vocabulary vocabulary = Vocabulary::FromModel(CanonicalModel(model));
  CHECK(MergedIds(vocabulary, "abx") == std::vector<TokenId>{300, 304});
  // A piece may join a character that is no piece itself.
  CHECK(MergedIds(vocabulary, "\u00e9x") == std::vector<TokenId>{301});
  CHECK(MergedIds(vocabulary, "a\u00e9") == std::vector<TokenId>{302, 0xC3 + 3, 0xA9 + 3});
  CHECK(MergedIds(vocabulary, "\u4e2d\u4e2e") ==
        std::vector<TokenId>{305, 0xE4 + 3, 0xB8 + 3, 0xAE + 3});
  std::mt19937 random(3);
  const std::vector<std::string> characters = {"a", "b", "x", "\u00e9", "\u4e2d", "\u4e2e"};
  for (int round = 0; round < 20; ++round) {
    std::string text;
    while (text.size() < 9000) text += characters[random() % characters.size()];
    std::vector<Rank> whole;
    MergeLong(vocabulary, text, whole);
    std::vector<TokenId> expected;  // no token reaches over more than two characters
    std::size_t at = 0;
    while (at < text.size()) {
      std::size_t length = 1;
      while (at + length < text.size() && (text[at + length] & 0xC0) == 0x80) ++length;
      const std::string_view rest = std::string_view(text).substr(at);
      if (rest.starts_with("ab")) {
        expected.push_back(300), at += 2;
      } else if (rest.starts_with("\u00e9x")) {
        expected.push_back(301), at += 3;
      } else {
        for (const TokenId id : MergedIds(vocabulary, rest.substr(0, length)))
          expected.push_back(id);
        at += length;
      }
    }
    for (Rank& rank : whole) rank = vocabulary.IdOf(rank);
    REQUIRE(whole == expected);
    CHECK(CountMerged(vocabulary, text) == static_cast<std::int64_t>(expected.size()));
  }
}

TEST_CASE("of pairs of equal rank the leftmost is merged first, whichever token it gives") {
  ModelDefinition model;
  model.symbols = Symbols::kCharacters;
  model.whole_first = false;
  model.tokens = {{"ab", 0}, {"bc", 1}, {"a", 2}, {"b", 3}, {"c", 4}};
  model.ranks = {0, 0, 1, 2, 3};
  for (TokenId byte = 0; byte < 256; ++byte) model.byte_ids.push_back(byte + 100);
  const Vocabulary equals = Vocabulary::FromModel(CanonicalModel(model));
  CHECK(MergedIds(equals, "abc") == std::vector<TokenId>{0, 4});
  CHECK(MergedIds(equals, "cbcab") == std::vector<TokenId>{4, 1, 0});
  std::swap(model.tokens[0], model.tokens[1]);
  const Vocabulary swapped = Vocabulary::FromModel(CanonicalModel(model));
  CHECK(MergedIds(swapped, "abc") == std::vector<TokenId>{0, 4});
  model.ranks.clear();  // now "bc" comes first
  CHECK(MergedIds(Vocabulary::FromModel(CanonicalModel(model)), "abc") ==
        std::vector<TokenId>{2, 1});
  std::string text;
  std::vector<TokenId> expected;
  for (int i = 0; i < 3000; ++i) {
    text += "abc";
    expected.insert(expected.end(), {0, 4});
  }
  CHECK(MergedIds(equals, text) == expected);
}

TEST_CASE("text that grows is merged as if it had come at once") {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const testing::Ranks ranks = testing::RandomRanks(random, 60, 2, 9);
    const Vocabulary vocabulary = testing::MakeVocabulary(ranks);
    std::string text;
    std::vector<Rank> grown = {12345};
    for (int step = 0; step < 12; ++step) {
      const std::size_t done = text.size();
      text += testing::RandomLetters(random, 1 + random() % (step % 4 == 0 ? 5000 : 40), 2);
      MergeMore(vocabulary, text, done, grown, 1);
      std::vector<Rank> whole = {12345};
      MergeLong(vocabulary, text, whole);
      REQUIRE(grown == whole);
      REQUIRE(CountMerged(vocabulary, text) == static_cast<std::int64_t>(whole.size()) - 1);
    }
  }
}

}  // namespace
}  // namespace ctx::tokenize
