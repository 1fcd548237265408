#include "tokenize/pretokenize/split.h"

#include <algorithm>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/step_characters.h"
#include "tokenize/unicode/code_point_set.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

using Behavior = PreTokenizerStep::Behavior;
using Kind = PreTokenizerStep::Kind;

/// Matches of a regular expression as Rust's find_iter has them: an empty match right after a match
/// is none, and the search goes on a character further.
class RegexDelimiters final : public Delimiters {
 public:
  explicit RegexDelimiters(const Regex& regex) : matcher_(regex) {}
  void Begin(std::string_view text) override {
    text_ = text;
    at_ = 0;
    last_end_.reset();
    needs_more_text_ = false;
  }
  bool Next(RegexMatch& match, bool final) override {
    while (at_ <= text_.size()) {
      if (final) {
        const RegexMatcher::Outcome outcome = matcher_.FindFinal(text_, at_, match);
        needs_more_text_ = outcome == RegexMatcher::Outcome::kNeedsMoreText;
        if (outcome != RegexMatcher::Outcome::kMatch) return false;
      } else if (!matcher_.Find(text_, at_, match)) {
        return false;
      }
      if (match.begin != match.end || match.end != last_end_) {
        at_ = match.end;
        last_end_ = match.end;
        return true;
      }
      if (at_ == text_.size()) return false;
      at_ += DecodeUtf8(reinterpret_cast<const unsigned char*>(text_.data()) + at_).size_bytes;
    }
    return false;
  }
  bool needs_more_text() const noexcept override { return needs_more_text_; }

 private:
  RegexMatcher matcher_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::optional<std::size_t> last_end_;
  bool needs_more_text_ = false;
};

class LiteralDelimiters final : public Delimiters {
 public:
  explicit LiteralDelimiters(std::string_view literal) : literal_(literal) {}
  void Begin(std::string_view text) override {
    text_ = text;
    at_ = 0;
  }
  bool Next(RegexMatch& match, bool final) override {
    const std::size_t found = text_.find(literal_, at_);
    if (found == std::string_view::npos) {
      needs_more_text_ = final && EndsWithFrontOfLiteral();
      return false;
    }
    at_ = found + literal_.size();
    match = {found, at_};
    return true;
  }
  bool needs_more_text() const noexcept override { return needs_more_text_; }

 private:
  bool EndsWithFrontOfLiteral() const noexcept {
    const std::string_view rest = text_.substr(at_);
    for (std::size_t size = std::min(rest.size(), literal_.size() - 1); size > 0; --size) {
      if (rest.ends_with(literal_.substr(0, size))) return true;
    }
    return false;
  }

  std::string_view literal_;
  std::string_view text_;
  std::size_t at_ = 0;
  bool needs_more_text_ = false;
};

/// Single characters of a set.
class CharacterDelimiters final : public Delimiters {
 public:
  explicit CharacterDelimiters(const CodePointSet& set) : set_(set) {}
  void Begin(std::string_view text) override {
    text_ = text;
    at_ = 0;
  }
  bool Next(RegexMatch& match, bool /*final*/) override {
    while (at_ < text_.size()) {
      const std::size_t begin = at_;
      const CodePoint c = DecodeUtf8(reinterpret_cast<const unsigned char*>(text_.data()) + begin);
      at_ += c.size_bytes;
      if (!set_.Contains(c.value)) continue;
      match = {begin, at_};
      return true;
    }
    return false;
  }

 private:
  const CodePointSet& set_;
  std::string_view text_;
  std::size_t at_ = 0;
};

/// A part of the text, and whether the step splits at it.
struct Part {
  std::size_t begin;
  std::size_t end;
  bool is_delimiter;
};

/// Hugging Face's SplitDelimiterBehavior over the parts in order, in place.
void Merge(Behavior behavior, std::vector<Part>& parts) {
  if (behavior == Behavior::kIsolated) return;
  if (behavior == Behavior::kRemoved) {
    std::erase_if(parts, [](const Part& part) { return part.is_delimiter; });
    return;
  }
  const bool backwards = behavior == Behavior::kMergedWithNext;
  if (backwards) std::ranges::reverse(parts);
  std::size_t size = 0;
  bool last_is_delimiter = false;
  for (const Part part : parts) {
    // A delimiter joins its neighbour if that is none; in a run of delimiters the first does.
    const bool joins = behavior == Behavior::kContiguous
                           ? size > 0 && part.is_delimiter == last_is_delimiter
                           : size > 0 && part.is_delimiter && !last_is_delimiter;
    last_is_delimiter = part.is_delimiter;
    if (!joins) {
      parts[size++] = part;
    } else if (backwards) {
      parts[size - 1].begin = part.begin;
    } else {
      parts[size - 1].end = part.end;
    }
  }
  parts.resize(size);
  if (backwards) std::ranges::reverse(parts);
}

}  // namespace

Split::Split(const PreTokenizerStep& step) : step_(step) {
  if (step.kind == Kind::kRegex) regex_.emplace(step.pattern, step.flavor);
  if (step.kind == Kind::kLiteral && step.pattern.empty()) {
    throw LoadError("pre-tokenizer that splits at the empty string");
  }
}

std::unique_ptr<Delimiters> Split::MakeDelimiters() const {
  switch (step_.kind) {
    case Kind::kRegex:
      return std::make_unique<RegexDelimiters>(*regex_);
    case Kind::kLiteral:
      return std::make_unique<LiteralDelimiters>(step_.pattern);
    case Kind::kDigits:
      return std::make_unique<CharacterDelimiters>(DigitCharacters());
    case Kind::kPunctuation:
      break;
  }
  return std::make_unique<CharacterDelimiters>(PunctuationCharacters());
}

void Split::Cut(std::string_view text, Delimiters& delimiters,
                std::vector<std::string_view>& pieces) const {
  std::vector<Part> parts;
  std::size_t done = 0;
  RegexMatch match;
  delimiters.Begin(text);
  while (delimiters.Next(match, false)) {
    if (match.begin > done) parts.push_back({done, match.begin, step_.invert});
    parts.push_back({match.begin, match.end, !step_.invert});
    done = match.end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), step_.invert});
  Merge(step_.behavior, parts);
  pieces.clear();
  for (const Part& part : parts) {
    if (part.end > part.begin) pieces.push_back(text.substr(part.begin, part.end - part.begin));
  }
}

Split::Certain Split::FindCertain(std::string_view text, Delimiters& delimiters) const {
  if (text.empty()) return {0, false};
  if (regex_ && (regex_->can_match_empty() || regex_->looks_behind())) return {0, false};
  RegexMatch match;
  std::size_t after = 0;  // the last match
  std::size_t last = 0;   // its begin
  std::size_t run = 0;    // where the run of matches side by side begins that it ends
  delimiters.Begin(text);
  while (delimiters.Next(match, true)) {
    if (match.begin != after) run = match.begin;
    last = match.begin;
    after = match.end;
  }
  // What the text after the last match is the front of: a gap, if there is any of it.
  const bool gap_is_open = after < text.size() && !delimiters.needs_more_text();
  const bool merges_forward =
      step_.behavior == (step_.invert ? Behavior::kMergedWithPrevious : Behavior::kMergedWithNext);
  // The gap is then in one piece with a match, within which the search must not begin anew.
  if (merges_forward) return {last, false};
  if (step_.behavior == Behavior::kContiguous && !gap_is_open) return {run, false};
  const bool gap_is_dropped = step_.behavior == Behavior::kRemoved && step_.invert;
  return {after, gap_is_open && !gap_is_dropped};
}

}  // namespace ctx::tokenize
