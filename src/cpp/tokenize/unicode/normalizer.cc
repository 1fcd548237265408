#include "tokenize/unicode/normalizer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/unicode/lowercase.h"
#include "tokenize/unicode/normalization_form.h"
#include "tokenize/unicode/utf8.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

using Kind = NormalizerStep::Kind;
using Position = Normalizer::Position;

CodePoint FirstOf(std::string_view text) noexcept {
  return DecodeUtf8(reinterpret_cast<const unsigned char*>(text.data()));
}

bool IsOneCharacter(std::string_view text) noexcept {
  return !text.empty() && FirstOf(text).size_bytes == text.size();
}

bool IsFormStep(const NormalizerStep& step) noexcept {
  return step.kind == Kind::kNfc || step.kind == Kind::kNfkc;
}

bool IsLongReplace(const NormalizerStep& step) noexcept {
  return step.kind == Kind::kReplace && !IsOneCharacter(step.pattern);
}

NormalizationForm FormOf(const NormalizerStep& step) noexcept {
  return step.kind == Kind::kNfc ? NormalizationForm::kNfc : NormalizationForm::kNfkc;
}

/// Where `pattern` begins in `text` at or after `at`, or npos. Linear, unlike string_view's find.
std::size_t Find(std::string_view text, std::string_view pattern, std::size_t at) noexcept {
  const char* const begin = text.data() + at;
  const void* const found = pattern.size() == 1
                                ? std::memchr(begin, pattern[0], text.size() - at)
                                : memmem(begin, text.size() - at, pattern.data(), pattern.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::size_t Count(std::string_view text, std::string_view pattern) noexcept {
  if (text.size() < pattern.size()) return 0;
  if (pattern.size() == 1) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), pattern[0]));
  }
  std::size_t count = 0;
  for (std::size_t at = Find(text, pattern, 0); at != std::string_view::npos;
       at = Find(text, pattern, at + pattern.size())) {
    ++count;
  }
  return count;
}

void Replace(std::string_view pattern, std::string_view content, TextEdit& edit) {
  const std::string_view text = edit.source();
  const std::size_t count = Count(text, pattern);
  if (count == 0) return;
  edit.Reserve(text.size() - count * pattern.size() + count * content.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    at = Find(text, pattern, at);
    edit.Replace(at, at + pattern.size(), content);
    at += pattern.size();
  }
}

void Prepend(std::string_view content, TextEdit& edit) {
  if (edit.source().empty() || content.empty()) return;
  edit.Reserve(content.size() + edit.source().size());
  edit.Replace(0, 0, content);
}

void RunStep(const NormalizerStep& step, Position position, TextEdit& edit) {
  const bool is_start = position != Position::kMiddle;
  const auto is_there = [&] { return edit.source().starts_with(step.content); };
  switch (step.kind) {
    case Kind::kNfc:
    case Kind::kNfkc:
      return Normalize(FormOf(step), edit);
    case Kind::kLowercase:
      return Lowercase(edit);
    case Kind::kReplace:
      return Replace(step.pattern, step.content, edit);
    case Kind::kPrepend:
      if (is_start) Prepend(step.content, edit);
      return;
    case Kind::kPrependUnless:
      if (is_start && !is_there()) Prepend(step.content, edit);
      return;
    case Kind::kPrependFirst:
      if (position == Position::kInputStart && !is_there()) Prepend(step.content, edit);
      return;
  }
}

}  // namespace

Normalizer::Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {
  bool had_form = false;
  bool had_form_then_change = false;
  bool may_erase = false;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const NormalizerStep& step = steps_[i];
    if (step.kind == Kind::kReplace && step.pattern.empty()) {
      throw LoadError(StrCat("normalizer step ", i, ": the pattern is empty"));
    }
    for (const std::string& text : {std::cref(step.pattern), std::cref(step.content)}) {
      if (ValidUtf8Prefix(text) != text.size()) {
        throw LoadError(StrCat("normalizer step ", i, ": a string is not valid UTF-8"));
      }
    }
    switch (step.kind) {
      case Kind::kNfc:
      case Kind::kNfkc:
        if (had_form_then_change) promises_middle_ = false;
        had_form = true;
        looking_end_ = i + 1;
        break;
      case Kind::kReplace:
        may_erase |= step.content.empty();
        if (IsLongReplace(step)) {
          if (had_form) promises_middle_ = false;
          looking_end_ = i + 1;
          break;
        }
        had_form_then_change |= had_form;
        break;
      case Kind::kLowercase:
        had_form_then_change |= had_form;
        break;
      case Kind::kPrepend:
        if (may_erase) promises_start_ = false;
        break;
      case Kind::kPrependUnless:
      case Kind::kPrependFirst:
        if (may_erase || !IsOneCharacter(step.content)) promises_start_ = false;
        break;
    }
  }
  promises_start_ &= promises_middle_;
}

bool Normalizer::IsForm() const noexcept {
  return steps_.size() == 1 && IsFormStep(steps_.front());
}

bool Normalizer::Prepends() const noexcept {
  return std::any_of(steps_.begin(), steps_.end(), [](const NormalizerStep& step) {
    return step.kind == Kind::kPrepend || step.kind == Kind::kPrependUnless ||
           step.kind == Kind::kPrependFirst;
  });
}

std::string_view Normalizer::Apply(std::string_view text, Position position,
                                   std::string& buffer) const {
  return Run(text, position, buffer, nullptr);
}

std::string_view Normalizer::Apply(std::string_view text, Position position, std::string& buffer,
                                   std::vector<SourceRange>& sources) const {
  sources.clear();
  return Run(text, position, buffer, &sources);
}

std::string_view Normalizer::Run(std::string_view text, Position position, std::string& buffer,
                                 std::vector<SourceRange>* sources) const {
  std::string spare;
  std::vector<SourceRange> parts;
  std::string* output = &buffer;  // the one of the two strings that does not hold the text
  for (const NormalizerStep& step : steps_) {
    TextEdit edit(text, *output, sources == nullptr ? nullptr : &parts);
    RunStep(step, position, edit);
    if (!edit.Finish()) continue;
    text = *output;
    output = output == &buffer ? &spare : &buffer;
    if (sources == nullptr) continue;
    if (sources->empty()) {
      sources->swap(parts);
    } else {
      *sources = ComposeSources(*sources, parts);
    }
  }
  if (text.data() != spare.data()) return text;
  buffer.swap(spare);
  return buffer;
}

bool Normalizer::MayCutBefore(char32_t c) const noexcept {
  // Follows c, which begins the right part, to the last step that looks at what stands before it.
  for (std::size_t i = 0; i < looking_end_; ++i) {
    const NormalizerStep& step = steps_[i];
    const bool is_last = i + 1 == looking_end_;
    if (IsFormStep(step)) {
      // What c becomes begins a segment of the next form as well: both have the same decomposition.
      if (!BeginsSegment(FormOf(step), c)) return false;
    } else if (step.kind == Kind::kLowercase) {
      c = FirstOfLowercase(c);
    } else if (step.kind == Kind::kReplace) {
      char spelled[4];
      const std::string_view character(spelled, EncodeUtf8(c, spelled));
      if (!IsLongReplace(step)) {
        if (step.pattern != character) continue;
        if (step.content.empty()) return false;
        c = FirstOf(step.content).value;
      } else {
        const std::size_t place = step.pattern.rfind(character);
        if (place != std::string::npos && (place > 0 || !is_last)) return false;
      }
    }
  }
  return true;
}

bool Normalizer::IsStableCut(std::string_view text, std::size_t at) const noexcept {
  return looking_end_ == 0 || MayCutBefore(FirstOf(text.substr(at)).value);
}

std::size_t Normalizer::StablePrefix(std::string_view text, Position position,
                                     std::size_t from) const noexcept {
  if (!Promises(position)) return 0;
  if (looking_end_ == 0) return text.size();
  for (std::size_t at = text.size(); at > from;) {
    at = FloorCharacter(text, at - 1);
    if (IsStableCut(text, at)) return at;
  }
  return 0;
}

}  // namespace ctx::tokenize
