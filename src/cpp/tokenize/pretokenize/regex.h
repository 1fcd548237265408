// Regular expressions that no hand-written scanner knows, run by PCRE2.
//
// A pattern is read by the rules of the library that it was written for (regex_syntax.h), and what
// that reading does not settle for certain is refused.
//
// Work: a match costs what backtracking costs; a search that has to give up says so. Memory: the
// compiled code is immutable and may be used by any number of threads, each with a RegexMatcher of
// its own.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "tokenize/definition.h"

namespace ctx::tokenize {

class Regex {
 public:
  /// Throws LoadError naming the byte of the pattern and the construct when the pattern is not
  /// well-formed or not supported, and always in a build without PCRE2.
  Regex(std::string_view pattern, PreTokenizerStep::Flavor flavor);

  const std::string& pattern() const noexcept { return pattern_; }
  /// Whether it may match the empty string somewhere.
  bool can_match_empty() const noexcept { return can_match_empty_; }
  /// Whether what stands before a match can matter to it.
  bool looks_behind() const noexcept { return looks_behind_; }

 private:
  friend class RegexMatcher;
  struct Code;

  std::string pattern_;
  bool can_match_empty_ = false;
  bool looks_behind_ = false;
  std::shared_ptr<const Code> code_;
};

/// Bytes [begin, end) of a text.
struct RegexMatch {
  std::size_t begin;
  std::size_t end;
};

/// Finds matches of a Regex, which must outlive it. For one thread at a time.
class RegexMatcher {
 public:
  enum class Outcome {
    kMatch,
    kNoMatch,
    kNeedsMoreText,  ///< appended text could change the answer
  };

  explicit RegexMatcher(const Regex& regex);
  ~RegexMatcher();
  RegexMatcher(const RegexMatcher&) = delete;
  RegexMatcher& operator=(const RegexMatcher&) = delete;

  /// The leftmost match that begins at or after `from` <= text.size(); what stands before `from` is
  /// seen by lookbehinds. `text` must be valid UTF-8 (unchecked), `from` the begin of a character.
  /// Throws ArgumentError, naming pattern and byte, when the search takes more steps or memory than
  /// it is allowed.
  bool Find(std::string_view text, std::size_t from, RegexMatch& match);

  /// Likewise, and tells whether `text` ends too early to know.
  Outcome FindFinal(std::string_view text, std::size_t from, RegexMatch& match);

 private:
  struct State;

  Outcome Search(std::string_view text, std::size_t from, RegexMatch& match, unsigned options);

  const Regex& regex_;
  std::unique_ptr<State> state_;
};

}  // namespace ctx::tokenize
