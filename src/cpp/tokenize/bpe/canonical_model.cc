// Why joined bytes can stand for a list of pairs.
//
// Consider the pair rule, and any moment of merging some text. A span whose ends no merge has
// crossed so far has gone through the very merges that its bytes go through alone, for what lies
// outside takes no part in choosing among the pairs inside. So
//
//   - when a token t comes to be, its span has gone through all the merges of t alone: a token that
//     does not come out whole when its bytes are merged alone never comes out of merging at all;
//   - when two neighbours x, y join to the bytes of such a t, {x, y} is a state of t alone, and the
//     only one of two parts, for every merge takes one part away. So it is the state before the
//     last merge of t alone, and (x, y) is that merge's pair.
//
// Therefore each token that can come out has one pair, its last merge alone, and among neighbours
// the joined bytes are those of such a token exactly when the two are in the list. Giving the token
// the place of that pair in the list, the rule of joined bytes chooses the same merges.
//
// The same holds with the rule of joined bytes itself, so a token that does not come out of its own
// bytes can be left out of the look-up of whole pre-tokens where the model has none.
#include "tokenize/bpe/canonical_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <numeric>
#include <optional>
#include <queue>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tokenize/bpe/byte_table.h"
#include "tokenize/bpe/hash_key.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/token_index.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

using Symbols = ModelDefinition::Symbols;

/// Pair of token indices -> place in the list of merges.
class PairTable {
 public:
  explicit PairTable(std::size_t num_pairs)
      : slots_(std::bit_ceil(2 * num_pairs + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

  void Insert(std::uint32_t left, std::uint32_t right, std::uint32_t place) noexcept {
    slots_[IndexOf(Key(left, right))] = {Key(left, right), place};
  }

  /// kNoToken when there is no such pair.
  std::uint32_t Find(std::uint32_t left, std::uint32_t right) const noexcept {
    return slots_[IndexOf(Key(left, right))].place;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::uint32_t place = kNoToken;
  };

  static std::uint64_t Key(std::uint32_t left, std::uint32_t right) noexcept {
    return std::uint64_t{left} << 32 | right;
  }
  std::size_t IndexOf(std::uint64_t key) const noexcept {
    std::size_t at = hash_key_.Mix(key) >> shift_;
    while (slots_[at].place != kNoToken && slots_[at].key != key) at = (at + 1) % slots_.size();
    return at;
  }

  std::vector<Slot> slots_;
  int shift_;
  HashKey hash_key_ = HashKey::Random();
};

struct PairMerge {
  std::uint32_t left;  // indices into the model's tokens
  std::uint32_t right;
  std::uint32_t joined;
};

/// Merges tokens by the list of pairs, the lowest place first, the leftmost of equals.
class PairMerger {
 public:
  PairMerger(const std::vector<PairMerge>& merges, const PairTable& places)
      : merges_(merges), places_(places) {}

  /// Merges `symbols`; returns the place of the last merge if one token is left, else nothing.
  std::optional<std::uint32_t> LastMerge(const std::vector<std::uint32_t>& symbols) {
    parts_.clear();
    for (std::uint32_t i = 0; i < symbols.size(); ++i) parts_.push_back({i - 1, i + 1, symbols[i]});
    for (std::uint32_t i = 0; i < parts_.size(); ++i) Push(i);
    std::size_t num_parts = parts_.size();
    std::uint32_t last = kNoToken;
    while (!queue_.empty()) {
      const auto [place, left] = queue_.top();
      queue_.pop();
      if (parts_[left].token == kNoToken || PlaceAt(left) != place) continue;  // gone or changed
      const std::uint32_t right = parts_[left].next;
      const std::uint32_t after = parts_[right].next;
      parts_[left] = {parts_[left].previous, after, merges_[place].joined};
      parts_[right].token = kNoToken;
      if (after < parts_.size()) parts_[after].previous = left;
      if (left != 0) Push(parts_[left].previous);
      Push(left);
      last = place;
      num_parts -= 1;
    }
    return num_parts == 1 && last != kNoToken ? std::optional(last) : std::nullopt;
  }

 private:
  struct Part {
    std::uint32_t previous;
    std::uint32_t next;
    std::uint32_t token;
  };

  std::uint32_t PlaceAt(std::uint32_t left) const noexcept {
    const std::uint32_t right = parts_[left].next;
    return right < parts_.size() ? places_.Find(parts_[left].token, parts_[right].token) : kNoToken;
  }
  void Push(std::uint32_t left) {
    const std::uint32_t place = PlaceAt(left);
    if (place != kNoToken) queue_.push({place, left});
  }

  using Candidate = std::pair<std::uint32_t, std::uint32_t>;  // place, left part
  const std::vector<PairMerge>& merges_;
  const PairTable& places_;
  std::vector<Part> parts_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue_;
};

/// The tokens of a model by their place in it.
class Places {
 public:
  explicit Places(const ModelDefinition& model) : model_(model), index_(model.tokens) {
    for (std::size_t byte = 0; byte < single_bytes_.size(); ++byte) {
      const char text = static_cast<char>(byte);
      single_bytes_[byte] = PlaceOf(index_.FindBytes({&text, 1}));
    }
  }

  /// kNoToken when there is none of these bytes, which are not empty.
  std::uint32_t OfBytes(std::string_view bytes) const noexcept {
    if (bytes.size() == 1) return single_bytes_[static_cast<unsigned char>(bytes[0])];
    return PlaceOf(index_.FindBytes(bytes));
  }
  std::uint32_t OfId(TokenId id) const noexcept { return PlaceOf(index_.FindId(id)); }

  /// Replaces `symbols` by those of a token; false when one of them is no token.
  bool SymbolsOf(std::string_view bytes, std::vector<std::uint32_t>& symbols) const {
    symbols.clear();
    for (std::size_t begin = 0; begin < bytes.size();) {
      std::size_t end = begin + 1;
      while (model_.symbols == Symbols::kCharacters && end < bytes.size() &&
             !BeginsCharacter(bytes[end])) {
        ++end;
      }
      const std::uint32_t symbol = OfBytes(bytes.substr(begin, end - begin));
      if (symbol == kNoToken) return false;
      symbols.push_back(symbol);
      begin = end;
    }
    return true;
  }

 private:
  std::uint32_t PlaceOf(const TokenDefinition* token) const noexcept {
    if (token == nullptr) return kNoToken;
    return static_cast<std::uint32_t>(token - model_.tokens.data());
  }

  const ModelDefinition& model_;
  TokenIndex index_;
  std::array<std::uint32_t, 256> single_bytes_{};
};

/// Splits tokens into those with a place, in its order, and the others, in theirs.
void SortByPlace(const std::vector<std::uint32_t>& places, ModelDefinition& model) {
  std::vector<std::uint32_t> order(model.tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return places[a] < places[b]; });
  std::vector<TokenDefinition> merged;
  std::vector<TokenDefinition>& others =
      model.whole_first ? model.whole_tokens : model.unused_tokens;
  for (const std::uint32_t i : order) {
    (places[i] != kNoToken ? merged : others).push_back(std::move(model.tokens[i]));
  }
  model.tokens = std::move(merged);
}

ModelDefinition FromPairs(ModelDefinition model) {
  const Places place_of(model);
  std::vector<PairMerge> merges;
  merges.reserve(model.merges.size());
  PairTable pairs(model.merges.size());
  for (const auto& [left_id, right_id] : model.merges) {
    const std::uint32_t left = place_of.OfId(left_id);
    const std::uint32_t right = place_of.OfId(right_id);
    pairs.Insert(left, right, static_cast<std::uint32_t>(merges.size()));
    merges.push_back(
        {left, right, place_of.OfBytes(model.tokens[left].bytes + model.tokens[right].bytes)});
  }
  PairMerger merger(merges, pairs);
  std::vector<std::uint32_t> places(model.tokens.size(), kNoToken);
  std::vector<std::uint32_t> symbols;
  for (std::size_t i = 0; i < model.tokens.size(); ++i) {
    if (!place_of.SymbolsOf(model.tokens[i].bytes, symbols)) continue;
    if (symbols.size() == 1) {
      places[i] = 0;  // a symbol: never joined bytes, so its place says nothing
    } else if (const auto last = merger.LastMerge(symbols)) {
      places[i] = *last + 1;
    }
  }
  SortByPlace(places, model);
  model.merges.clear();
  return model;
}

ModelDefinition FromRanks(ModelDefinition model) {
  const Vocabulary vocabulary = Vocabulary::FromModel(model);
  std::vector<std::uint32_t> places(model.tokens.size(), kNoToken);
  std::vector<Rank> ranks;
  for (std::uint32_t i = 0; i < model.tokens.size(); ++i) {
    ranks.clear();
    Merge(vocabulary, model.tokens[i].bytes, ranks);
    if (ranks.size() == 1) places[i] = i;
  }
  std::vector<std::uint32_t> ranks_of_merged;
  for (std::size_t i = 0; i < model.ranks.size(); ++i) {
    if (places[i] != kNoToken) ranks_of_merged.push_back(model.ranks[i]);
  }
  model.ranks = std::move(ranks_of_merged);
  SortByPlace(places, model);
  return model;
}

}  // namespace

ModelDefinition CanonicalModel(ModelDefinition model) {
  if (model.merge_rule == ModelDefinition::MergeRule::kPairs) {
    model = FromPairs(std::move(model));
  } else if (!model.whole_first) {
    model = FromRanks(std::move(model));
  }
  model.merge_rule = ModelDefinition::MergeRule::kRanks;
  model.whole_first = true;
  return model;
}

}  // namespace ctx::tokenize
