// The lower half of reading a regular expression: characters, escapes and classes, and how PCRE2
// spells sets of code points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tokenize/definition.h"
#include "tokenize/unicode/code_point_set.h"

namespace ctx::tokenize {

/// What an escape stands for: one character, or any of a set.
struct ClassItem {
  std::optional<char32_t> character;
  CodePointSet set;
};

/// A position in a pattern, valid UTF-8 that must outlive it. Whatever is not understood for
/// certain is refused with a LoadError.
class ClassReader {
 public:
  ClassReader(std::string_view pattern, PreTokenizerStep::Flavor flavor)
      : pattern_(pattern), is_onig_(flavor == PreTokenizerStep::Flavor::kHuggingFace) {}

  std::size_t offset() const noexcept { return at_; }
  bool AtEnd() const noexcept { return at_ == pattern_.size(); }
  /// The next character, or byte of it, when not at the end.
  char32_t Peek() const noexcept;
  char PeekByte() const noexcept { return pattern_[at_]; }
  /// Passes and returns the next character; refuses the end.
  char32_t Next();
  /// Passes `prefix` if it is next.
  bool Skip(std::string_view prefix) noexcept;
  /// Passes a decimal number if one is next; refuses one above `limit`.
  std::optional<std::uint32_t> ReadNumber(std::uint32_t limit);

  /// The escape that begins here with "\", inside of a class or not.
  ClassItem ReadEscape(bool fold, bool in_class);
  /// The class that begins here with "[".
  CodePointSet ReadClass(bool fold, int depth = 0);
  /// \w, inside of a class or not.
  CodePointSet WordCharacters(bool in_class) const;

  /// Throws LoadError about the construct at the byte `offset` of the pattern, here by default.
  [[noreturn]] void Refuse(std::string_view construct) const { Refuse(construct, at_); }
  [[noreturn]] void Refuse(std::string_view construct, std::size_t offset) const;

 private:
  char32_t ReadHexadecimal(std::size_t offset, char letter);
  CodePointSet ReadProperty(bool negated, bool fold, std::size_t offset);
  CodePointSet Folded(CodePointSet set, bool fold, std::size_t offset) const;

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool is_onig_;
};

/// Appends what PCRE2 matches with a character of the set; false, and nothing, when no text can
/// hold one. Code points U+D800 to U+DFFF are left out.
bool WriteSet(const CodePointSet& set, std::string& out);

}  // namespace ctx::tokenize
