#include "tokenize/pretokenize/first_pre_token.h"

#include <array>
#include <random>
#include <string>
#include <string_view>

#include "doctest/doctest.h"
#include "support/alloc_failure.h"

namespace ctx::tokenize {
namespace {

constexpr std::array kAllPatterns = {Pattern::kR50k,   Pattern::kCl100k,  Pattern::kO200k,
                                     Pattern::kQwen2,  Pattern::kLlama3,  Pattern::kQwen35,
                                     Pattern::kTekken, Pattern::kDeepSeek};

/// Runs are of characters of one kind; what follows may be of another.
constexpr std::array<std::array<const char*, 6>, 10> kKinds = {{
    {"a", "b", "c", "x", "\u00e9", "z"},
    {"a", "B", "\u01c5", "\u4e2d", "\u0301", "C"},
    {" ", "\t", "\u00a0", "\u3000", " ", " "},
    {" ", "\n", "\r", "\u2003", "\t", " "},
    {"!", "-", "=", "/", "\u2014", "+"},
    {"!", "\n", "/", "\r", "\n", "\n"},
    {"\u4e2d", "\u6587", "\u30a2", "\u30fc", "\u4e00", "\u3042"},
    {"\u0301", "\u0323", "e", "\u0327", "\u0301", "\u0301"},
    {"1", "\u0663", "\u00bd", "2", "3", "4"},
    {"'", "s", "l", "S", "'", "\u017f"},
}};

std::string Some(std::mt19937& random, std::size_t kind, std::size_t max_characters) {
  std::string text;
  for (std::size_t i = random() % (max_characters + 1); i > 0; --i) {
    text += kKinds[kind][random() % kKinds[kind].size()];
  }
  return text;
}

std::size_t End(Pattern pattern, std::string_view text, std::size_t begin) {
  return WithPattern(pattern, [&](auto constant) { return NextPreToken<constant()>(text, begin); });
}

TEST_CASE("the first pre-token of a text that grows and shrinks ends where scanning says") {
  std::mt19937 random(7);
  for (const Pattern pattern : kAllPatterns) {
    for (int round = 0; round < 600; ++round) {
      const std::size_t kind = random() % kKinds.size();
      FirstPreToken first(pattern);
      std::string text = Some(random, random() % kKinds.size(), 2) + Some(random, kind, 300) + "a";
      for (int step = 0; step < 12; ++step) {
        const std::size_t next = random() % 4 == 0 ? random() % kKinds.size() : kind;
        text += Some(random, next, 40);
        if (random() % 8 == 0) text.resize(FloorCharacter(text, 1 + random() % text.size()));
        if (text.empty()) text = "b";
        const std::string tail = Some(random, random() % 2 == 0 ? kind : next, 3);
        CAPTURE(text);
        CAPTURE(tail);
        const std::size_t final_end = EndOfFirstPreToken(pattern, text, /*is_final=*/true);
        REQUIRE(first.FinalEnd(text) == final_end);
        REQUIRE(first.End(text) == EndOfFirstPreToken(pattern, text, /*is_final=*/false));
        REQUIRE(first.End(text, tail) == EndOfFirstPreToken(pattern, text + tail, false));
        if (final_end != 0) {
          text.erase(0, final_end);
          first.Forget();
        }
      }
    }
  }
}

TEST_CASE("where a pre-token is said to end like the next one, it does") {
  std::mt19937 random(8);
  int num_alike = 0;
  for (const Pattern pattern : kAllPatterns) {
    for (int round = 0; round < 3000; ++round) {
      const std::size_t kind = random() % 2 == 0 ? random() % 4 : random() % kKinds.size();
      std::string text = Some(random, kind, 12) + Some(random, random() % kKinds.size(), 3);
      text += Some(random, kind, 3);
      if (text.size() < 2) continue;
      const std::size_t next = CeilCharacter(text, 1);
      if (next == text.size()) continue;
      const std::size_t end = End(pattern, text, next);
      if (!EndsLikeTheNext(pattern, text, 0, end)) continue;
      ++num_alike;
      CAPTURE(text);
      REQUIRE(End(pattern, text, 0) == end);
    }
  }
  CHECK(num_alike > 5000);
}

TEST_CASE("when memory runs out, the next call says what it would have said") {
  const std::string text = std::string(5000, ' ') + "\n" + std::string(100, ' ');
  FirstPreToken first(Pattern::kQwen2);
  std::size_t final_end = 1;
  const auto num_failures = ctx::testing::FailEveryAllocation(
      [&] { final_end = first.FinalEnd(text); }, [&] { CHECK(first.End("  ") == 2); });
  CHECK(num_failures > 0);
  CHECK(final_end == 0);
  // What is up to the last newline is one pre-token, and so is the white space behind it.
  CHECK(first.End(text) == 5001);
  CHECK(first.End(text, "  x") == 5001);
  CHECK(first.End(text, " \n") == text.size() + 2);
}

}  // namespace
}  // namespace ctx::tokenize
