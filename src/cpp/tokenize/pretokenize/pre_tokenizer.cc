#include "tokenize/pretokenize/pre_tokenizer.h"

#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {

PreTokenizer::PreTokenizer(Pattern pattern) : pattern_(pattern) {
  for (const KnownSpelling& spelling : KnownSpellings()) {
    if (spelling.pattern != pattern || !steps_.empty()) continue;
    for (const std::string_view regex : spelling.regexes) {
      if (regex.empty()) break;
      PreTokenizerStep step;
      step.flavor = spelling.in_tiktoken ? PreTokenizerStep::Flavor::kTiktoken
                                         : PreTokenizerStep::Flavor::kHuggingFace;
      step.pattern = regex;
      steps_.push_back(std::move(step));
    }
  }
}

PreTokenizer::PreTokenizer(std::vector<PreTokenizerStep> steps)
    : pattern_(KnownPattern(steps)), steps_(std::move(steps)) {
  if (!pattern_ && !steps_.empty()) {
    throw LoadError(StrCat("pre-tokenizer: no scanner for the pattern ", steps_[0].pattern));
  }
}

std::optional<std::string_view> PreTokenizer::tiktoken_pattern() const noexcept {
  if (steps_.size() == 1 && steps_[0].kind == PreTokenizerStep::Kind::kRegex &&
      steps_[0].flavor == PreTokenizerStep::Flavor::kTiktoken) {
    return steps_[0].pattern;
  }
  for (const KnownSpelling& spelling : KnownSpellings()) {
    if (pattern_ == spelling.pattern && spelling.in_tiktoken) return spelling.regexes[0];
  }
  return std::nullopt;
}

}  // namespace ctx::tokenize
