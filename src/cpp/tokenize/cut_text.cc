#include "tokenize/cut_text.h"

#include <algorithm>

#include "tokenize/bpe/merge.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {
namespace {

/// Stretches end where the pre-tokenizer is sure of the text up to a multiple of this, so that they
/// soon end alike wherever they began.
constexpr std::size_t kGridBytes = 512;

/// The ends of the windows in which a stretch that begins at `begin` may end.
class Windows {
 public:
  explicit Windows(std::size_t begin) : begin_(begin), end_(begin / kGridBytes * kGridBytes) {}
  std::size_t Next() noexcept {
    const std::size_t size = 2 * (std::max(end_, begin_) - begin_);
    end_ = std::max(end_ + kGridBytes, (begin_ + size) / kGridBytes * kGridBytes);
    return end_;
  }

 private:
  std::size_t begin_;
  std::size_t end_;
};

}  // namespace

Pieces::Pieces(const Encoding& encoding)
    : encoding_(encoding),
      max_symbol_bytes_(encoding.user_defined().max_spelling_bytes()),
      max_token_bytes_(std::max(encoding.vocabulary().max_token_bytes(), max_symbol_bytes_)) {
  max_lookahead_bytes_ += max_symbol_bytes_;
  const PreTokenizer& pre_tokenizer = encoding.pre_tokenizer();
  if (pre_tokenizer.steps().empty()) return;
  kind_ = Kind::kStretches;
  if (!pre_tokenizer.pattern() || has_symbols()) return;
  kind_ = Kind::kScanned;
  pattern_ = pre_tokenizer.pattern();
  WithPattern(*pattern_, [&](auto pattern) {
    end_ = &NextPreToken<pattern()>;
    final_end_ = &NextFinalPreToken<pattern()>;
  });
}

std::size_t Pieces::End(std::string_view text, std::size_t begin) const {
  return kind_ == Kind::kScanned ? end_(text, begin) : EndOf(text, begin, /*is_final=*/false);
}

std::size_t Pieces::FinalEnd(std::string_view text, std::size_t begin) const {
  return kind_ == Kind::kScanned ? final_end_(text, begin) : EndOf(text, begin, /*is_final=*/true);
}

std::size_t Pieces::EndOf(std::string_view text, std::size_t begin, bool is_final) const {
  const std::size_t end_of_all = is_final ? 0 : text.size();
  if (kind_ == Kind::kStretches) {
    Windows windows(begin);
    for (std::size_t window; (window = windows.Next()) < text.size();) {
      const std::size_t end = FloorCharacter(text, window);
      if (end <= begin) continue;
      const std::size_t num_final = encoding_.FinalPrefix(text.substr(begin, end - begin));
      if (num_final != 0) return begin + num_final;
    }
    return end_of_all;
  }
  const auto symbol = encoding_.user_defined().Find(text, begin);
  if (!symbol || (is_final && symbol->begin + max_symbol_bytes_ > text.size())) return end_of_all;
  return symbol->begin == begin ? symbol->end : symbol->begin;
}

std::int64_t Pieces::Count(std::string_view text, std::size_t begin, std::size_t end) const {
  if (kind_ == Kind::kStretches) {
    // What follows decides where the last pre-tokens end.
    Windows windows(begin);
    for (std::size_t window; (window = windows.Next()) < text.size();) {
      const std::size_t window_end = FloorCharacter(text, window);
      if (window_end < end) continue;
      const std::string_view stretch = text.substr(begin, window_end - begin);
      if (encoding_.FinalPrefix(stretch) < end - begin) continue;
      return encoding_.CountNormalized(stretch, end - begin);
    }
    return encoding_.CountNormalized(text.substr(begin), end - begin);
  }
  const Vocabulary& vocabulary = encoding_.vocabulary();
  const std::string_view piece = text.substr(begin, end - begin);
  const bool is_token =
      vocabulary.Find(piece) != kNoToken || (has_symbols() && encoding_.user_defined().IdOf(piece));
  return is_token ? 1 : CountMerged(vocabulary, piece);
}

NormalizedPart::NormalizedPart(const Normalizer& normalizer, std::string_view part, bool is_front)
    : part_(part), is_same_(normalizer.empty()) {
  using Position = Normalizer::Position;
  if (is_same_) return;
  const auto position = [&](std::size_t begin) {
    return is_front && begin == 0 ? Position::kInputStart : Position::kMiddle;
  };
  std::string buffer;
  if (normalizer.IsForm()) {
    is_same_ = normalizer.Apply(part, position(0), buffer) == part;
    if (is_same_) return;
  }
  cuts_.push_back({0, 0});
  for (std::size_t begin = 0; begin < part.size();) {
    std::size_t end = begin;
    do {
      end = CeilCharacter(part, end + 1);
    } while (end < part.size() && !normalizer.IsStableCut(part, end));
    normalized_ += normalizer.Apply(part.substr(begin, end - begin), position(begin), buffer);
    cuts_.push_back({end, normalized_.size()});
    begin = end;
  }
}

}  // namespace ctx::tokenize
