// One step of Hugging Face's pre-tokenizers: what a text is split at, and what becomes of that.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenize/definition.h"
#include "tokenize/pretokenize/regex.h"

namespace ctx::tokenize {

/// The delimiters of a text, one after the other, as one kind of step finds them. For one thread at
/// a time.
class Delimiters {
 public:
  virtual ~Delimiters() = default;
  /// Begins with another text, which must outlive the search.
  virtual void Begin(std::string_view text) = 0;
  /// The next one, or nothing. When `final`, also nothing as soon as appended text could change the
  /// answer.
  virtual bool Next(RegexMatch& match, bool final) = 0;
  /// After Next had nothing: whether that was for want of text.
  virtual bool needs_more_text() const noexcept { return false; }
};

/// A step, ready to be used by any number of threads.
class Split {
 public:
  /// Throws LoadError.
  explicit Split(const PreTokenizerStep& step);

  std::unique_ptr<Delimiters> MakeDelimiters() const;

  /// Replaces `pieces` by those of `text` that are not empty. O(text) but for regular expressions.
  void Cut(std::string_view text, Delimiters& delimiters,
           std::vector<std::string_view>& pieces) const;

  /// What is certain about a text that may grow, and would be found alike if the text began at any
  /// certain cut.
  struct Certain {
    std::size_t end;  ///< the pieces up to here can not change
    bool is_open;     ///< the rest is the front of one piece, whatever is appended
  };
  Certain FindCertain(std::string_view text, Delimiters& delimiters) const;

 private:
  PreTokenizerStep step_;
  std::optional<Regex> regex_;
};

}  // namespace ctx::tokenize
