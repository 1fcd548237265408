// Small vocabularies for tests, and the merging rule in its plainest form to compare with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenize/bpe/vocabulary.h"

namespace ctx::tokenize::testing {

using Ranks = std::map<std::string, TokenId>;

/// The 256 single bytes as ids 0 to 255, then these tokens.
inline Ranks WithSingleBytes(const std::vector<std::string>& tokens) {
  Ranks ranks;
  for (int byte = 0; byte < 256; ++byte) {
    ranks[std::string(1, static_cast<char>(byte))] = static_cast<TokenId>(byte);
  }
  for (const std::string& token : tokens) ranks.emplace(token, static_cast<TokenId>(ranks.size()));
  return ranks;
}

inline Vocabulary MakeVocabulary(const Ranks& ranks) {
  std::vector<std::pair<std::string_view, TokenId>> pairs(ranks.begin(), ranks.end());
  return Vocabulary::FromRanks(pairs);
}

/// Joins the leftmost of the neighbours with the lowest rank until none can be joined.
inline std::vector<TokenId> NaiveMerge(const Ranks& ranks, std::string_view bytes) {
  const auto rank_of = [&](const std::string& token) {
    const auto found = ranks.find(token);
    return found == ranks.end() ? kNoToken : found->second;
  };
  std::vector<std::string> parts;
  for (const char byte : bytes) parts.emplace_back(1, byte);
  std::vector<TokenId> pairs;  // pairs[i]: rank of parts i and i + 1 joined
  for (std::size_t i = 0; i + 1 < parts.size(); ++i)
    pairs.push_back(rank_of(parts[i] + parts[i + 1]));
  for (;;) {
    const auto best = std::min_element(pairs.begin(), pairs.end());
    if (best == pairs.end() || *best == kNoToken) break;
    const auto i = best - pairs.begin();
    parts[i] += parts[i + 1];
    parts.erase(parts.begin() + i + 1);
    pairs.erase(best);
    if (i > 0) pairs[i - 1] = rank_of(parts[i - 1] + parts[i]);
    if (i < std::ssize(pairs)) pairs[i] = rank_of(parts[i] + parts[i + 1]);
  }
  std::vector<TokenId> ids;
  for (const std::string& part : parts) ids.push_back(ranks.at(part));
  return ids;
}

/// `size` letters out of the first `num_letters` of the alphabet.
inline std::string RandomLetters(std::mt19937& random, std::size_t size, int num_letters) {
  std::uniform_int_distribution<int> letter('a', 'a' + num_letters - 1);
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(letter(random));
  return text;
}

/// Random tokens over few letters: most of them cannot be reached by merging, and merges of one
/// reach far into the others, which published vocabularies hardly ever do.
inline Ranks RandomRanks(std::mt19937& random, int num_tokens, int num_letters, int max_length) {
  std::uniform_int_distribution<std::size_t> length(2, static_cast<std::size_t>(max_length));
  std::vector<std::string> tokens;
  for (int i = 0; i < num_tokens; ++i) {
    tokens.push_back(RandomLetters(random, length(random), num_letters));
  }
  return WithSingleBytes(tokens);
}

}  // namespace ctx::tokenize::testing
