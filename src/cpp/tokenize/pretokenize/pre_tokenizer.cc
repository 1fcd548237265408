#include "tokenize/pretokenize/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/known_patterns.h"
#include "tokenize/pretokenize/regex_syntax.h"
#include "tokenize/pretokenize/split.h"

namespace ctx::tokenize {
namespace {

using DelimitersOfSteps = std::vector<std::unique_ptr<Delimiters>>;

DelimitersOfSteps MakeAll(const std::vector<Split>& splits) {
  DelimitersOfSteps all;
  all.reserve(splits.size());
  for (const Split& split : splits) all.push_back(split.MakeDelimiters());
  return all;
}

}  // namespace

struct PreTokenizer::Compiled {
  std::vector<Split> splits;

  /// Visits the pieces of `text` by the steps from `first` on; false when visit says to stop.
  bool Visit(std::string_view text, std::size_t first, const DelimitersOfSteps& delimiters,
             const std::function<bool(std::string_view)>& visit) const {
    if (first == splits.size()) return visit(text);
    std::vector<std::string_view> pieces;
    splits[first].Cut(text, *delimiters[first], pieces);
    return std::ranges::all_of(
        pieces, [&](std::string_view piece) { return Visit(piece, first + 1, delimiters, visit); });
  }
};

PreTokenizer::PreTokenizer(Pattern pattern)
    : pattern_(pattern), block_scanner_(BlockScannerFor(pattern, BestIsa())) {
  const auto spellings = KnownSpellings();
  const auto spelling = std::ranges::find(spellings, pattern, &KnownSpelling::pattern);
  for (const std::string_view regex : spelling->regexes) {
    if (regex.empty()) break;
    PreTokenizerStep& step = steps_.emplace_back();
    step.flavor = spelling->in_tiktoken ? PreTokenizerStep::Flavor::kTiktoken
                                        : PreTokenizerStep::Flavor::kHuggingFace;
    step.pattern = regex;
  }
}

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps, bool allow_regex)
    : pattern_(KnownPattern(steps)), steps_(std::move(steps)) {
  if (pattern_) {
    block_scanner_ = BlockScannerFor(*pattern_, BestIsa());
    return;
  }
  auto compiled = std::make_shared<Compiled>();
  for (const PreTokenizerStep& step : steps_) {
    if (step.kind == PreTokenizerStep::Kind::kRegex && !allow_regex) {
      throw LoadError(StrCat("no scanner knows the regular expression ",
                             QuotedPattern(step.pattern),
                             "; pass allow_regex=True to run it with PCRE2"));
    }
    compiled->splits.emplace_back(step);
  }
  compiled_ = std::move(compiled);
}

std::optional<std::string_view> PreTokenizer::tiktoken_pattern() const noexcept {
  if (steps_.size() == 1 && steps_[0].kind == PreTokenizerStep::Kind::kRegex &&
      steps_[0].flavor == PreTokenizerStep::Flavor::kTiktoken && (pattern_ || removes_text())) {
    return steps_[0].pattern;
  }
  for (const KnownSpelling& spelling : KnownSpellings()) {
    if (pattern_ == spelling.pattern && spelling.in_tiktoken) return spelling.regexes[0];
  }
  return std::nullopt;
}

bool PreTokenizer::removes_text() const noexcept {
  return !pattern_ && std::ranges::any_of(steps_, [](const PreTokenizerStep& step) {
    return step.behavior == PreTokenizerStep::Behavior::kRemoved;
  });
}

void PreTokenizer::ForEachOfSteps(std::string_view text,
                                  const std::function<bool(std::string_view)>& visit) const {
  if (!text.empty()) compiled_->Visit(text, 0, MakeAll(compiled_->splits), visit);
}

std::size_t PreTokenizer::FinalPrefix(std::string_view text) const {
  if (pattern_) return ctx::tokenize::FinalPrefix(*pattern_, text);
  // While the rest of the text is sure to stay in one piece, the next step may know more of it.
  std::size_t end = 0;
  for (const Split& split : compiled_->splits) {
    const auto [certain, is_open] = split.FindCertain(text.substr(end), *split.MakeDelimiters());
    end += certain;
    if (!is_open) break;
  }
  return end;
}

}  // namespace ctx::tokenize
