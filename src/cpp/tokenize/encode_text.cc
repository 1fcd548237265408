// From text to ids and to their number: what Encoding does with every text, from the search for
// special tokens to the pre-tokens that are handed to bpe/encode_pre_tokens.h.
#include <algorithm>
#include <array>

#include "tokenize/bpe/encode_pre_tokens.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/encoding.h"
#include "tokenize/packed_texts.h"
#include "tokenize/text_counter.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

/// Cuts an output back to its size at construction unless told that all went well.
class Rollback {
 public:
  explicit Rollback(IdOutput& ids) : ids_(ids), size_(ids.size()) {}
  ~Rollback() {
    if (!done_) ids_.Truncate(size_);
  }
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  void Commit() noexcept { done_ = true; }

 private:
  IdOutput& ids_;
  std::size_t size_;
  bool done_ = false;
};

// What becomes of ordinary text: its ranks, pre-token by pre-token, or their number. Token(rank):
// the pre-token is a token. Merge(...): it is not. Full(): no need to go on. Special(id) comes
// between.

class AppendIds {
 public:
  AppendIds(const Vocabulary& vocabulary, IdOutput& ids) : vocabulary_(vocabulary), ids_(ids) {}
  void Special(TokenId id) { ids_.Push(id); }
  void Token(Rank rank) { ids_.Push(vocabulary_.IdOf(rank)); }
  void Merge(std::string_view bytes, const char* readable_end) {
    if (bytes.size() > kShortBytes) return EncodeLong(vocabulary_, bytes, ids_);
    std::array<Rank, kShortBytes> merged;
    const std::size_t num_ranks = MergeShort(vocabulary_, bytes, readable_end, merged.data());
    Append(std::span(merged).first(num_ranks));
  }
  void Many(const PreTokens& pre_tokens) { EncodePreTokens(vocabulary_, pre_tokens, ids_); }
  void ManyOfTexts(const PreTokens& pre_tokens, std::span<const std::uint16_t> borders,
                   std::int64_t* sizes) {
    EncodePreTokensOfTexts(vocabulary_, pre_tokens, borders, ids_, sizes);
  }
  static constexpr bool Full() noexcept { return false; }
  std::int64_t count() const noexcept { return static_cast<std::int64_t>(ids_.size()); }

 private:
  void Append(std::span<Rank> ranks) {
    if (!vocabulary_.ranks_are_ids()) {
      for (Rank& rank : ranks) rank = vocabulary_.IdOf(rank);
    }
    ids_.Append(ranks);
  }

  const Vocabulary& vocabulary_;
  IdOutput& ids_;
};

/// Also knows how many ids the last pre-token gave.
class AppendIdsAndMark {
 public:
  AppendIdsAndMark(const Vocabulary& vocabulary, IdOutput& ids)
      : ids_(ids), append_(vocabulary, ids), last_begin_(ids.size()) {}
  void Special(TokenId id) {
    ids_.Push(id);
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
  IdOutput& ids_;
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
      count_ += CountLong(vocabulary_, bytes);
      return;
    }
    std::array<Rank, kShortBytes> merged;
    count_ +=
        static_cast<std::int64_t>(MergeShort(vocabulary_, bytes, readable_end, merged.data()));
  }
  void Many(const PreTokens& pre_tokens) { count_ += CountPreTokens(vocabulary_, pre_tokens); }
  void ManyOfTexts(const PreTokens& pre_tokens, std::span<const std::uint16_t> borders,
                   std::int64_t* sizes) {
    CountPreTokensOfTexts(vocabulary_, pre_tokens, borders, sizes);
    for (std::size_t i = 0; i < borders.size(); ++i) sizes[i] += count_;
    count_ = sizes[borders.size() - 1];
  }
  bool Full() const noexcept { return count_ > limit_; }
  std::int64_t count() const noexcept { return count_; }

 private:
  const Vocabulary& vocabulary_;
  std::int64_t limit_;
  std::int64_t count_ = 0;
};

/// Texts up to this size are copied, to have kReadableBytes behind them.
constexpr std::size_t kCopiedBytes = 256;

/// What a block scanner does, character by character, for `size` bytes or a little more. When the
/// first pre-token has more than kBlockScanBytes, returns where it ends, and has found nothing.
std::size_t ScanOneByOne(Pattern pattern, std::string_view text, std::size_t size,
                         std::uint16_t* ends, BlockScan& found) {
  found = {0, true};
  return WithPattern(pattern, [&](auto constant) -> std::size_t {
    for (std::size_t begin = 0; begin < std::min(size, text.size());) {
      begin = NextPreToken<constant()>(text, begin);
      if (begin > kBlockScanBytes) return found.count == 0 ? begin : 0;
      ends[found.count++] = static_cast<std::uint16_t>(begin);
    }
    return 0;
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
    if (segment.trusted) {
      // By itself: what stands beside it must not decide which special tokens it has.
      const TextRange all{0, segment.text.size()};
      SpecialTokenMatches matches(special_tokens, segment.text, {&all, 1});
      while (const auto match = matches.Next()) {
        rendered.matches.push_back({offset + match->begin, offset + match->end, match->id});
      }
    }
    offset += segment.text.size();
  }
}

}  // namespace

template <typename Sink>
void Encoding::ForNormalized(std::string_view text, std::size_t limit, Sink& sink) const {
  if (user_defined_.empty()) return ForPreTokens(text, limit, sink);
  const TextRange all{0, text.size()};
  SpecialTokenMatches matches(user_defined_, text, {&all, 1});
  std::size_t done = 0;
  for (auto match = matches.Next(); match && !sink.Full(); match = matches.Next()) {
    if (done >= limit) return;
    ForPreTokens(text.substr(done, match->begin - done), text.size(), sink);
    sink.Special(match->id);
    done = match->end;
  }
  if (!sink.Full() && done < limit) ForPreTokens(text.substr(done), text.size(), sink);
}

/// The inner loop: cut off pre-tokens, look each up as a whole, merge it when that fails.
template <typename Sink>
void Encoding::ForPreTokens(std::string_view text, std::size_t limit, Sink& sink) const {
  const char* text_end = text.data() + text.size();
  const auto take = [&](const char* begin, std::size_t size) {
    const Rank rank = vocabulary_.Find(begin, size, text_end);
    if (rank != kNoToken) {
      sink.Token(rank);
    } else {
      sink.Merge({begin, size}, text_end);
    }
    return !sink.Full();
  };
  const auto pattern = pre_tokenizer_.pattern();
  if (!pattern) {
    pre_tokenizer_.ForEach(text, [&](std::string_view pre_token) {
      return static_cast<std::size_t>(pre_token.data() - text.data()) < limit &&
             take(pre_token.data(), pre_token.size());
    });
    return;
  }
  const std::size_t stop = std::min(text.size(), limit);
  std::size_t begin = 0;
  if constexpr (requires(const PreTokens& many) { sink.Many(many); }) {
    // With something readable behind it, the end of a short text needs no special care. Scanned is
    // the text itself: what has just been copied is not there to be loaded 64 bytes at a time yet.
    const char* const scanned = text.data();
    std::array<char, kCopiedBytes + kReadableBytes> copy;
    if (!text.empty() && text.size() <= kCopiedBytes) {
      std::memcpy(copy.data(), text.data(), text.size());
      std::memset(copy.data() + text.size(), 0, kReadableBytes);
      text = {copy.data(), text.size()};
      text_end = copy.data() + text.size() + kReadableBytes;
    }
    const BlockScanner scan = pre_tokenizer_.block_scanner();
    std::array<std::uint16_t, 1 + kMaxBlockScanEnds + 8> borders;
    borders[0] = 0;
    std::uint16_t* const ends = &borders[1];
    while (begin < stop && !sink.Full()) {
      BlockScan found = {0, false};
      if (scan != nullptr) found = scan(scanned + begin, text.size() - begin, ends);
      if (found.count == 0) {
        const std::size_t size = scan != nullptr ? kBlockScanStep : kBlockScanBytes;
        const std::size_t too_long = ScanOneByOne(*pattern, text.substr(begin), size, ends, found);
        if (too_long != 0) {
          take(text.data() + begin, too_long);
          begin += too_long;
          continue;
        }
      }
      while (begin + ends[found.count - 1] > stop) --found.count;
      sink.Many({text.data() + begin, ends, found.count, text_end, found.has_wide});
      begin += ends[found.count - 1];
    }
  } else {
    WithPattern(*pattern, [&](auto constant) {
      while (begin < stop) {
        const std::size_t end = NextPreToken<constant()>(text, begin);
        if (!take(text.data() + begin, end - begin)) return;
        begin = end;
      }
    });
  }
}

template <typename Sink>
void Encoding::ForOrdinary(std::string_view text, Normalizer::Position position, Sink& sink) const {
  if (normalizer_.empty()) return ForNormalized(text, text.size(), sink);
  std::string buffer;
  const std::string_view normalized = normalizer_.Apply(text, position, buffer);
  ForNormalized(normalized, normalized.size(), sink);
}

template <typename Sink>
void Encoding::ForSegments(const SpecialTokens& special_tokens, std::span<const Segment> segments,
                           Sink& sink) const {
  Rendered rendered;
  Render(segments, special_tokens, rendered);
  auto position = Normalizer::Position::kInputStart;
  std::size_t done = 0;
  for (const SpecialTokens::Match& match : rendered.matches) {
    ForOrdinary(rendered.text.substr(done, match.begin - done), position, sink);
    sink.Special(match.id);
    done = match.end;
    position = Normalizer::Position::kSectionStart;
  }
  ForOrdinary(rendered.text.substr(done), position, sink);
}

template <typename Sink>
void Encoding::ForTexts(std::span<const std::string_view> texts, Sink& sink,
                        std::int64_t* sizes) const {
  const BlockScanner scan = pre_tokenizer_.block_scanner();
  if (scan == nullptr || !pre_tokenizer_.pattern() || !normalizer_.empty() ||
      !user_defined_.empty()) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      ForOrdinary(texts[i], Normalizer::Position::kInputStart, sink);
      sizes[i] = sink.count();
    }
    return;
  }
  PackedTexts packed(scan);
  const auto flush = [&](std::size_t end) {
    if (packed.num_texts() == 0) return;
    sink.ManyOfTexts(packed.pre_tokens(), packed.borders(), sizes + end - packed.num_texts());
    packed.Clear();
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!packed.HasRoomFor(texts[i])) flush(i);
    if (texts[i].size() <= PackedTexts::kMaxTextBytes && packed.Add(texts[i])) continue;
    flush(i);
    ForPreTokens(texts[i], texts[i].size(), sink);
    sizes[i] = sink.count();
  }
  flush(texts.size());
}

void Encoding::EncodeTexts(std::span<const std::string_view> texts, IdOutput& ids,
                           std::int64_t* sizes) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  ForTexts(texts, sink, sizes);
  rollback.Commit();
}

void Encoding::CountTexts(std::span<const std::string_view> texts, std::int64_t* sizes) const {
  CountIds sink(vocabulary_);
  ForTexts(texts, sink, sizes);
}

void Encoding::EncodeOrdinary(std::string_view utf8, std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  EncodeOrdinary(utf8, end);
}

void Encoding::EncodeOrdinary(std::string_view utf8, IdOutput& ids) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  ForOrdinary(utf8, Normalizer::Position::kInputStart, sink);
  rollback.Commit();
}

void Encoding::EncodeNormalized(std::string_view utf8, std::size_t limit,
                                std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  Rollback rollback(end);
  AppendIds sink(vocabulary_, end);
  ForNormalized(utf8, limit, sink);
  rollback.Commit();
}

bool Encoding::CountsInChunks() const noexcept {
  if (!normalizer_.empty()) return normalizer_.Promises(Normalizer::Position::kInputStart);
  return pre_tokenizer_.pattern().has_value() && user_defined_.empty();
}

/// Whether chunks need less memory than a normalized copy, and are worth it.
bool Encoding::IsCountedInChunks(std::size_t size_bytes) const noexcept {
  return !normalizer_.empty() && size_bytes > TextCounter::kChunkBytes && CountsInChunks();
}

std::int64_t Encoding::CountNormalized(std::string_view utf8, std::size_t limit) const {
  CountIds sink(vocabulary_);
  ForNormalized(utf8, limit, sink);
  return sink.count();
}

std::int64_t Encoding::CountOrdinary(std::string_view utf8) const {
  if (IsCountedInChunks(utf8.size())) {
    TextCounter counter(*this);
    counter.FeedLast(utf8);
    if (const auto count = counter.count()) return *count;
  }
  CountIds sink(vocabulary_);
  ForOrdinary(utf8, Normalizer::Position::kInputStart, sink);
  return sink.count();
}

bool Encoding::FitsOrdinary(std::string_view utf8, std::int64_t limit) const {
  if (limit < 0) return false;
  // A text that is too long by far needs no look.
  if (max_text_bytes_ && utf8.size() / *max_text_bytes_ > static_cast<std::uint64_t>(limit)) {
    return false;
  }
  if (IsCountedInChunks(utf8.size())) {
    TextCounter counter(*this, limit);
    counter.FeedLast(utf8);
    if (counter.count()) return !counter.Full();
  }
  CountIds sink(vocabulary_, limit);
  ForOrdinary(utf8, Normalizer::Position::kInputStart, sink);
  return !sink.Full();
}

std::size_t Encoding::FinalPrefix(std::string_view normalized) const {
  if (user_defined_.empty()) return pre_tokenizer_.FinalPrefix(normalized);
  // A user-defined symbol is final when no longer one can begin where it does.
  const TextRange all{0, normalized.size()};
  SpecialTokenMatches matches(user_defined_, normalized, {&all, 1});
  std::size_t final_end = 0;
  while (const auto match = matches.Next()) {
    if (match->begin + user_defined_.max_spelling_bytes() > normalized.size()) break;
    final_end = match->end;
  }
  return final_end;
}

std::size_t Encoding::FirstPreToken(std::string_view normalized) const {
  if (user_defined_.Find(normalized)) return 0;
  std::size_t end = 0;
  pre_tokenizer_.ForEach(normalized, [&](std::string_view pre_token) {
    if (pre_token.data() == normalized.data()) end = pre_token.size();
    return false;
  });
  return end == normalized.size() || pre_tokenizer_.pattern() ? end : 0;
}

void Encoding::Encode(std::string_view utf8, const SpecialTokens& allowed,
                      std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  Encode(utf8, allowed, end);
}

void Encoding::Encode(std::string_view utf8, const SpecialTokens& allowed, IdOutput& ids) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  const Segment segment{utf8, true};
  ForSegments(allowed, {&segment, 1}, sink);
  rollback.Commit();
}

std::size_t Encoding::EncodeWithUnstable(std::string_view utf8, const SpecialTokens& allowed,
                                         std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  Rollback rollback(end);
  AppendIdsAndMark sink(vocabulary_, end);
  const Segment segment{utf8, true};
  const std::size_t size_before = end.size();
  ForSegments(allowed, {&segment, 1}, sink);
  rollback.Commit();
  return NumUnstable(end.view().subspan(size_before), sink.num_last_ids());
}

void Encoding::EncodeSegments(std::span<const Segment> segments, std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  EncodeSegments(segments, end);
}

void Encoding::EncodeSegments(std::span<const Segment> segments, IdOutput& ids) const {
  Rollback rollback(ids);
  AppendIds sink(vocabulary_, ids);
  ForSegments(special_tokens_, segments, sink);
  rollback.Commit();
}

std::int64_t Encoding::CountSegments(std::span<const Segment> segments) const {
  std::size_t size_bytes = 0;
  for (const Segment& segment : segments) size_bytes += segment.text.size();
  if (size_bytes > TextCounter::kChunkBytes) {
    TextCounter counter(*this);
    for (const Segment& segment : segments) {
      std::size_t done = 0;
      if (segment.trusted) {
        const TextRange all{0, segment.text.size()};
        SpecialTokenMatches matches(special_tokens_, segment.text, {&all, 1});
        while (const auto match = matches.Next()) {
          counter.Feed(segment.text.substr(done, match->begin - done));
          counter.EndSection();
          counter.Add(1);
          done = match->end;
        }
      }
      counter.Feed(segment.text.substr(done));
    }
    counter.EndSection();
    if (const auto count = counter.count()) return *count;
  }
  CountIds sink(vocabulary_);
  ForSegments(special_tokens_, segments, sink);
  return sink.count();
}

void Encoding::EncodeBytes(std::string_view bytes, std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  EncodeBytes(bytes, end);
}

void Encoding::EncodeBytes(std::string_view bytes, IdOutput& ids) const {
  std::size_t num_valid = ValidUtf8Prefix(bytes);
  if (num_valid == bytes.size()) return EncodeOrdinary(bytes, ids);
  Rollback rollback(ids);
  const std::size_t size_before = ids.size();
  AppendIdsAndMark sink(vocabulary_, ids);
  if (!normalizer_.empty() || vocabulary_.symbols() == Vocabulary::Symbols::kCharacters) {
    auto position = Normalizer::Position::kInputStart;
    for (;;) {
      ForOrdinary(bytes.substr(0, num_valid), position, sink);
      if (num_valid == bytes.size()) break;
      sink.Token(vocabulary_.ByteToken(static_cast<unsigned char>(bytes[num_valid])));
      bytes.remove_prefix(num_valid + 1);
      num_valid = ValidUtf8Prefix(bytes);
      position = Normalizer::Position::kMiddle;
    }
    return rollback.Commit();
  }
  ForNormalized(bytes.substr(0, num_valid), num_valid, sink);
  const std::size_t num_unstable =
      NumUnstable(ids.view().subspan(size_before), sink.num_last_ids());
  std::size_t begin = num_valid;
  for (const TokenId id : ids.view().last(num_unstable)) begin -= TokenBytes(id).size();
  ids.Truncate(ids.size() - num_unstable);
  EncodePreToken(bytes.substr(begin), ids);
  rollback.Commit();
}

void Encoding::EncodePreToken(std::string_view bytes, std::vector<TokenId>& ids) const {
  IdVectorEnd end(ids);
  EncodePreToken(bytes, end);
}

void Encoding::EncodePreToken(std::string_view bytes, IdOutput& ids) const {
  if (bytes.empty()) return;
  if (vocabulary_.symbols() == Vocabulary::Symbols::kCharacters &&
      ValidUtf8Prefix(bytes) != bytes.size()) {
    return EncodeBytes(bytes, ids);
  }
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

}  // namespace ctx::tokenize
