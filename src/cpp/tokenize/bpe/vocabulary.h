// The ordinary tokens of an encoding: bytes <-> rank <-> id.
//
// A rank is the place of a token in the order of merging. For most encodings it is the id too.
// Ranks fall into four groups, in this order:
//
//     merged          what merging can give; pairs are looked up here
//     whole           taken when a whole pre-token spells them, but never given by merging
//     unused          in the tables of the encoding, never found in text; decoded only
//     fallback bytes  what a character without a token becomes (Symbols::kCharacters alone)
//
// Immutable after construction (copies share the table); safe to call from any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "tokenize/bpe/bridges.h"
#include "tokenize/bpe/byte_bridges.h"
#include "tokenize/bpe/byte_table.h"
#include "tokenize/bpe/large_pages.h"
#include "tokenize/bpe/merge_memo.h"
#include "tokenize/bpe/pre_token_table.h"
#include "tokenize/bpe/short_memo.h"
#include "tokenize/bpe/short_merge_table.h"
#include "tokenize/bpe/token_list.h"
#include "tokenize/definition.h"

namespace ctx::tokenize {

class Vocabulary {
 public:
  using Symbols = ModelDefinition::Symbols;

  /// Ids and ranks must be below this: tables are indexed by them.
  static constexpr TokenId kMaxTokens = TokenList::kMaxTokens;

  /// Reads packed tables (bpe/token_list.h); a rank is an id. Throws LoadError for a file that is
  /// no such table, when a token is given twice, or if one of the 256 single-byte tokens is
  /// missing.
  static Vocabulary FromPackedFiles(std::span<const std::string> paths);

  /// Copies (bytes, id) pairs; a rank is an id. Throws LoadError as above, and for an empty token,
  /// a token longer than 65535 bytes or an id of kMaxTokens or more.
  static Vocabulary FromRanks(std::span<const std::pair<std::string_view, TokenId>> ranks);

  /// Copies the tokens of a canonical model (bpe/canonical_model.h). Throws LoadError as above,
  /// when a fallback byte is missing, and for an id given twice.
  static Vocabulary FromModel(const ModelDefinition& model);

  Symbols symbols() const noexcept { return table_->symbols; }

  /// The rank of these bytes, merged or whole, or kNoToken. O(length).
  Rank Find(std::string_view bytes) const noexcept {
    return table_->byte_table.Find(bytes.data(), bytes.size(), bytes.data() + bytes.size());
  }

  /// As Find, for bytes in the middle of a larger readable buffer, which makes loads cheaper.
  Rank Find(const char* bytes, std::size_t length, const char* readable_end) const noexcept {
    return table_->byte_table.Find(bytes, length, readable_end);
  }

  /// As Find, faster when there is no such token and slower when there is.
  Rank FindUnlikely(const char* bytes, std::size_t length,
                    const char* readable_end) const noexcept {
    return table_->byte_table.FindUnlikely(bytes, length, readable_end);
  }

  /// The rank of these bytes when merging can give them, else kNoToken: made for the pairs of
  /// merging, most of which are no token.
  Rank FindMerged(const char* bytes, std::size_t length, const char* readable_end) const noexcept {
    const Rank rank = FindUnlikely(bytes, length, readable_end);
    return rank < table_->num_merged ? rank : kNoToken;
  }

  /// What merging goes by, the lowest first: the rank, or less than that where tokens are equals
  /// (Symbols::kCharacters alone).
  Rank PriorityOf(Rank rank) const noexcept {
    return table_->priority_of.empty() ? rank : table_->priority_of[rank];
  }
  bool has_equals() const noexcept { return !table_->priority_of.empty(); }

  /// FindMerged for two bytes: one array load. Symbols::kBytes alone.
  Rank FindPair(unsigned char first, unsigned char second) const noexcept {
    return table_->byte_pairs[std::size_t{first} * 256 + second];
  }

  /// Likewise, by first * 256 + second.
  std::span<const Rank> byte_pairs() const noexcept { return table_->byte_pairs; }
  /// FindMerged for three or four bytes. Symbols::kBytes alone.
  const ShortMergeTable& short_merges() const noexcept { return table_->short_merges; }

  /// The byte as a symbol (kBytes) or as a fallback (kCharacters).
  Rank ByteToken(unsigned char byte) const noexcept { return table_->single_bytes[byte]; }

  /// The token's bytes; empty when there is no such token.
  std::string_view Bytes(Rank rank) const noexcept { return table_->tokens[rank]; }

  /// Whether every rank is its own id.
  bool ranks_are_ids() const noexcept { return table_->id_of.empty(); }
  TokenId IdOf(Rank rank) const noexcept {
    return table_->id_of.empty() ? rank : table_->id_of[rank];
  }
  /// kNoToken, or a rank without a token, when no ordinary token has this id.
  Rank RankOf(TokenId id) const noexcept {
    if (table_->id_of.empty()) return id;
    return id < table_->rank_of.size() ? table_->rank_of[id] : kNoToken;
  }

  /// One more than the largest rank.
  std::size_t num_ranks() const noexcept { return table_->tokens.size(); }
  /// Ranks of merged tokens are below this.
  std::size_t num_merged() const noexcept { return table_->num_merged; }
  /// Of the merged and whole tokens, those that can be found in text.
  std::size_t num_findable() const noexcept { return table_->num_findable; }
  std::size_t num_tokens() const noexcept { return table_->num_tokens; }
  /// 0 when there are no tokens.
  TokenId max_id() const noexcept { return table_->max_id; }
  std::size_t max_token_bytes() const noexcept { return table_->max_token_bytes; }

  /// The frequent ones of the tokens that Find finds, by id. Symbols::kBytes alone.
  const PreTokenTable& pre_token_table() const noexcept { return table_->pre_token_table; }
  /// Where no merge can cross. Symbols::kBytes alone; nullptr where parts of a pre-token could be
  /// found that merging does not give.
  const Bridges* bridges() const noexcept {
    return table_->has_bridges ? &table_->bridges : nullptr;
  }
  /// Likewise for any bytes; nullptr also where nobody knows whether merging gives every token.
  /// Asked for before so many bytes are cut. Made (which may throw std::bad_alloc) when they are
  /// enough to be worth it, together with those before; nullptr until then.
  const ByteBridges* byte_bridges(std::size_t num_bytes) const;
  /// By rank, of all that Find finds.
  const ByteTable& byte_table() const noexcept { return table_->byte_table; }
  /// What became of pre-tokens, by id.
  ShortMemo& short_memo() const noexcept { return table_->short_memo; }
  MiddleMemo& middle_memo() const noexcept { return table_->middle_memo; }
  LongMemo& long_memo() const noexcept { return table_->long_memo; }

 private:
  static constexpr std::size_t kBytePairs = 256 * 256;

  class Filler;
  struct Table {
    LargePages memory;  // first, so that it outlives what is in it
    TokenList tokens;   // by rank
    Symbols symbols = Symbols::kBytes;
    std::vector<TokenId> id_of;     // by rank; empty when every rank is its id
    std::vector<Rank> rank_of;      // by id; likewise
    std::vector<Rank> priority_of;  // by rank, of merged tokens; empty when all differ
    ByteTable byte_table;
    PreTokenTable pre_token_table;
    ShortMergeTable short_merges;
    Bridges bridges;
    bool has_bridges = false;
    bool has_byte_bridges = false;
    mutable std::atomic<std::size_t> num_bytes_to_cut = 0;
    mutable std::once_flag byte_bridges_made;
    mutable std::optional<ByteBridges> byte_bridges;
    mutable ShortMemo short_memo;
    mutable MiddleMemo middle_memo;
    mutable LongMemo long_memo;
    std::span<Rank> byte_pairs;            // [first * 256 + second]
    std::array<Rank, 256> single_bytes{};  // [byte]
    std::size_t num_merged = 0;
    std::size_t num_findable = 0;
    std::size_t num_tokens = 0;
    std::size_t max_token_bytes = 0;
    TokenId max_id = 0;
  };

  explicit Vocabulary(std::shared_ptr<const Table> table) : table_(std::move(table)) {}

  static std::shared_ptr<Table> MakeTable(std::size_t num_ranks, std::size_t num_bytes);
  bool MergesToEach(std::span<const Rank> ranks) const;

  std::shared_ptr<const Table> table_;
};

}  // namespace ctx::tokenize
