#include "tokenize/pretokenize/pre_tokenizer.h"

#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/pretokenize/known_patterns.h"

namespace ctx::tokenize {
namespace {

using Behavior = PreTokenizerStep::Behavior;
using Kind = PreTokenizerStep::Kind;
using Pieces = std::vector<std::string>;

PreTokenizerStep Step(Kind kind, Behavior behavior, std::string pattern = "") {
  return {kind, behavior, false, PreTokenizerStep::Flavor::kHuggingFace, std::move(pattern)};
}

Pieces Cut(const PreTokenizer& pre_tokenizer, std::string_view text) {
  Pieces pieces;
  pre_tokenizer.ForEach(text, [&](std::string_view piece) {
    pieces.emplace_back(piece);
    return true;
  });
  return pieces;
}

// The examples of Hugging Face's documentation of SplitDelimiterBehavior.
TEST_CASE("what becomes of the delimiter") {
  const auto cut = [](Behavior behavior) {
    return Cut(PreTokenizer({Step(Kind::kLiteral, behavior, "-")}), "the-final--countdown");
  };
  CHECK(cut(Behavior::kRemoved) == Pieces{"the", "final", "countdown"});
  CHECK(cut(Behavior::kIsolated) == Pieces{"the", "-", "final", "-", "-", "countdown"});
  CHECK(cut(Behavior::kMergedWithPrevious) == Pieces{"the-", "final-", "-", "countdown"});
  CHECK(cut(Behavior::kMergedWithNext) == Pieces{"the", "-final", "-", "-countdown"});
  CHECK(cut(Behavior::kContiguous) == Pieces{"the", "-", "final", "--", "countdown"});
}

TEST_CASE("no step keeps the text whole, and steps follow each other") {
  CHECK(Cut(PreTokenizer(std::vector<PreTokenizerStep>{}), "a b") == Pieces{"a b"});
  CHECK(Cut(PreTokenizer(std::vector<PreTokenizerStep>{}), "").empty());
  const PreTokenizer two(
      {Step(Kind::kPunctuation, Behavior::kIsolated), Step(Kind::kDigits, Behavior::kIsolated)});
  CHECK(Cut(two, "a12,b") == Pieces{"a", "1", "2", ",", "b"});
  CHECK_FALSE(two.pattern());
  CHECK_FALSE(two.removes_text());
}

TEST_CASE("a visitor stops it") {
  const PreTokenizer digits({Step(Kind::kDigits, Behavior::kIsolated)});
  int num_visited = 0;
  digits.ForEach("123", [&](std::string_view) { return ++num_visited < 2; });
  CHECK(num_visited == 2);
}

TEST_CASE("published steps get their scanner, whose steps they are again") {
  for (const KnownSpelling& spelling : KnownSpellings()) {
    const PreTokenizer scanner(spelling.pattern);
    CHECK(scanner.pattern() == spelling.pattern);
    CHECK(PreTokenizer(scanner.steps()).pattern() == spelling.pattern);
    if (spelling.in_tiktoken) CHECK(scanner.tiktoken_pattern());
  }
}

TEST_CASE("a scanner and PCRE2 cut the published patterns alike") {
  const std::string text =
      "It's WE'LL  \n\n 12345 naïve 中文かな ٣ e\u0301 \u00a0x /\r\n// 'ſ  don't\t\t!?\u2028 end  ";
  for (const KnownSpelling& spelling : KnownSpellings()) {
    // A group around it is no spelling that a scanner is known for.
    std::vector<PreTokenizerStep> steps;
    for (const std::string_view regex : spelling.regexes) {
      if (regex.empty()) break;
      steps.push_back(Step(Kind::kRegex, Behavior::kIsolated, "(?:" + std::string(regex) + ")"));
      steps.back().flavor = spelling.in_hugging_face ? PreTokenizerStep::Flavor::kHuggingFace
                                                     : PreTokenizerStep::Flavor::kTiktoken;
    }
    const PreTokenizer regex(steps, /*allow_regex=*/true);
    CHECK_FALSE(regex.pattern());
    CHECK(Cut(regex, text) == Cut(PreTokenizer(spelling.pattern), text));
  }
}

TEST_CASE("what cannot be is refused") {
  CHECK_THROWS_AS(PreTokenizer({Step(Kind::kLiteral, Behavior::kIsolated, "")}), LoadError);
  CHECK_THROWS_WITH_AS(
      PreTokenizer({Step(Kind::kRegex, Behavior::kIsolated, "a+")}),
      "no scanner knows the regular expression 'a+'; pass allow_regex=True to run it with PCRE2",
      LoadError);
}

TEST_CASE("memory may run out anywhere") {
  const std::vector<PreTokenizerStep> steps = {Step(Kind::kRegex, Behavior::kIsolated, "[a-z\\s]+"),
                                               Step(Kind::kDigits, Behavior::kMergedWithNext)};
  Pieces pieces;
  const auto num_failures = testing::FailEveryAllocation(
      [&] {
        const PreTokenizer pre_tokenizer(steps, true);
        pieces = Cut(pre_tokenizer, "ab1 12");
      },
      [&] { REQUIRE(pieces.empty()); });
  CHECK(num_failures > 0);
  CHECK(pieces == Pieces{"ab", "1", " ", "1", "2"});
}

TEST_CASE("final prefixes end where no appended text can matter") {
  const PreTokenizer words({Step(Kind::kRegex, Behavior::kIsolated, " ?\\p{L}+|\\s")}, true);
  CHECK(words.FinalPrefix("one two") == 3);   // the last word may go on
  CHECK(words.FinalPrefix("one two!") == 7);  // what is no match may go on too
  CHECK(words.FinalPrefix("one two ") == 7);  // the blank may lead a word
  const PreTokenizer pairs(
      {Step(Kind::kDigits, Behavior::kIsolated), Step(Kind::kRegex, Behavior::kIsolated, "[a-z]+")},
      true);
  CHECK(pairs.FinalPrefix("a1ab cd") == 4);  // after the digit the second step goes on alone
  const PreTokenizer behind({Step(Kind::kRegex, Behavior::kIsolated, "(?<=a)b")}, true);
  CHECK(behind.FinalPrefix("ab ab c") == 0);
}

TEST_CASE("literals that may still be completed keep the tail open") {
  const PreTokenizer split(
      {Step(Kind::kLiteral, Behavior::kIsolated, "abc"), Step(Kind::kDigits, Behavior::kIsolated)});
  CHECK(split.FinalPrefix("1abc2ab") == 4);
  CHECK(split.FinalPrefix("1abc2xx") == 5);
}

}  // namespace
}  // namespace ctx::tokenize
