#include "tokenize/encoding.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

/// Cuts a vector back to its length at construction unless told that all went well.
class Rollback {
 public:
  explicit Rollback(std::vector<TokenId>& ids) : ids_(ids), size_(ids.size()) {}
  ~Rollback() {
    if (!done_) ids_.resize(size_);
  }
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  void Commit() noexcept { done_ = true; }

 private:
  std::vector<TokenId>& ids_;
  std::size_t size_;
  bool done_ = false;
};

// What becomes of ordinary text: its ranks, pre-token by pre-token, or their number. Token(rank):
// the pre-token is a token. Merge(...): it is not. Full(): no need to go on. Special(id) comes
// between.

class AppendIds {
 public:
  AppendIds(const Vocabulary& vocabulary, std::vector<TokenId>& ids)
      : vocabulary_(vocabulary), ids_(ids) {}
  void Special(TokenId id) { ids_.push_back(id); }
  void Token(Rank rank) { ids_.push_back(vocabulary_.IdOf(rank)); }
  void Merge(std::string_view bytes, const char* readable_end) {
    const std::size_t begin = ids_.size();
    if (bytes.size() > kShortBytes) {
      MergeLong(vocabulary_, bytes, ids_);
    } else {
      std::array<Rank, kShortBytes> merged;
      const std::size_t num_ranks = MergeShort(vocabulary_, bytes, readable_end, merged.data());
      ids_.insert(ids_.end(), merged.begin(), merged.begin() + num_ranks);
    }
    if (vocabulary_.ranks_are_ids()) return;
    for (std::size_t i = begin; i < ids_.size(); ++i) ids_[i] = vocabulary_.IdOf(ids_[i]);
  }
  static constexpr bool Full() noexcept { return false; }

 private:
  const Vocabulary& vocabulary_;
  std::vector<TokenId>& ids_;
};

/// Also knows how many ids the last pre-token gave.
class AppendIdsAndMark {
 public:
  AppendIdsAndMark(const Vocabulary& vocabulary, std::vector<TokenId>& ids)
      : ids_(ids), append_(vocabulary, ids), last_begin_(ids.size()) {}
  void Special(TokenId id) {
    ids_.push_back(id);
    last_begin_ = ids_.size();
  }
  void Token(Rank rank) {
    last_begin_ = ids_.size();
    append_.Token(rank);
  }
  void Merge(std::string_view bytes, const char* readable_end) {
    last_begin_ = ids_.size();
    append_.Merge(bytes, readable_end);
  }
  static constexpr bool Full() noexcept { return false; }
  std::size_t num_last_ids() const noexcept { return ids_.size() - last_begin_; }

 private:
  std::vector<TokenId>& ids_;
  AppendIds append_;
  std::size_t last_begin_;
};

class CountIds {
 public:
  explicit CountIds(const Vocabulary& vocabulary, std::int64_t limit = INT64_MAX)
      : vocabulary_(vocabulary), limit_(limit) {}
  void Special(TokenId /*id*/) noexcept { ++count_; }
  void Token(Rank /*rank*/) noexcept { ++count_; }
  void Merge(std::string_view bytes, const char* readable_end) {
    if (bytes.size() > kShortBytes) {
      count_ += CountMerged(vocabulary_, bytes);
      return;
    }
    std::array<Rank, kShortBytes> merged;
    count_ +=
        static_cast<std::int64_t>(MergeShort(vocabulary_, bytes, readable_end, merged.data()));
  }
  bool Full() const noexcept { return count_ > limit_; }
  std::int64_t count() const noexcept { return count_; }

 private:
  const Vocabulary& vocabulary_;
  std::int64_t limit_;
  std::int64_t count_ = 0;
};

/// The inner loop: cut off a pre-token, look it up as a whole, merge it when that fails.
template <typename Sink>
void ForOrdinary(Pattern pattern, const Vocabulary& vocabulary, std::string_view text, Sink& sink) {
  WithPattern(pattern, [&](auto constant) {
    const char* const text_end = text.data() + text.size();
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = NextPreToken<constant()>(text, begin);
      const Rank rank = vocabulary.Find(text.data() + begin, end - begin, text_end);
      if (rank != kNoToken) {
        sink.Token(rank);
      } else {
        sink.Merge(text.substr(begin, end - begin), text_end);
      }
      if (sink.Full()) return;
      begin = end;
    }
  });
}

/// A prompt as one string, and where in it special tokens stand.
struct Rendered {
  std::string_view text;
  std::string joined;  // backs `text` unless there is just one segment
  std::vector<SpecialTokens::Match> matches;
};

void Render(std::span<const Segment> segments, const SpecialTokens& special_tokens,
            Rendered& rendered) {
  if (segments.size() == 1) {
    rendered.text = segments[0].text;
  } else {
    std::size_t size = 0;
    for (const Segment& segment : segments) size += segment.text.size();
    rendered.joined.reserve(size);
    for (const Segment& segment : segments) rendered.joined.append(segment.text);
    rendered.text = rendered.joined;
  }
  std::size_t offset = 0;
  for (const Segment& segment : segments) {
    std::size_t from = 0;
    while (segment.trusted) {
      const auto match = special_tokens.Find(segment.text, from);
      if (!match) break;
      rendered.matches.push_back({offset + match->begin, offset + match->end, match->id});
      from = match->end;
    }
    offset += segment.text.size();
  }
}

template <typename Sink>
void ForSegments(Pattern pattern, const Vocabulary& vocabulary, const SpecialTokens& special_tokens,
                 std::span<const Segment> segments, Sink& sink) {
  Rendered rendered;
  Render(segments, special_tokens, rendered);
  std::size_t done = 0;
  for (const SpecialTokens::Match& match : rendered.matches) {
    ForOrdinary(pattern, vocabulary, rendered.text.substr(done, match.begin - done), sink);
    sink.Special(match.id);
    done = match.end;
  }
  ForOrdinary(pattern, vocabulary, rendered.text.substr(done), sink);
}

/// 128 bits over everything that decides the ids, two independent 64-bit lanes.
class Fingerprint {
 public:
  void Number(std::uint64_t value) noexcept {
    for (std::size_t i = 0; i < 2; ++i) {
      const auto product = static_cast<unsigned __int128>(lanes_[i] ^ value) * kMultipliers[i];
      lanes_[i] = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
      lanes_[i] += kMultipliers[1 - i];  // so that a lane never sticks at 0
    }
  }
  void Bytes(std::string_view bytes) noexcept {
    Number(bytes.size());
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < std::min<std::size_t>(8, bytes.size() - at); ++i) {
        word |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << 8 * i;
      }
      Number(word);
    }
  }
  std::string Hex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (const std::uint64_t lane : lanes_) {
      for (int shift = 60; shift >= 0; shift -= 4) hex += kDigits[lane >> shift & 15];
    }
    return hex;
  }

 private:
  // Odd numbers of no structure: the fractions of the golden ratio and of the square root of 2.
  static constexpr std::array<std::uint64_t, 2> kMultipliers = {0x9E3779B97F4A7C15,
                                                                0x6A09E667F3BCC909};
  std::array<std::uint64_t, 2> lanes_ = kMultipliers;
};

}  // namespace

Encoding::Encoding(std::string name, Pattern pattern, Vocabulary vocabulary,
                   SpecialTokens special_tokens)
    : name_(std::move(name)),
      pattern_(pattern),
      vocabulary_(std::move(vocabulary)),
      special_tokens_(std::move(special_tokens)),
      by_id_(special_tokens_.tokens()) {
  std::stable_sort(by_id_.begin(), by_id_.end(),
                   [](const SpecialToken& a, const SpecialToken& b) { return a.id < b.id; });
  Fingerprint fingerprint;
  fingerprint.Number(static_cast<std::uint64_t>(pattern_));
  fingerprint.Number(vocabulary_.num_tokens());
  fingerprint.Number(static_cast<std::uint64_t>(vocabulary_.symbols()));
  fingerprint.Number(vocabulary_.num_merged());
  fingerprint.Number(vocabulary_.num_findable());
  for (Rank rank = 0; rank < vocabulary_.num_ranks(); ++rank) {
    const std::string_view bytes = vocabulary_.Bytes(rank);
    if (bytes.empty()) continue;
    fingerprint.Number(vocabulary_.IdOf(rank));
    fingerprint.Bytes(bytes);
    max_token_id_ = std::max(max_token_id_, vocabulary_.IdOf(rank));
  }
  for (const SpecialToken& token : by_id_) {
    if (token.id > INT32_MAX) {
      throw LoadError(StrCat("special token ", token.spelling, " has id ", token.id,
                             ", the limit is ", INT32_MAX));
    }
    if (!TokenBytes(token.id).empty()) {
      throw LoadError(StrCat("special token ", token.spelling, " has the id ", token.id,
                             " of an ordinary token"));
    }
    fingerprint.Number(token.id);
    fingerprint.Bytes(token.spelling);
    max_token_id_ = std::max(max_token_id_, token.id);
  }
  fingerprint_ = fingerprint.Hex();
}

void Encoding::EncodeOrdinary(std::string_view utf8, std::vector<TokenId>& ids) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  ForOrdinary(pattern_, vocabulary_, utf8, sink);
  rollback.Commit();
}

std::int64_t Encoding::CountOrdinary(std::string_view utf8) const {
  CountIds sink(vocabulary_);
  ForOrdinary(pattern_, vocabulary_, utf8, sink);
  return sink.count();
}

bool Encoding::FitsOrdinary(std::string_view utf8, std::int64_t limit) const {
  // No token is longer than max_token_bytes, so a text that is too long by far needs no look.
  const auto max_bytes = static_cast<std::uint64_t>(vocabulary_.max_token_bytes());
  if (limit < 0 || (utf8.size() + max_bytes - 1) / max_bytes > static_cast<std::uint64_t>(limit)) {
    return false;
  }
  CountIds sink(vocabulary_, limit);
  ForOrdinary(pattern_, vocabulary_, utf8, sink);
  return !sink.Full();
}

void Encoding::Encode(std::string_view utf8, const SpecialTokens& allowed,
                      std::vector<TokenId>& ids) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  const Segment segment{utf8, true};
  ForSegments(pattern_, vocabulary_, allowed, {&segment, 1}, sink);
  rollback.Commit();
}

std::size_t Encoding::EncodeWithUnstable(std::string_view utf8, const SpecialTokens& allowed,
                                         std::vector<TokenId>& ids) const {
  Rollback rollback(ids);
  AppendIdsAndMark sink(vocabulary_, ids);
  const Segment segment{utf8, true};
  const std::size_t size_before = ids.size();
  ForSegments(pattern_, vocabulary_, allowed, {&segment, 1}, sink);
  rollback.Commit();
  return NumUnstable(std::span<const TokenId>(ids).subspan(size_before), sink.num_last_ids());
}

void Encoding::EncodeSegments(std::span<const Segment> segments, std::vector<TokenId>& ids) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  ForSegments(pattern_, vocabulary_, special_tokens_, segments, sink);
  rollback.Commit();
}

std::int64_t Encoding::CountSegments(std::span<const Segment> segments) const {
  CountIds sink(vocabulary_);
  ForSegments(pattern_, vocabulary_, special_tokens_, segments, sink);
  return sink.count();
}

void Encoding::EncodeBytes(std::string_view bytes, std::vector<TokenId>& ids) const {
  const std::size_t num_valid = ValidUtf8Prefix(bytes);
  if (num_valid == bytes.size()) return EncodeOrdinary(bytes, ids);
  Rollback rollback(ids);
  const std::size_t size_before = ids.size();
  AppendIdsAndMark sink(vocabulary_, ids);
  ForOrdinary(pattern_, vocabulary_, bytes.substr(0, num_valid), sink);
  const std::size_t num_unstable =
      NumUnstable(std::span<const TokenId>(ids).subspan(size_before), sink.num_last_ids());
  std::size_t begin = num_valid;
  for (std::size_t i = 0; i < num_unstable; ++i) {
    begin -= TokenBytes(ids.back()).size();
    ids.pop_back();
  }
  EncodePreToken(bytes.substr(begin), ids);
  rollback.Commit();
}

void Encoding::EncodePreToken(std::string_view bytes, std::vector<TokenId>& ids) const {
  if (bytes.empty()) return;
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  const Rank rank = vocabulary_.Find(bytes);
  if (rank != kNoToken) {
    sink.Token(rank);
  } else {
    sink.Merge(bytes, bytes.data() + bytes.size());
  }
  rollback.Commit();
}

std::size_t Encoding::NumUnstable(std::span<const TokenId> ids,
                                  std::size_t num_last) const noexcept {
  const auto is_blank = [this](TokenId id) {
    const std::string_view bytes = TokenBytes(id);
    return !bytes.empty() && bytes.find_first_not_of(" \n\t") == std::string_view::npos;
  };
  if (num_last == 0 || !is_blank(ids[ids.size() - num_last])) return num_last;
  while (num_last < ids.size() && is_blank(ids[ids.size() - num_last - 1])) ++num_last;
  return num_last;
}

const SpecialToken* Encoding::FindSpecialToken(TokenId id) const noexcept {
  const auto found = std::partition_point(
      by_id_.begin(), by_id_.end(), [id](const SpecialToken& token) { return token.id < id; });
  return found == by_id_.end() || found->id != id ? nullptr : &*found;
}

TokenId Encoding::EncodeSingleToken(std::string_view bytes) const {
  if (!bytes.empty()) {
    const Rank rank = vocabulary_.Find(bytes);
    if (rank != kNoToken) return vocabulary_.IdOf(rank);
  }
  if (const auto id = special_tokens_.IdOf(bytes)) return *id;
  throw UnknownTokenError(
      StrCat("encoding ", name_, " has no token of exactly these ", bytes.size(), " bytes"));
}

}  // namespace ctx::tokenize
