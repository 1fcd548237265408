#include "tokenize/bpe/encode_pre_tokens.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "common/isa.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/bpe/merge_many.h"

namespace ctx::tokenize {
namespace {

/// Pre-tokens on their way to ids: the table first, then the memos, the vocabulary, merging.
class PreTokenEncoder {
 public:
  PreTokenEncoder(const Vocabulary& vocabulary, const PreTokens& pre_tokens)
      : vocabulary_(vocabulary), memo_(vocabulary.short_memo()), pre_tokens_(pre_tokens) {}

  /// Tells the output, in order: Few(ids, count) of so many pre-tokens with a few ids each;
  /// Many(ids, count) of one with more, 8 ids at a time readable; and Long(std::string_view) for
  /// those of more than kMaxBytes.
  template <typename Output>
  void Run(Output& output) {
    do {  // also when there are none: empty texts have borders
      const std::size_t size = std::min(kGroup, pre_tokens_.count - begin_);
      const std::size_t num_missed = FindFrequent(size);
      std::size_t done = 0;
      for (std::size_t first = 0; first < num_missed; first += kMissedGroup) {
        const std::size_t num_asked = std::min(kMissedGroup, num_missed - first);
        EncodeMissed(first, num_asked);
        for (std::size_t m = 0; m < num_asked; ++m) {
          const Asked& asked = asked_[m];
          if (asked.count <= FewIds::kMax && asked.length <= kMaxBytes) continue;
          const std::size_t i = batch_.left[first + m];
          output.Few(batch_.ids.data() + done, i - done);
          done = i + 1;
          if (asked.length <= kMaxBytes) {
            output.Many(asked.ids, asked.count);
          } else {
            output.Long({asked.bytes, asked.length});
          }
        }
      }
      output.Few(batch_.ids.data() + done, size - done);
      begin_ += size;
    } while (begin_ < pre_tokens_.count);
  }

 private:
  /// As many pre-tokens are looked up at a time.
  static constexpr std::size_t kGroup = ShortMemo::Batch::kMaxSize;
  /// As many missed ones are dealt with at a time.
  static constexpr std::size_t kMissedGroup = 64;
  static constexpr std::size_t kMaxBytes = LongMemo::kMaxBytes;

  /// A missed pre-token, and what becomes of it.
  struct Asked {
    const char* bytes;
    std::size_t length;
    ShortMemo::Key key;  // of up to ShortMemo::kMaxBytes
    FewIds* few;         // where up to FewIds::kMax go
    TokenId* ids;
    std::size_t count;  // kMoreIds: the short memo sends on
  };

  /// One that the short memo does not have: where else it may be.
  struct Wanted {
    Asked* asked;
    bool may_be_token;
    union {
      ByteTable::Probe probe;      // when it may be a token
      MiddleMemo::Key middle_key;  // when it is too much for the short memo
      LongMemo::Key long_key;      // likewise
    };
  };

  std::size_t BeginOf(std::size_t i) const noexcept {
    return pre_tokens_.ends[static_cast<std::ptrdiff_t>(i) - 1];
  }

  /// Of the next `size` pre-tokens, the ids of those that are in the table or the short memo; the
  /// numbers of the others to batch_.left.
  std::size_t FindFrequent(std::size_t size) noexcept {
    const auto readable = static_cast<std::size_t>(pre_tokens_.readable_end - pre_tokens_.text);
    std::size_t count = size;
    while (count > 0 && BeginOf(begin_ + count - 1) + ShortMemo::kReadBytes > readable) --count;
    const std::uint16_t* const ends = pre_tokens_.ends + begin_;
    std::size_t num_missed = count;
    if (mostly_missed_) {  // then the table is not worth the time
      std::iota(batch_.missed.begin(), batch_.missed.begin() + static_cast<std::ptrdiff_t>(count),
                std::uint16_t{0});
    } else {
      num_missed = vocabulary_.pre_token_table().FindShort(pre_tokens_.text, ends, count,
                                                           batch_.ids.data(), batch_.missed.data());
      mostly_missed_ = num_missed > count / 8 * 3;
    }
    num_missed = memo_.FindMany(pre_tokens_.text, ends, num_missed, batch_);
    // Those at the very end, where that many bytes at a time would be too many, are missed.
    for (std::size_t i = count; i < size; ++i) {
      batch_.left[num_missed++] = static_cast<std::uint16_t>(i);
    }
    return num_missed;
  }

  void EncodeMissed(std::size_t first, std::size_t num_asked) {
    for (std::size_t m = 0; m < num_asked; ++m) {
      Asked& asked = asked_[m];
      const std::size_t i = batch_.left[first + m];
      const std::size_t from = BeginOf(begin_ + i);
      asked.length = pre_tokens_.ends[begin_ + i] - from;
      asked.bytes = pre_tokens_.text + from;
      asked.few = &batch_.ids[i];
      asked.count = 0;
      if (asked.length > ShortMemo::kMaxBytes) continue;
      asked.key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
      memo_.Prefetch(asked.key);
    }
    std::size_t num_left = 0;
    for (std::size_t m = 0; m < num_asked; ++m) {
      Asked& asked = asked_[m];
      if (asked.length <= ShortMemo::kMaxBytes) {
        asked.count = memo_.Find(asked.key, *asked.few);
        if (asked.count - 1 < ShortMemo::kMaxIds) continue;
      }
      *asked.few = {};
      if (asked.length > kMaxBytes) continue;
      Wanted& wanted = wanted_[num_left++];
      wanted.asked = &asked;
      LookAhead(wanted);
    }
    const ByteTable& table = vocabulary_.byte_table();
    for (std::size_t i = 0; i < num_left; ++i) {
      Wanted& wanted = wanted_[i];
      wanted.may_be_token = wanted.may_be_token && table.MayHold(wanted.probe);
      if (wanted.may_be_token) table.Prefetch(wanted.probe);
    }
    if (num_left > 0) FindElsewhere(num_left);
  }

  void FindElsewhere(std::size_t num_wanted) {
    TokenId* room = group_ids_.data();
    std::size_t num_merges = 0;
    for (std::size_t i = 0; i < num_wanted; ++i) {
      Asked& asked = *wanted_[i].asked;
      asked.ids = room;
      asked.count = Find(wanted_[i]);
      room += asked.count;
      if (asked.count != 0) {
        SetFew(asked);
        continue;
      }
      merges_[num_merges] = {asked.bytes, asked.length, room, 0};
      merged_[num_merges++] = &asked;
      room += asked.length;
    }
    const std::span merges = std::span(merges_).first(num_merges);
    MergeMany(vocabulary_, merges, pre_tokens_.readable_end, BestIsa());
    for (std::size_t i = 0; i < num_merges; ++i) {
      Asked& asked = *merged_[i];
      if (merges[i].count == 0) {
        MergeAlone(asked);
        continue;
      }
      asked.count = merges[i].count;
      ToIds(asked.ids, asked.count);
      SetFew(asked);
      Remember(asked);
    }
  }

  void MergeAlone(Asked& asked) {
    std::vector<Rank> ranks;
    MergeLong(vocabulary_, {asked.bytes, asked.length}, ranks);
    std::copy(ranks.begin(), ranks.end(), asked.ids);
    asked.count = ranks.size();
    ToIds(asked.ids, asked.count);
    SetFew(asked);
    Remember(asked);
  }

  static void SetFew(const Asked& asked) noexcept {
    if (asked.count > FewIds::kMax) return;
    for (std::size_t i = 0; i < asked.count; ++i) asked.few->ids[i] = asked.ids[i] | FewIds::kThere;
  }

  /// Brings near where Find will look.
  void LookAhead(Wanted& wanted) const noexcept {
    const Asked& asked = *wanted.asked;
    wanted.may_be_token = false;
    if (asked.length <= ShortMemo::kMaxBytes && asked.count == 0) {
      const ByteTable& table = vocabulary_.byte_table();
      wanted.probe = table.MakeProbe(asked.bytes, asked.length, pre_tokens_.readable_end);
      table.PrefetchFilter(wanted.probe);
      wanted.may_be_token = true;
    } else if (asked.length <= MiddleMemo::kMaxBytes) {
      wanted.middle_key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
      vocabulary_.middle_memo().Prefetch(wanted.middle_key);
    } else {
      wanted.long_key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
      vocabulary_.long_memo().Prefetch(wanted.long_key);
    }
  }

  /// Writes the ids of a pre-token that is known and returns their number; 0 when it has to be
  /// merged.
  std::size_t Find(Wanted& wanted) const noexcept {
    Asked& asked = *wanted.asked;
    Rank rank = kNoToken;
    if (asked.length <= ShortMemo::kMaxBytes && asked.count == 0) {
      if (!wanted.may_be_token) return 0;
      rank = vocabulary_.byte_table().FindProbe(wanted.probe, asked.bytes);
    } else {
      std::size_t count = kMoreIds;
      if (asked.length <= MiddleMemo::kMaxBytes) {
        count = vocabulary_.middle_memo().Find(wanted.middle_key, asked.ids);
        if (count == kMoreIds) {
          wanted.long_key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
        }
      }
      if (count == kMoreIds) {
        count = vocabulary_.long_memo().Find(wanted.long_key, asked.ids);
      }
      if (count != 0 || asked.count == kMoreIds) return count;
      rank = vocabulary_.FindUnlikely(asked.bytes, asked.length, pre_tokens_.readable_end);
    }
    if (rank == kNoToken) return 0;
    asked.ids[0] = vocabulary_.IdOf(rank);
    asked.count = 1;
    Remember(asked);
    return 1;
  }

  void Remember(const Asked& asked) const noexcept {
    if (asked.length <= ShortMemo::kMaxBytes) {
      const bool fits = asked.count <= ShortMemo::kMaxIds;
      memo_.Store(asked.key, asked.ids, fits ? asked.count : kMoreIds);
      if (fits) return;
    }
    if (asked.length <= MiddleMemo::kMaxBytes) {
      MiddleMemo::Key key;
      key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
      const bool fits = asked.count <= MiddleMemo::kMaxIds;
      vocabulary_.middle_memo().Store(key, asked.ids, fits ? asked.count : kMoreIds);
      if (fits) return;
    }
    if (asked.count <= LongMemo::kMaxIds) {
      LongMemo::Key key;
      key.Set(asked.bytes, asked.length, pre_tokens_.readable_end);
      vocabulary_.long_memo().Store(key, asked.ids, asked.count);
    }
  }

  void ToIds(TokenId* ranks, std::size_t count) const noexcept {
    if (vocabulary_.ranks_are_ids()) return;
    for (std::size_t i = 0; i < count; ++i) ranks[i] = vocabulary_.IdOf(ranks[i]);
  }

  const Vocabulary& vocabulary_;
  ShortMemo& memo_;
  const PreTokens& pre_tokens_;
  // Of a group of pre-tokens.
  std::size_t begin_ = 0;
  bool mostly_missed_ = false;
  ShortMemo::Batch batch_;
  // Of a group of missed ones.
  std::array<Asked, kMissedGroup> asked_;
  std::array<Wanted, kMissedGroup> wanted_;
  std::array<MergeRequest, kMissedGroup> merges_;
  std::array<Asked*, kMissedGroup> merged_;
  std::array<TokenId, kMissedGroup * kMaxBytes + LongMemo::kMaxIds> group_ids_;
};

/// Output that takes the parts of a long pre-token.
template <typename Output>
class OfParts {
 public:
  explicit OfParts(Output& output) : output_(output) {}
  void Few(const FewIds* ids, std::size_t count) { output_.Few(ids, count); }
  void Many(const TokenId* ids, std::size_t count) { output_.Many(ids, count); }
  void Long(std::string_view bytes) { output_.Uncut(bytes); }

 private:
  Output& output_;
};

/// Encodes a pre-token that is too long for the memos, by its parts if it has any: few pairs of
/// bytes stand together in a token, so that of what nobody has seen before most falls apart. What
/// does not goes to output.Uncut.
template <typename Output>
void RunLong(const Vocabulary& vocabulary, std::string_view bytes, Output& output) {
  // A run of one byte has no parts, so that the bridges need not be made for it.
  if (std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0) {
    return output.Uncut(bytes);
  }
  const ByteBridges* const bridges = vocabulary.byte_bridges(bytes.size());
  if (bridges == nullptr) return output.Uncut(bytes);
  constexpr std::size_t kBytesAtATime = 8192;
  const char* const readable_end = bytes.data() + bytes.size();
  OfParts of_parts(output);
  // Not on the stack, where the same lies already: musl's threads have 128 kB.
  const auto memory = std::make_unique_for_overwrite<std::uint16_t[]>(1 + kBytesAtATime + 8);
  std::uint16_t* const ends = memory.get();
  ends[0] = 0;
  while (!bytes.empty()) {
    const std::string_view front = bytes.substr(0, kBytesAtATime);
    std::size_t count = bridges->Cut(front, &ends[1]);
    std::size_t end = ends[count];
    if (count == 0) {
      end = bridges->NextCut(bytes, front.size());
      output.Uncut(bytes.substr(0, end));
    } else {
      if (front.size() == bytes.size()) {
        end = front.size();
        ends[++count] = static_cast<std::uint16_t>(end);
      }
      const PreTokens parts = {bytes.data(), &ends[1], count, readable_end, /*has_wide=*/false};
      std::make_unique<PreTokenEncoder>(vocabulary, parts)->Run(of_parts);
    }
    bytes.remove_prefix(end);
  }
}

class AppendIds {
 public:
  AppendIds(const Vocabulary& vocabulary, IdOutput& ids) : vocabulary_(vocabulary), ids_(ids) {}

  void Few(const FewIds* from, std::size_t count) {
    ids_.Add(PackIds(from, count, ids_.Room(FewIds::kMax * count + 16)));
  }
  void Many(const TokenId* from, std::size_t count) {
    TokenId* const to = ids_.Room(count + 8);
    for (std::size_t i = 0; i < count; i += 8) std::memcpy(to + i, from + i, 8 * sizeof(TokenId));
    ids_.Add(count);
  }
  void Long(std::string_view bytes) { RunLong(vocabulary_, bytes, *this); }
  void Uncut(std::string_view bytes) {
    const Rank rank = vocabulary_.Find(bytes);
    if (rank != kNoToken) return ids_.Push(vocabulary_.IdOf(rank));
    std::vector<Rank> ranks;
    MergeLong(vocabulary_, bytes, ranks);
    if (!vocabulary_.ranks_are_ids()) {
      for (Rank& merged : ranks) merged = vocabulary_.IdOf(merged);
    }
    ids_.Append(ranks);
  }
  std::int64_t total() const noexcept { return static_cast<std::int64_t>(ids_.size()); }

 private:
  const Vocabulary& vocabulary_;
  IdOutput& ids_;
};

class CountIds {
 public:
  explicit CountIds(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  void Few(const FewIds* ids, std::size_t count) noexcept {
    total_ += static_cast<std::int64_t>(NumIds(ids, count));
  }
  void Many(const TokenId* /*ids*/, std::size_t count) noexcept {
    total_ += static_cast<std::int64_t>(count);
  }
  void Long(std::string_view bytes) { RunLong(vocabulary_, bytes, *this); }
  void Uncut(std::string_view bytes) {
    total_ += vocabulary_.Find(bytes) != kNoToken ? 1 : CountMerged(vocabulary_, bytes);
  }
  std::int64_t total() const noexcept { return total_; }

 private:
  const Vocabulary& vocabulary_;
  std::int64_t total_ = 0;
};

/// Takes down how many ids another output has where texts end.
template <typename Output>
class AtBorders {
 public:
  AtBorders(std::span<const std::uint16_t> borders, Output& output, std::int64_t* sizes)
      : borders_(borders), output_(output), sizes_(sizes) {}

  void Few(const FewIds* ids, std::size_t count) {
    while (next_ < borders_.size() && borders_[next_] <= done_ + count) {
      const std::size_t size = borders_[next_] - done_;
      output_.Few(ids, size);
      ids += size;
      count -= size;
      done_ += size;
      sizes_[next_++] = output_.total();
    }
    output_.Few(ids, count);
    done_ += count;
  }
  void Many(const TokenId* ids, std::size_t count) {
    output_.Many(ids, count);
    Pass();
  }
  void Long(std::string_view bytes) {
    output_.Long(bytes);
    Pass();
  }

 private:
  void Pass() noexcept {
    ++done_;
    while (next_ < borders_.size() && borders_[next_] == done_) sizes_[next_++] = output_.total();
  }

  std::span<const std::uint16_t> borders_;
  Output& output_;
  std::int64_t* sizes_;
  std::size_t done_ = 0;  // pre-tokens
  std::size_t next_ = 0;  // text that has not ended
};

/// Encodes the pre-tokens, cut further where they have parts that no token joins.
template <typename MakeOutput>
void Run(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
         std::span<const std::uint16_t> borders, MakeOutput make_output) {
  const Bridges* const bridges = vocabulary.bridges();
  if (!pre_tokens.has_wide || bridges == nullptr) {
    decltype(auto) output = make_output(borders);
    return PreTokenEncoder(vocabulary, pre_tokens).Run(output);
  }
  std::array<std::uint16_t, 1 + kMaxPreTokens + 8> ends;
  ends[0] = 0;
  PreTokens parts = pre_tokens;
  parts.ends = &ends[1];
  parts.count = bridges->Cut(pre_tokens.text, pre_tokens.ends, pre_tokens.count, &ends[1]);
  std::array<std::uint16_t, kMaxTexts> part_borders;
  std::size_t part = 0;
  for (std::size_t i = 0; i < borders.size(); ++i) {
    const std::uint16_t end = pre_tokens.ends[static_cast<std::ptrdiff_t>(borders[i]) - 1];
    while (part < parts.count && ends[part] < end) ++part;  // ends[part]: that of the part before
    part_borders[i] = static_cast<std::uint16_t>(part);
  }
  decltype(auto) output =
      make_output(std::span<const std::uint16_t>(part_borders).first(borders.size()));
  PreTokenEncoder(vocabulary, parts).Run(output);
}

}  // namespace

void EncodePreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens, IdOutput& ids) {
  Run(vocabulary, pre_tokens, {}, [&](auto) { return AppendIds(vocabulary, ids); });
}

std::int64_t CountPreTokens(const Vocabulary& vocabulary, const PreTokens& pre_tokens) {
  CountIds output(vocabulary);
  Run(vocabulary, pre_tokens, {}, [&](auto) -> CountIds& { return output; });
  return output.total();
}

void EncodePreTokensOfTexts(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
                            std::span<const std::uint16_t> borders, IdOutput& ids,
                            std::int64_t* sizes) {
  AppendIds output(vocabulary, ids);
  Run(vocabulary, pre_tokens, borders,
      [&](auto part_borders) { return AtBorders(part_borders, output, sizes); });
}

void CountPreTokensOfTexts(const Vocabulary& vocabulary, const PreTokens& pre_tokens,
                           std::span<const std::uint16_t> borders, std::int64_t* sizes) {
  CountIds output(vocabulary);
  Run(vocabulary, pre_tokens, borders,
      [&](auto part_borders) { return AtBorders(part_borders, output, sizes); });
}

void EncodeLong(const Vocabulary& vocabulary, std::string_view bytes, IdOutput& ids) {
  AppendIds(vocabulary, ids).Long(bytes);
}

std::int64_t CountLong(const Vocabulary& vocabulary, std::string_view bytes) {
  CountIds output(vocabulary);
  output.Long(bytes);
  return output.total();
}

}  // namespace ctx::tokenize
