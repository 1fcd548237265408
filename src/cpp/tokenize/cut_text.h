// What cutting a text (tokenize/cuts.h) needs to know of it: how its parts are normalized, and what
// they fall into.
//
// Functions of immutable tables: callable from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/encoding.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {

/// Pre-tokens, user-defined symbols among them; or, where no scanner of ours cuts, stretches of
/// some hundred bytes between places where the pre-tokenizer is sure to cut. What they are depends
/// on nothing before them.
class Pieces {
 public:
  /// The encoding must outlive it.
  explicit Pieces(const Encoding& encoding);

  /// Whether they are pre-tokens; those that are no token are merged.
  bool are_pre_tokens() const noexcept { return kind_ != Kind::kStretches; }
  /// Whether the text, if it has no user-defined symbol, is one piece.
  bool is_one() const noexcept { return kind_ == Kind::kWhole; }
  bool has_symbols() const noexcept { return max_symbol_bytes_ != 0; }

  /// No token has more bytes, and the end of a long piece depends on no more bytes behind it.
  std::size_t max_token_bytes() const noexcept { return max_token_bytes_; }
  std::size_t max_lookahead_bytes() const noexcept { return max_lookahead_bytes_; }

  /// The end of the piece that begins at `begin` < text.size().
  std::size_t End(std::string_view text, std::size_t begin) const;
  /// Likewise, or 0 when text appended could change it.
  std::size_t FinalEnd(std::string_view text, std::size_t begin) const;
  /// The scanner that finds them, if one does.
  std::optional<Pattern> pattern() const noexcept { return pattern_; }
  /// How many tokens that piece has.
  std::int64_t Count(std::string_view text, std::size_t begin, std::size_t end) const;

 private:
  enum class Kind : std::uint8_t { kScanned, kWhole, kStretches };

  std::size_t EndOf(std::string_view text, std::size_t begin, bool is_final) const;

  const Encoding& encoding_;
  Kind kind_ = Kind::kWhole;
  std::optional<Pattern> pattern_;  // kScanned
  std::size_t (*end_)(std::string_view, std::size_t) noexcept = nullptr;
  std::size_t (*final_end_)(std::string_view, std::size_t) noexcept = nullptr;
  std::size_t max_symbol_bytes_;
  std::size_t max_token_bytes_;
  std::size_t max_lookahead_bytes_ = 16;  // a contraction, blanks that the next word takes
};

/// A part of a text, normalized, and where the two correspond.
class NormalizedPart {
 public:
  /// A place that no character behind it can join across: what stands on its sides is normalized by
  /// itself.
  struct Cut {
    std::size_t original;
    std::size_t normalized;
  };

  /// Both must outlive it. The normalizer must promise stable cuts. A part is a front of a text, or
  /// any other.
  NormalizedPart(const Normalizer& normalizer, std::string_view part, bool is_front);

  std::string_view text() const noexcept { return is_same_ ? part_ : normalized_; }
  /// Whether the part is unchanged, and so is each part of it; then there are no cuts.
  bool is_same() const noexcept { return is_same_; }
  /// In order, from {0, 0} to the two lengths.
  const std::vector<Cut>& cuts() const noexcept { return cuts_; }

 private:
  std::string_view part_;
  bool is_same_;
  std::string normalized_;
  std::vector<Cut> cuts_;
};

}  // namespace ctx::tokenize
