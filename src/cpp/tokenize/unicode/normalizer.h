// The normalizer of an encoding: what happens to a text before it is cut into pre-tokens, step by
// step as Hugging Face's tokenizers do it. Immutable: any thread may use it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/definition.h"
#include "tokenize/unicode/text_edit.h"

namespace ctx::tokenize {

class Normalizer {
 public:
  /// What stands before a text.
  enum class Position : std::uint8_t {
    kInputStart,    ///< nothing: all prepending steps apply
    kSectionStart,  ///< a special token: those apply but kPrependFirst
    kMiddle,        ///< text of the same section: none applies
  };

  /// Changes nothing.
  Normalizer() = default;

  /// Throws LoadError that names the step if a kReplace step has an empty pattern or if a string is
  /// not UTF-8.
  explicit Normalizer(std::vector<NormalizerStep> steps);

  const std::vector<NormalizerStep>& steps() const noexcept { return steps_; }

  /// Whether there are no steps.
  bool empty() const noexcept { return steps_.empty(); }

  /// Whether it is a normalization form and no more: what it leaves as it is, it also leaves as it
  /// is in parts.
  bool IsForm() const noexcept;

  /// Whether what begins a text may get something put before it.
  bool Prepends() const noexcept;

  /// Returns the normalized text: `text` itself if nothing changes, else a view of `buffer`, which
  /// must not hold `text`. `text` is valid UTF-8, and so is the result. O(bytes of all steps' input
  /// and output). On std::bad_alloc the buffer holds anything.
  std::string_view Apply(std::string_view text, Position position, std::string& buffer) const;

  /// The same, and tells where each part of the result comes from; `sources` is empty if the text
  /// itself is returned.
  std::string_view Apply(std::string_view text, Position position, std::string& buffer,
                         std::vector<SourceRange>& sources) const;

  /// Returns the length of a prefix P of `text` whose result no text that follows can change: if it
  /// is not 0 and `rest` is what is behind P, then for every X
  ///     Apply(text + X, position) == Apply(P, position) + Apply(rest + X, kMiddle).
  /// Where all steps replace single characters, P is all of `text`; with kNfc, kNfkc or longer
  /// patterns it ends before the last character that no step can join with what stands before it.
  /// 0, for lack of a promise, also where a normalization form comes before a step that looks at
  /// neighbours (other than a form) and where a text's beginning may be erased before something is
  /// prepended, or something of several characters is prepended unless it is there. Also 0 when the
  /// prefix would be shorter than `from`. O(bytes of `rest`, of those behind `from`).
  std::size_t StablePrefix(std::string_view text, Position position,
                           std::size_t from = 0) const noexcept;

  /// Whether StablePrefix promises anything.
  bool Promises(Position position) const noexcept {
    return position == Position::kMiddle ? promises_middle_ : promises_start_;
  }

  /// Whether the beginning of the character at `at`, not that of the text, is such a cut: P may end
  /// there. Where Promises says so. O(1).
  bool IsStableCut(std::string_view text, std::size_t at) const noexcept;

 private:
  std::string_view Run(std::string_view text, Position position, std::string& buffer,
                       std::vector<SourceRange>* sources) const;
  bool MayCutBefore(char32_t c) const noexcept;

  std::vector<NormalizerStep> steps_;
  // Of StablePrefix: one past the last step that looks at neighbours, and what can be promised.
  std::size_t looking_end_ = 0;
  bool promises_middle_ = true;
  bool promises_start_ = true;
};

}  // namespace ctx::tokenize
