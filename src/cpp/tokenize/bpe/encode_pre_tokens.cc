#include "tokenize/bpe/encode_pre_tokens.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string_view>

#include "common/isa.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/bpe/merge_many.h"

namespace ctx::tokenize {
namespace {

/// Pre-tokens on their way to ids: the tables first, then the memos, the vocabulary, merging.
class PreTokenEncoder {
 public:
  PreTokenEncoder(const Vocabulary& vocabulary, const PreTokens& pre_tokens)
      : vocabulary_(vocabulary), pre_tokens_(pre_tokens) {}

  /// Tells the output, in order: Found(ids, count) of one pre-token or of several that follow each
  /// other, with 8 ids readable from `ids` on; and Long(std::string_view) for those of more than
  /// kShortBytes bytes.
  template <typename Output>
  void Run(Output& output) {
    const std::size_t num_missed = FindInTables();
    std::size_t done = 0;
    for (std::size_t begin = 0; begin < num_missed; begin += kGroup) {
      const std::size_t size = std::min(kGroup, num_missed - begin);
      EncodeGroup(begin, size);
      for (std::size_t m = 0; m < size; ++m) {
        const std::size_t i = missed_[begin + m];
        output.Found(ids_.data() + done, i - done);
        done = i + 1;
        if (asked_[m].length <= kShortBytes) {
          output.Found(asked_[m].ids, asked_[m].count);
        } else {
          output.Long({asked_[m].bytes, asked_[m].length});
        }
      }
    }
    output.Found(ids_.data() + done, pre_tokens_.count - done);
  }

 private:
  /// As many missed pre-tokens are dealt with at a time.
  static constexpr std::size_t kGroup = 64;

  /// A missed pre-token, and what becomes of it.
  struct Asked {
    const char* bytes;
    std::size_t length;
    ShortMemo::Key short_key;  // set where it is short enough
    LongMemo::Key long_key;    // set where it is needed
    TokenId* ids;
    std::size_t count;
  };

  std::size_t BeginOf(std::size_t i) const noexcept {
    return pre_tokens_.ends[static_cast<std::ptrdiff_t>(i) - 1];
  }

  /// The ids of those that are in the tables; the numbers of the others.
  std::size_t FindInTables() noexcept {
    const PreTokenTable& table = vocabulary_.pre_token_table();
    const std::size_t num_short = NumReadable(PreTokenTable::kShortBytes);
    std::size_t num_missed =
        table.FindShort(pre_tokens_.text, pre_tokens_.ends, num_short, ids_.data(), missed_.data());
    // Those at the very end, where that many bytes at a time would be too many, are missed.
    for (std::size_t i = num_short; i < pre_tokens_.count; ++i) {
      missed_[num_missed++] = static_cast<std::uint16_t>(i);
    }
    const std::size_t num_long = NumReadable(PreTokenTable::kMaxBytes);
    std::size_t num_asked = num_missed;
    while (num_asked > 0 && missed_[num_asked - 1] >= num_long) --num_asked;
    std::size_t num_left =
        table.FindLong(pre_tokens_.text, pre_tokens_.ends, num_asked, ids_.data(), missed_.data());
    for (; num_asked < num_missed; ++num_asked) missed_[num_left++] = missed_[num_asked];
    return num_left;
  }

  /// How many pre-tokens at the front begin so many readable bytes or more before the end.
  std::size_t NumReadable(std::size_t num_bytes) const noexcept {
    const auto readable = static_cast<std::size_t>(pre_tokens_.readable_end - pre_tokens_.text);
    std::size_t count = pre_tokens_.count;
    while (count > 0 && BeginOf(count - 1) + num_bytes > readable) --count;
    return count;
  }

  void EncodeGroup(std::size_t begin, std::size_t size) noexcept {
    for (std::size_t m = 0; m < size; ++m) Ask(missed_[begin + m], asked_[m]);
    TokenId* room = group_ids_.data();
    std::size_t num_merges = 0;
    for (std::size_t m = 0; m < size; ++m) {
      Asked& asked = asked_[m];
      if (asked.length > kShortBytes) continue;
      asked.ids = room;
      asked.count = Find(asked);
      room += asked.count;
      if (asked.count != 0) continue;
      merges_[num_merges] = {asked.bytes, asked.length, room, 0};
      merged_[num_merges++] = &asked;
      room += asked.length;
    }
    const std::span merges = std::span(merges_).first(num_merges);
    MergeMany(vocabulary_, merges, pre_tokens_.readable_end, BestIsa());
    for (std::size_t i = 0; i < num_merges; ++i) {
      Asked& asked = *merged_[i];
      asked.count = merges[i].count;
      ToIds(asked.ids, asked.count);
      if (IsForLongMemo(asked)) {
        asked.long_key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
        vocabulary_.long_memo().Prefetch(asked.long_key);
      }
    }
    for (std::size_t i = 0; i < num_merges; ++i) Remember(*merged_[i]);
  }

  void Ask(std::size_t i, Asked& asked) noexcept {
    const std::size_t begin = BeginOf(i);
    asked.length = pre_tokens_.ends[i] - begin;
    asked.bytes = pre_tokens_.text + begin;
    if (asked.length <= ShortMemo::kMaxBytes) {
      asked.short_key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
      vocabulary_.short_memo().Prefetch(asked.short_key);
    }
  }

  /// Writes the ids of a pre-token that is known and returns their number; 0 when it has to be
  /// merged.
  std::size_t Find(Asked& asked) const noexcept {
    const std::size_t length = asked.length;
    bool may_be_remembered = length <= LongMemo::kMaxBytes;
    if (length <= ShortMemo::kMaxBytes) {
      const std::size_t count = vocabulary_.short_memo().Find(asked.short_key, asked.ids);
      if (count != 0 && count != ShortMemoSlot::kMoreIds) return count;
      may_be_remembered = count != 0;
    }
    if (may_be_remembered) {
      asked.long_key.Set(asked.bytes, length, pre_tokens_.readable_end);
      const std::size_t count = vocabulary_.long_memo().Find(asked.long_key, asked.ids);
      if (count != 0) return count;
    }
    if (!MayBeToken(asked)) return 0;
    asked.ids[0] = vocabulary_.Find(asked.bytes, length, pre_tokens_.readable_end);
    if (asked.ids[0] == kNoToken) return 0;
    asked.count = 1;
    ToIds(asked.ids, 1);
    Remember(asked);
    return 1;
  }

  /// Whether one that is not in the tables may be a token.
  bool MayBeToken(const Asked& asked) const noexcept {
    const PreTokenTable& table = vocabulary_.pre_token_table();
    const auto readable = static_cast<std::size_t>(pre_tokens_.readable_end - asked.bytes);
    if (asked.length > PreTokenTable::kMaxBytes || readable < PreTokenTable::kMaxBytes) return true;
    return asked.length <= PreTokenTable::kShortBytes
               ? table.MayMissShort(asked.bytes, asked.length)
               : table.MayMissLong(asked.bytes, asked.length);
  }

  static bool IsForLongMemo(const Asked& asked) noexcept {
    return (asked.length > ShortMemo::kMaxBytes || asked.count > ShortMemo::kMaxIds) &&
           asked.length <= LongMemo::kMaxBytes && asked.count <= LongMemo::kMaxIds;
  }

  void Remember(const Asked& asked) const noexcept {
    const bool is_long = IsForLongMemo(asked);
    if (is_long) vocabulary_.long_memo().Store(asked.long_key, asked.ids, asked.count);
    if (asked.length <= ShortMemo::kMaxBytes) {
      vocabulary_.short_memo().Store(asked.short_key, asked.ids,
                                     is_long ? ShortMemoSlot::kMoreIds : asked.count);
    }
  }

  void ToIds(TokenId* ranks, std::size_t count) const noexcept {
    if (vocabulary_.ranks_are_ids()) return;
    for (std::size_t i = 0; i < count; ++i) ranks[i] = vocabulary_.IdOf(ranks[i]);
  }

  const Vocabulary& vocabulary_;
  const PreTokens& pre_tokens_;
  std::array<TokenId, kMaxPreTokens + 8> ids_;  // 8 more, for copies by eight
  std::array<std::uint16_t, kMaxPreTokens + 8> missed_;
  // Of a group of missed ones.
  std::array<Asked, kGroup> asked_;
  std::array<TokenId, kGroup * kShortBytes + LongMemo::kMaxIds> group_ids_;  // what Find may write
  std::array<MergeRequest, kGroup> merges_;
  std::array<Asked*, kGroup> merged_;
};

/// Ids on their way to a vector, some on the stack.
class AppendIds {
 public:
  AppendIds(const Vocabulary& vocabulary, std::vector<TokenId>& ids)
      : vocabulary_(vocabulary), ids_(ids) {}

  void Found(const TokenId* from, std::size_t count) {
    while (count > 0) {
      const std::size_t part = std::min(count, kChunk);
      if (size_ > kChunk) Flush();
      TokenId* const to = chunk_.data() + size_;
      for (std::size_t i = 0; i < part; i += 8) std::memcpy(to + i, from + i, 8 * sizeof(TokenId));
      size_ += part;
      from += part;
      count -= part;
    }
  }
  void Long(std::string_view bytes) {
    Flush();
    const Rank rank = vocabulary_.Find(bytes);
    if (rank != kNoToken) return ids_.push_back(vocabulary_.IdOf(rank));
    const std::size_t begin = ids_.size();
    MergeLong(vocabulary_, bytes, ids_);
    if (vocabulary_.ranks_are_ids()) return;
    for (std::size_t i = begin; i < ids_.size(); ++i) ids_[i] = vocabulary_.IdOf(ids_[i]);
  }
  void Flush() {
    ids_.insert(ids_.end(), chunk_.begin(), chunk_.begin() + static_cast<std::ptrdiff_t>(size_));
    size_ = 0;
  }

 private:
  static constexpr std::size_t kChunk = 2048;

  const Vocabulary& vocabulary_;
  std::vector<TokenId>& ids_;
  std::array<TokenId, 2 * kChunk + 8> chunk_;
  std::size_t size_ = 0;
};

class CountIds {
 public:
  explicit CountIds(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  void Found(const TokenId* /*ids*/, std::size_t count) noexcept {
    total_ += static_cast<std::int64_t>(count);
  }
  void Long(std::string_view bytes) {
    total_ += vocabulary_.Find(bytes) != kNoToken ? 1 : CountMerged(vocabulary_, bytes);
  }
  std::int64_t total() const noexcept { return total_; }

 private:
  const Vocabulary& vocabulary_;
  std::int64_t total_ = 0;
};

/// Encodes the pre-tokens, cut further where they have parts that no token joins.
template <typename Output>
void Run(const Vocabulary& vocabulary, const PreTokens& pre_tokens, Output& output) {
  const Bridges* const bridges = vocabulary.bridges();
  if (!pre_tokens.has_wide || bridges == nullptr) {
    return PreTokenEncoder(vocabulary, pre_tokens).Run(output);
  }
  std::array<std::uint16_t, 1 + kMaxPreTokens + 8> ends;
  ends[0] = 0;
  PreTokens parts = pre_tokens;
  parts.ends = &ends[1];
  parts.count = bridges->Cut(pre_tokens.text, pre_tokens.ends, pre_tokens.count, &ends[1]);
  PreTokenEncoder(vocabulary, parts).Run(output);
}

}  // namespace

void EncodePreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
                     std::vector<TokenId>& ids) {
  AppendIds output(vocabulary, ids);
  Run(vocabulary, pre_tokens, output);
  output.Flush();
}

std::int64_t CountPreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens) {
  CountIds output(vocabulary);
  Run(vocabulary, pre_tokens, output);
  return output.total();
}

}  // namespace ctx::tokenize
