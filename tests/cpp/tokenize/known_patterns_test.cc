#include "tokenize/pretokenize/known_patterns.h"

#include <string>
#include <vector>

#include "doctest/doctest.h"

namespace ctx::tokenize {
namespace {

using Flavor = PreTokenizerStep::Flavor;
using Behavior = PreTokenizerStep::Behavior;
using Steps = std::vector<PreTokenizerStep>;

Steps StepsOf(const KnownSpelling& spelling, Flavor flavor) {
  Steps steps;
  for (const std::string_view regex : spelling.regexes) {
    if (regex.empty()) break;
    steps.push_back(
        {PreTokenizerStep::Kind::kRegex, Behavior::kIsolated, false, flavor, std::string(regex)});
  }
  return steps;
}

TEST_CASE("every spelling is recognised in its flavors alone") {
  for (const KnownSpelling& spelling : KnownSpellings()) {
    CAPTURE(spelling.regexes[0]);
    const auto in_tiktoken = KnownPattern(StepsOf(spelling, Flavor::kTiktoken));
    const auto in_hugging_face = KnownPattern(StepsOf(spelling, Flavor::kHuggingFace));
    CHECK(in_tiktoken == (spelling.in_tiktoken ? std::optional(spelling.pattern) : std::nullopt));
    CHECK(in_hugging_face ==
          (spelling.in_hugging_face ? std::optional(spelling.pattern) : std::nullopt));
  }
}

TEST_CASE("any other step is not") {
  CHECK(KnownPattern({}) == std::nullopt);
  for (const KnownSpelling& spelling : KnownSpellings()) {
    if (!spelling.in_hugging_face) continue;
    const Steps steps = StepsOf(spelling, Flavor::kHuggingFace);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      Steps changed = steps;
      changed[i].pattern += "|";
      CHECK(KnownPattern(changed) == std::nullopt);
      changed = steps;
      changed[i].kind = PreTokenizerStep::Kind::kLiteral;
      CHECK(KnownPattern(changed) == std::nullopt);
      for (const Behavior behavior : {Behavior::kRemoved, Behavior::kMergedWithPrevious,
                                      Behavior::kMergedWithNext, Behavior::kContiguous}) {
        changed = steps;
        changed[i].behavior = behavior;
        CHECK(KnownPattern(changed) == std::nullopt);
      }
    }
    Steps longer = steps;
    longer.push_back(steps.back());
    CHECK(KnownPattern(longer) == std::nullopt);
    if (steps.size() > 1) {
      CHECK(KnownPattern(std::span(steps).first(steps.size() - 1)) == std::nullopt);
    }
  }
}

TEST_CASE("matches kept and the rest dropped is the same where everything is matched") {
  for (const KnownSpelling& spelling : KnownSpellings()) {
    if (!spelling.in_hugging_face) continue;
    Steps steps = StepsOf(spelling, Flavor::kHuggingFace);
    for (PreTokenizerStep& step : steps) {
      step.behavior = Behavior::kRemoved;
      step.invert = true;
    }
    CHECK(KnownPattern(steps) ==
          (steps.size() == 1 ? std::optional(spelling.pattern) : std::nullopt));
  }
}

}  // namespace
}  // namespace ctx::tokenize
