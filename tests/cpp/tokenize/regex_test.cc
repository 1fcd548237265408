#include "tokenize/pretokenize/regex.h"

#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/guarded_text.h"
#include "tokenize/pretokenize/regex_syntax.h"

namespace ctx::tokenize {
namespace {

using Flavor = PreTokenizerStep::Flavor;
using Pieces = std::vector<std::string>;

/// What a pattern matches, one match after the other; text ends at an inaccessible page.
Pieces Matches(std::string_view pattern, std::string_view text,
               Flavor flavor = Flavor::kHuggingFace) {
  const testing::GuardedText guarded(text);
  const Regex regex(pattern, flavor);
  RegexMatcher matcher(regex);
  Pieces pieces;
  RegexMatch match{0, 0};
  while (matcher.Find(guarded.view(), match.end, match)) {
    pieces.emplace_back(text.substr(match.begin, match.end - match.begin));
  }
  return pieces;
}

TEST_CASE("classes are of Unicode 16 and folding is theirs") {
  CHECK(Matches("\\p{Lu}\\p{Ll}+", "Ab Éé aB") == Pieces{"Ab", "Éé"});
  CHECK(Matches("[\\s\\d]+", "a 1\u2003٣b") == Pieces{" 1\u2003٣"});
  CHECK(Matches("(?i)sk", "SK ſ\u212A sK") == Pieces{"SK", "ſ\u212A", "sK"});
  CHECK(Matches("[^a-c]", "abcé") == Pieces{"é"});
  CHECK(Matches("[\\w&&[^a-c]]+", "abxéc1") == Pieces{"xé", "1"});
  CHECK(Matches("[^\\w&&\\D]", "a1") == Pieces{"1"});  // all but (word and no digit)
  CHECK(Matches("\\p{Garay}+", "a\U00010D50") == Pieces{"\U00010D50"});  // new in 16.0
}

TEST_CASE("lines and ends are those of each flavor") {
  CHECK(Matches("^a|a$", "a\na", Flavor::kHuggingFace).size() == 2);
  CHECK(Matches("^a", "a\na", Flavor::kTiktoken).size() == 1);
  CHECK(Matches("a$", "a\na\n", Flavor::kTiktoken).empty());
  CHECK(Matches("a{1,2}+a", "aaa", Flavor::kTiktoken) == Pieces{"aaa"});
  CHECK(Matches("a{1,2}+", "aaa", Flavor::kHuggingFace) == Pieces{"aaa"});
  CHECK(Matches("a{1,2}+", "aaa", Flavor::kTiktoken) == Pieces{"aa", "a"});
}

TEST_CASE("what stands before the search is seen") {
  const Regex regex("(?<=a)b", Flavor::kHuggingFace);
  RegexMatcher matcher(regex);
  RegexMatch match{};
  REQUIRE(matcher.Find("ab", 1, match));
  CHECK(match.begin == 1);
  CHECK(regex.looks_behind());
}

TEST_CASE("an error names the byte and the construct") {
  CHECK_THROWS_WITH_AS(Regex("é(?x)", Flavor::kHuggingFace),
                       "regular expression 'é(?x)': not supported at byte 2: a group of this kind",
                       LoadError);
  CHECK_THROWS_WITH_AS(Regex("\xFF", Flavor::kHuggingFace), "regular expression that is not UTF-8",
                       LoadError);
  const std::string deep(10'000, '(');
  CHECK_THROWS_AS(Regex(deep, Flavor::kHuggingFace), LoadError);
  CHECK_THROWS_AS(Regex(std::string(10'000, '['), Flavor::kHuggingFace), LoadError);
  std::string large;
  while (large.size() < 9'000) large += "\\w{1000}";
  CHECK_THROWS_AS(Regex(large, Flavor::kHuggingFace), LoadError);
  CHECK_THROWS_AS(Regex("((((\\w{1000}){1000}){1000}){1000})", Flavor::kHuggingFace), LoadError);
}

TEST_CASE("whether the end of the text was looked at") {
  using Outcome = RegexMatcher::Outcome;
  const auto outcome = [](std::string_view pattern, std::string_view text) {
    const Regex regex(pattern, Flavor::kHuggingFace);
    RegexMatcher matcher(regex);
    RegexMatch match{};
    return matcher.FindFinal(text, 0, match);
  };
  CHECK(outcome("a+", "aab") == Outcome::kMatch);
  CHECK(outcome("a+", "aa") == Outcome::kNeedsMoreText);
  CHECK(outcome("a", "aa") == Outcome::kMatch);
  CHECK(outcome("a(?!b)", "a") == Outcome::kNeedsMoreText);
  CHECK(outcome("a$", "a") == Outcome::kNeedsMoreText);
  CHECK(outcome("abc", "xxab") == Outcome::kNeedsMoreText);
  CHECK(outcome("abc", "xxx") == Outcome::kNoMatch);
}

TEST_CASE("a search that gives up says so, and the next one is as good as new") {
  const Regex regex("(?:a|b|ab)+[xy]", Flavor::kHuggingFace);
  RegexMatcher matcher(regex);
  RegexMatch match{};
  std::string hostile;
  for (int i = 0; i < 5000; ++i) hostile += "ab";
  CHECK_THROWS_AS(matcher.Find(hostile, 0, match), ArgumentError);
  CHECK(matcher.Find("abx", 0, match));
}

TEST_CASE("deep backtracking takes no stack of the thread") {
  const std::string text(200'000, 'a');
  const Regex regex("(?:a|b)*c|a", Flavor::kHuggingFace);
  RegexMatcher matcher(regex);
  RegexMatch match{};
  REQUIRE(matcher.Find(text, 0, match));
  CHECK(match.end == 1);
}

TEST_CASE("one regular expression in many threads") {
  const Regex regex("\\p{L}+(?!\\S)|\\d", Flavor::kHuggingFace);
  std::vector<std::thread> threads;
  std::vector<int> counts(4);
  for (int& count : counts) {
    threads.emplace_back([&regex, &count] {
      for (int i = 0; i < 500; ++i) {
        RegexMatcher matcher(regex);
        RegexMatch match{0, 0};
        while (matcher.Find("one 2 three4 ", match.end, match)) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : counts) CHECK(count == 3 * 500);
}

}  // namespace
}  // namespace ctx::tokenize
