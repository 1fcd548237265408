#include "tokenize/bpe/vocabulary.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/bpe/merge.h"

namespace ctx::tokenize {
namespace {

/// Token bytes in a message: printable ASCII as it is, the rest as \xNN.
std::string Quote(std::string_view token) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string quoted = "'";
  for (const char c : token.substr(0, 64)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '\\') {
      quoted += c;
    } else {
      quoted += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return quoted + (token.size() > 64 ? "...'" : "'");
}

/// Whether a token has a byte that begins a character of three bytes. Eight bytes at a time, which
/// may be read behind it.
bool IsWide(const char* bytes, std::size_t length) noexcept {
  constexpr std::uint64_t kEach = 0x0101010101010101;
  std::uint64_t found = 0;
  for (std::size_t i = 0; i < length; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes + i, sizeof word);
    // A zero byte for each such byte, which the subtraction tells; above the first it may err.
    const std::uint64_t rest = (word & 0xF0 * kEach) ^ 0xE0 * kEach;
    const std::size_t num_behind = length - i < 8 ? 8 - (length - i) : 0;
    found |= ((rest - kEach) & ~rest & 0x80 * kEach) << 8 * num_behind;
  }
  return found != 0;
}

}  // namespace

/// Makes what finds the tokens of a table by their bytes.
class Vocabulary::Filler {
 public:
  /// `where` begins the messages of errors.
  Filler(Table& table, std::string where) : table_(table), where_(std::move(where)) {}

  /// Throws LoadError for a token given twice or a byte without a token.
  void Run() {
    MakeTables();
    for (std::size_t begin = 0; begin < table_.num_findable; begin += kBlock) InsertBlock(begin);
    if (is_bytes_) FinishBytes();
  }

  /// Of the findable tokens, those that have a part of a character of three bytes. Symbols::kBytes
  /// alone.
  const std::vector<Rank>& wide() const noexcept { return wide_; }

 private:
  /// So few tokens that what they touch stays in the first-level cache.
  static constexpr std::size_t kBlock = 128;
  static_assert(kBlock <= ShortMergeTable::kMaxInserted);
  /// By length: those for the table of pre-tokens, and the others.
  enum Kind : std::size_t { kShort, kLong, kNumKinds };

  void MakeTables() {
    const TokenList& tokens = table_.tokens;
    table_.num_tokens = tokens.num_tokens();
    if (table_.id_of.empty()) {
      std::size_t num_ids = tokens.size();
      while (num_ids > 1 && tokens[num_ids - 1].empty()) --num_ids;
      table_.max_id = num_ids == 0 ? 0 : static_cast<TokenId>(num_ids - 1);
    } else {
      table_.max_id = *std::max_element(table_.id_of.begin(), table_.id_of.end());
    }
    table_.byte_table = ByteTable(table_.num_tokens, table_.memory);
    if (!is_bytes_) return;
    table_.pre_token_table = PreTokenTable(tokens.num_short(), table_.memory);
    table_.short_merges = ShortMergeTable(table_.num_tokens, table_.memory);
    table_.byte_pairs = table_.memory.Take<Rank>(kBytePairs);
    std::fill(table_.byte_pairs.begin(), table_.byte_pairs.end(), kNoToken);
    table_.single_bytes.fill(kNoToken);
  }

  /// Tokens of one kind after the other, for what the CPU guesses of one holds for the next.
  void InsertBlock(std::size_t begin) {
    std::array<std::array<ByteTable::Key, kBlock>, kNumKinds> keys;
    std::array<std::size_t, kNumKinds> counts = {};
    table_.tokens.ForEach(begin, std::min(begin + kBlock, table_.num_findable),
                          [&](Rank rank, const char* bytes, std::uint32_t length) {
                            const std::size_t kind = length > PreTokenTable::kShortBytes;
                            keys[kind][counts[kind]] = {bytes, length, rank};
                            counts[kind] += length != 0;
                          });
    for (std::size_t kind = 0; kind < kNumKinds; ++kind) {
      const std::span of_kind = std::span(keys[kind]).first(counts[kind]);
      Insert(of_kind);
      if (!is_bytes_) continue;
      NoteWide(of_kind);
      if (kind != kShort) continue;
      NoteBytes(of_kind);
      NoteShortMerges(of_kind);
      if (!table_.id_of.empty()) {
        for (ByteTable::Key& key : of_kind) key.id = table_.id_of[key.id];
      }
      table_.pre_token_table.Insert(of_kind);
    }
  }

  void Insert(std::span<const ByteTable::Key> keys) {
    const std::size_t num_inserted = table_.byte_table.Insert(keys);
    if (num_inserted == keys.size()) return;
    const std::string_view token = table_.tokens[keys[num_inserted].id];
    throw LoadError(StrCat(where_, "token ", Quote(token), " has two ranks, ",
                           table_.byte_table.Find(token.data(), token.size(), token.data()),
                           " and ", keys[num_inserted].id));
  }

  void NoteWide(std::span<const ByteTable::Key> keys) {
    std::array<Rank, kBlock> wide;
    std::size_t count = 0;
    for (const ByteTable::Key& key : keys) {
      wide[count] = key.id;
      count += IsWide(key.bytes, key.length);
    }
    wide_.insert(wide_.end(), wide.begin(), wide.begin() + static_cast<std::ptrdiff_t>(count));
  }

  void NoteShortMerges(std::span<const ByteTable::Key> keys) noexcept {
    std::array<ShortMergeTable::Key, kBlock> chosen;
    std::size_t count = 0;
    for (const auto& [bytes, length, rank] : keys) {
      chosen[count] = {bytes, length, rank};
      count += (length - ShortMergeTable::kMinBytes <=
                ShortMergeTable::kMaxBytes - ShortMergeTable::kMinBytes) &
               (rank < table_.num_merged);
    }
    table_.short_merges.Insert(std::span(chosen).first(count));
  }

  void NoteBytes(std::span<const ByteTable::Key> keys) noexcept {
    for (const auto& [bytes, length, rank] : keys) {
      if (length > 2) continue;
      const auto first = static_cast<unsigned char>(bytes[0]);
      const auto second = static_cast<unsigned char>(bytes[1]);
      if (length == 1) {
        table_.single_bytes[first] = rank;
      } else if (rank < table_.num_merged) {
        table_.byte_pairs[std::size_t{first} * 256 + second] = rank;
      }
    }
  }

  void FinishBytes() {
    for (std::size_t byte = 0; byte < table_.single_bytes.size(); ++byte) {
      if (table_.single_bytes[byte] != kNoToken) continue;
      throw LoadError(StrCat(where_, "no token for the single byte ", byte,
                             "; a byte-level vocabulary needs all 256"));
    }
    std::size_t num_pairs = 0;
    for (const Rank rank : wide_) num_pairs += Bridges::NumPairs(table_.tokens[rank]);
    table_.bridges = Bridges(num_pairs);
    for (const Rank rank : wide_) table_.bridges.Insert(table_.tokens[rank]);
  }

  Table& table_;
  const std::string where_;
  const bool is_bytes_ = table_.symbols == Symbols::kBytes;
  std::vector<Rank> wide_;
};

/// Without tokens yet; its memory has room for those and their tables.
std::shared_ptr<Vocabulary::Table> Vocabulary::MakeTable(std::size_t num_ranks,
                                                         std::size_t num_bytes) {
  auto table = std::make_shared<Table>();
  table->memory = LargePages(TokenList::SizeBytes(num_ranks, num_bytes) +
                             ByteTable::SizeBytes(num_ranks) + PreTokenTable::SizeBytes(num_ranks) +
                             ShortMergeTable::SizeBytes(num_ranks) + kBytePairs * sizeof(Rank));
  return table;
}

Vocabulary Vocabulary::FromPackedFiles(std::span<const std::string> paths) {
  const PackedFiles files(paths);
  auto table = MakeTable(files.num_ranks(), files.num_bytes());
  table->tokens = files.Read(table->memory);
  table->num_merged = table->tokens.size();
  table->num_findable = table->tokens.size();
  table->max_token_bytes = table->tokens.max_size();
  std::string where;
  for (const std::string& path : paths) where += (where.empty() ? "" : ", ") + path;
  Filler(*table, where + ": ").Run();
  // What MergesToEach says of the tokens of the shipped tables; a test says so.
  table->has_bridges = true;
  table->has_byte_bridges = true;
  return Vocabulary(std::move(table));
}

Vocabulary Vocabulary::FromRanks(std::span<const std::pair<std::string_view, TokenId>> ranks) {
  ModelDefinition model;
  model.tokens.reserve(ranks.size());
  for (const auto& [token, id] : ranks) model.tokens.push_back({std::string(token), id});
  std::sort(model.tokens.begin(), model.tokens.end(),
            [](const TokenDefinition& a, const TokenDefinition& b) { return a.id < b.id; });
  return FromModel(model);
}

Vocabulary Vocabulary::FromModel(const ModelDefinition& model) {
  // Ids that rise with the rank serve as ranks themselves, holes and all.
  std::size_t num_tokens = 0;
  std::size_t size_bytes = 0;
  std::size_t num_ids = 0;
  bool rising = model.byte_ids.empty();
  const auto check = [&](const TokenDefinition& token) {
    if (token.bytes.empty()) throw LoadError(StrCat("token ", token.id, " is empty"));
    if (token.bytes.size() > ByteTable::kMaxKeyBytes) {
      throw LoadError(StrCat("token ", token.id, " has ", token.bytes.size(),
                             " bytes, the limit is ", ByteTable::kMaxKeyBytes));
    }
    if (token.id >= kMaxTokens) {
      throw LoadError(
          StrCat("token id ", token.id, " is too large, the limit is ", kMaxTokens - 1));
    }
    num_tokens += 1;
    size_bytes += token.bytes.size();
    rising = rising && token.id >= num_ids;
    num_ids = std::max<std::size_t>(num_ids, token.id + 1);
  };
  for (const auto* const tokens :
       {&model.tokens, &model.whole_tokens, &model.unused_tokens, &model.user_defined}) {
    for (const TokenDefinition& token : *tokens) check(token);
  }
  for (const TokenId id : model.byte_ids) {
    if (id >= kMaxTokens) {
      throw LoadError(StrCat("token id ", id, " is too large, the limit is ", kMaxTokens - 1));
    }
    num_ids = std::max<std::size_t>(num_ids, id + 1);
  }
  const bool has_fallback = model.symbols == Symbols::kCharacters;
  if (model.byte_ids.size() != (has_fallback ? 256 : 0)) {
    throw LoadError(StrCat("there are ", model.byte_ids.size(), " fallback bytes instead of ",
                           has_fallback ? 256 : 0));
  }

  if (num_ids > 4 * (num_tokens + model.byte_ids.size()) + (std::size_t{1} << 16)) {
    throw LoadError(StrCat("ids reach ", num_ids - 1, " though there are only ", num_tokens,
                           " tokens: too many holes"));
  }
  if (!model.ranks.empty()) {
    if (!has_fallback) throw LoadError("tokens of equal rank need characters for symbols");
    if (model.ranks.size() != model.tokens.size()) throw LoadError("a token is without a rank");
    if (!std::is_sorted(model.ranks.begin(), model.ranks.end()) ||
        model.ranks.back() >= kMaxTokens) {
      throw LoadError("ranks of tokens do not ascend");
    }
  }

  const std::size_t num_ranks = rising ? num_ids : num_tokens + model.byte_ids.size();
  const auto table = MakeTable(num_ranks, size_bytes + model.byte_ids.size());
  table->tokens = TokenList(num_ranks, size_bytes + model.byte_ids.size(), table->memory);
  table->symbols = model.symbols;
  if (!rising) {
    table->id_of.reserve(num_ranks);
    table->rank_of.assign(num_ids, kNoToken);
  }
  const auto append = [&](std::string_view bytes, TokenId id) {
    TokenList& tokens = table->tokens;
    if (rising) {
      while (tokens.size() < id) tokens.Append({});
    } else {
      if (table->rank_of[id] != kNoToken) {
        throw LoadError(StrCat("token id ", id, " is given twice"));
      }
      table->rank_of[id] = static_cast<Rank>(tokens.size());
      table->id_of.push_back(id);
    }
    tokens.Append(bytes);
  };
  for (const TokenDefinition& token : model.tokens) append(token.bytes, token.id);
  table->num_merged = table->tokens.size();
  table->priority_of = model.ranks;
  for (const TokenDefinition& token : model.whole_tokens) append(token.bytes, token.id);
  table->num_findable = table->tokens.size();
  table->max_token_bytes = table->tokens.max_size();
  for (const auto* const tokens : {&model.unused_tokens, &model.user_defined}) {
    for (const TokenDefinition& token : *tokens) append(token.bytes, token.id);
  }
  const auto first_byte_rank = static_cast<Rank>(table->tokens.size());
  for (std::size_t byte = 0; byte < model.byte_ids.size(); ++byte) {
    const char value = static_cast<char>(byte);
    append({&value, 1}, model.byte_ids[byte]);
  }
  Filler filler(*table, "");
  filler.Run();
  const Vocabulary vocabulary(table);
  if (has_fallback) {
    std::iota(table->single_bytes.begin(), table->single_bytes.end(), first_byte_rank);
  } else {
    table->has_bridges = vocabulary.MergesToEach(filler.wide());
  }
  return vocabulary;
}

const ByteBridges* Vocabulary::byte_bridges(std::size_t num_bytes) const {
  if (!table_->has_byte_bridges) return nullptr;
  // Merging as many takes about as long as making the bridges.
  constexpr std::size_t kWorthIt = std::size_t{1} << 14;
  const std::size_t num_before =
      table_->num_bytes_to_cut.fetch_add(num_bytes, std::memory_order_relaxed);
  if (num_before + num_bytes < kWorthIt) return nullptr;
  std::call_once(table_->byte_bridges_made, [this] {
    ByteBridges& made = table_->byte_bridges.emplace(table_->bridges);
    for (Rank rank = 0; rank < table_->num_findable; ++rank) made.Insert(Bytes(rank));
  });
  return &*table_->byte_bridges;
}

/// Whether the bytes of each of these tokens merge to that token. (Some published vocabularies have
/// tokens that are only ever found as whole pre-tokens.)
bool Vocabulary::MergesToEach(std::span<const Rank> ranks) const {
  std::vector<Rank> merged;
  return std::all_of(ranks.begin(), ranks.end(), [&](Rank rank) {
    merged.clear();
    Merge(*this, Bytes(rank), merged);
    return merged.size() == 1 && merged[0] == rank;
  });
}

}  // namespace ctx::tokenize
