#include "tokenize/unicode/normalizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/unicode/normalization_form.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

using Kind = NormalizerStep::Kind;
using Position = Normalizer::Position;

std::string Normalized(const Normalizer& normalizer, std::string_view text,
                       Position position = Position::kMiddle) {
  std::string buffer;
  return std::string(normalizer.Apply(text, position, buffer));
}

Normalizer Of(Kind kind) { return Normalizer({{kind, "", ""}}); }

std::string Repeated(std::string_view text, std::size_t times) {
  std::string repeated;
  for (std::size_t i = 0; i < times; ++i) repeated += text;
  return repeated;
}

// The examples are those of UAX #15, figures 3 to 6 and table 1.
TEST_CASE("forms of the annex's examples") {
  const Normalizer nfc = Of(Kind::kNfc);
  const Normalizer nfkc = Of(Kind::kNfkc);
  CHECK(Normalized(nfc, "\u212B") == "\u00C5");
  CHECK(Normalized(nfc, "\u2126") == "\u03A9");
  CHECK(Normalized(nfc, "s\u0323\u0307") == "\u1E69");
  CHECK(Normalized(nfc, "s\u0307\u0323") == "\u1E69");
  CHECK(Normalized(nfc, "\u1E0B\u0323") == "\u1E0D\u0307");
  CHECK(Normalized(nfc, "q\u0307\u0323") == "q\u0323\u0307");
  CHECK(Normalized(nfc, "\uFB01") == "\uFB01");
  CHECK(Normalized(nfkc, "\uFB01") == "fi");
  CHECK(Normalized(nfc, "2\u2075") == "2\u2075");
  CHECK(Normalized(nfkc, "2\u2075") == "25");
  CHECK(Normalized(nfc, "\u1E9B\u0323") == "\u1E9B\u0323");
  CHECK(Normalized(nfkc, "\u1E9B\u0323") == "\u1E69");
  CHECK(Normalized(nfc, "\u1100\u1161\u11A8") == "\uAC01");
  CHECK(Normalized(nfc, "\uAC00\u11A8") == "\uAC01");
  CHECK(Normalized(nfc, "\u0958") == "\u0915\u093C");  // excluded from composition
  CHECK(Normalized(nfc, "\U0001D15E") == "\U0001D157\U0001D165");
  CHECK(Normalized(nfkc, "\uFDFA").size() == 33);
}

TEST_CASE("lowercase is that of each character") {
  const Normalizer lowercase = Of(Kind::kLowercase);
  CHECK(Normalized(lowercase, "The QUICK brown [FOX]@`Z{") == "the quick brown [fox]@`z{");
  CHECK(Normalized(lowercase, "ΟΔΟΣ") == "οδοσ");  // no final sigma
  CHECK(Normalized(lowercase, "\u0130I") == "i\u0307i");
  CHECK(Normalized(lowercase, "ẞ\u2160Ⓐ\U00010400") == "ß\u2170ⓐ\U00010428");
  for (int c = 0; c < 128; ++c) {
    for (std::size_t place = 0; place < 17; ++place) {
      std::string text(17, 'q');
      text[place] = static_cast<char>(c);
      std::string expected = text;
      if (c >= 'A' && c <= 'Z') expected[place] = static_cast<char>(c + 32);
      REQUIRE(Normalized(lowercase, text) == expected);
    }
  }
}

TEST_CASE("what does not change is returned itself") {
  std::string buffer;
  std::vector<SourceRange> sources{{1, 0, 1, true}};
  for (const std::string_view text :
       {"", "plain", "na\u00EFve 中文 한국어 \u0301", "q\u0323\u0307 q\u0301"}) {
    for (const Kind kind : {Kind::kNfc, Kind::kNfkc, Kind::kLowercase}) {
      const std::string_view result = Of(kind).Apply(text, Position::kInputStart, buffer, sources);
      CHECK(result.data() == text.data());
      CHECK(result.size() == text.size());
      CHECK(sources.empty());
    }
    const Normalizer replace({{Kind::kReplace, "zz", "y"}, {Kind::kPrepend, "", ""}});
    CHECK(replace.Apply(text, Position::kInputStart, buffer).data() == text.data());
    CHECK(replace.Apply({}, Position::kInputStart, buffer).empty());
    CHECK(Normalizer().Apply(text, Position::kInputStart, buffer).data() == text.data());
  }
}

TEST_CASE("prepending depends on what stands before") {
  const Normalizer always({{Kind::kPrepend, "", "_"}});
  const Normalizer unless({{Kind::kPrependUnless, "", "_"}});
  const Normalizer first({{Kind::kPrependFirst, "", "_"}});
  CHECK(Normalized(always, "_a", Position::kInputStart) == "__a");
  CHECK(Normalized(always, "_a", Position::kSectionStart) == "__a");
  CHECK(Normalized(always, "a", Position::kMiddle) == "a");
  CHECK(Normalized(always, "", Position::kInputStart) == "");
  CHECK(Normalized(unless, "_a", Position::kInputStart) == "_a");
  CHECK(Normalized(unless, "a", Position::kInputStart) == "_a");
  CHECK(Normalized(unless, "a", Position::kSectionStart) == "_a");
  CHECK(Normalized(unless, "a", Position::kMiddle) == "a");
  CHECK(Normalized(first, "_a", Position::kInputStart) == "_a");
  CHECK(Normalized(first, "a", Position::kInputStart) == "_a");
  CHECK(Normalized(first, "a", Position::kSectionStart) == "a");
}

TEST_CASE("bad steps are refused with their place") {
  const NormalizerStep fine{Kind::kNfc, "", ""};
  CHECK_THROWS_WITH_AS(Normalizer({fine, {Kind::kReplace, "", "x"}}),
                       "normalizer step 1: the pattern is empty", LoadError);
  CHECK_THROWS_WITH_AS(Normalizer({{Kind::kReplace, "\xC3", "x"}}),
                       "normalizer step 0: a string is not valid UTF-8", LoadError);
  CHECK_THROWS_AS(Normalizer({{Kind::kPrepend, "", "\xED\xA0\x80"}}), LoadError);
}

TEST_CASE("sources lead back through all steps") {
  // "ﬁ" (3 bytes) becomes "fi", of which "f" becomes "ph"; the accented letter stays one unit.
  const Normalizer normalizer({{Kind::kNfkc, "", ""},
                               {Kind::kReplace, "f", "ph"},
                               {Kind::kPrepend, "", ">>"},
                               {Kind::kLowercase, "", ""}});
  std::string buffer;
  std::vector<SourceRange> sources;
  const std::string_view text = "AB\uFB01xe\u0301C";
  REQUIRE(normalizer.Apply(text, Position::kInputStart, buffer, sources) == ">>abphixéc");
  const std::vector<SourceRange> expected{
      {2, 0, 0, false},   // >>
      {4, 0, 2, true},    // AB
      {6, 2, 5, false},   // ph
      {7, 2, 5, false},   // i
      {8, 5, 6, true},    // x
      {10, 6, 9, false},  // é
      {11, 9, 10, true},  // C
  };
  CHECK(sources == expected);
  using Range = std::pair<std::size_t, std::size_t>;
  CHECK(SourceOf(sources, 0, 2) == Range(0, 0));
  CHECK(SourceOf(sources, 0, 3) == Range(0, 1));
  CHECK(SourceOf(sources, 3, 4) == Range(1, 2));
  CHECK(SourceOf(sources, 3, 5) == Range(1, 5));
  CHECK(SourceOf(sources, 6, 8) == Range(2, 6));
  CHECK(SourceOf(sources, 9, 10) == Range(6, 9));
  CHECK(SourceOf(sources, 0, 11) == Range(0, 10));
}

TEST_CASE("marks in a long row are sorted, equals as they were") {
  // Classes 230, 220, 1, 9, 240 and 230 again; the two of 230 must not change places.
  const std::array<std::string_view, 6> marks{"\u0301", "\u0323", "\u0334",
                                              "\u094D", "\u0345", "\u0302"};
  const std::array<std::size_t, 4> ordered{2, 3, 1, 0};  // before the two of 230; 240 is last
  for (const std::size_t times : {1, 5, 6, 7, 1000, 20000}) {
    std::string text = "x";
    for (std::size_t i = 0; i < times; ++i) {
      for (const std::string_view mark : marks) text += mark;
    }
    std::string expected = "x";
    for (const std::size_t i : {ordered[0], ordered[1], ordered[2]}) {
      expected += Repeated(marks[i], times);
    }
    expected += Repeated("\u0301\u0302", times);
    expected += Repeated("\u0345", times);
    REQUIRE(Normalized(Of(Kind::kNfc), text) == expected);
  }
}

TEST_CASE("a segment ends where nothing that follows can change it") {
  const auto stable = [](Kind kind, std::string_view text) {
    return Of(kind).StablePrefix(text, Position::kInputStart);
  };
  CHECK(stable(Kind::kNfc, "") == 0);
  CHECK(stable(Kind::kNfc, "a") == 0);
  CHECK(stable(Kind::kNfc, "ab") == 1);
  CHECK(stable(Kind::kNfc, "abe\u0301") == 2);
  CHECK(stable(Kind::kNfc, "ab\uAC00") == 2);
  CHECK(stable(Kind::kNfc, "ab\u1100\u1161") == 2);
  CHECK(stable(Kind::kNfc, "a\uFF76\uFF9E") == 4);   // halfwidth marks are letters to NFC,
  CHECK(stable(Kind::kNfkc, "a\uFF76\uFF9E") == 1);  // and compose with NFKC
  CHECK(stable(Kind::kNfc, "\u0301\u0302") == 0);
  CHECK(stable(Kind::kLowercase, "A\u0301") == 3);
  CHECK(Normalizer().StablePrefix("any", Position::kInputStart) == 3);
  const Normalizer llama({{Kind::kPrepend, "", "▁"}, {Kind::kReplace, " ", "▁"}});
  CHECK(llama.StablePrefix("a b ", Position::kInputStart) == 4);
  const Normalizer doubled({{Kind::kReplace, "ab", "x"}});
  CHECK(doubled.StablePrefix("xaa", Position::kInputStart) == 2);
  CHECK(doubled.StablePrefix("xab", Position::kInputStart) == 1);
  // Whether to prepend may depend on what is erased, or on more than what is there.
  const Normalizer erasing({{Kind::kReplace, "a", ""}, {Kind::kPrepend, "", "_"}});
  CHECK(erasing.StablePrefix("ba", Position::kInputStart) == 0);
  CHECK(erasing.StablePrefix("ba", Position::kMiddle) == 2);
  const Normalizer longer({{Kind::kPrependUnless, "", "xy"}});
  CHECK(longer.StablePrefix("x", Position::kSectionStart) == 0);
}

TEST_CASE("every code point: in a form, the form of it again is itself") {
  for (const Kind kind : {Kind::kNfc, Kind::kNfkc}) {
    const Normalizer normalizer = Of(kind);
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      char bytes[4];
      const std::string text(bytes, EncodeUtf8(c, bytes));
      const std::string once = Normalized(normalizer, text);
      REQUIRE(Normalized(normalizer, once) == once);
      REQUIRE(Normalized(normalizer, "a" + text + "b").ends_with("b"));
    }
  }
}

TEST_CASE("a failed allocation is reported and leaves the normalizer whole") {
  const std::string text =
      Repeated("\u1E0B\u0323 FOX \uFB01 ", 40) + "a" + Repeated("\u0301\u0323", 40);
  std::vector<NormalizerStep> steps{{Kind::kNfkc, "", ""},
                                    {Kind::kLowercase, "", ""},
                                    {Kind::kReplace, " ", "a rather long replacement"},
                                    {Kind::kPrepend, "", "▁"}};
  const Normalizer normalizer(steps);
  const std::string expected = Normalized(normalizer, text, Position::kInputStart);
  const auto check = [&] {
    REQUIRE(Normalized(normalizer, text, Position::kInputStart) == expected);
  };
  std::string result;
  const auto num_failed = testing::FailEveryAllocation(
      [&] {
        std::string buffer;
        std::vector<SourceRange> sources;
        result = normalizer.Apply(text, Position::kInputStart, buffer, sources);
      },
      check);
  CHECK(num_failed > 10);
  CHECK(result == expected);
  const auto num_failed_making =
      testing::FailEveryAllocation([&] { const Normalizer another(steps); }, check);
  CHECK(num_failed_making > 0);
}

}  // namespace
}  // namespace ctx::tokenize
