#include "tokenize/pretokenize/scanner.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "doctest/doctest.h"
#include "support/guarded_text.h"

namespace ctx::tokenize {
namespace {

using Pieces = std::vector<std::string>;

constexpr std::array kAllPatterns = {Pattern::kR50k,   Pattern::kCl100k,  Pattern::kO200k,
                                     Pattern::kQwen2,  Pattern::kLlama3,  Pattern::kQwen35,
                                     Pattern::kTekken, Pattern::kDeepSeek};

// The pre-tokens of a text that ends at an inaccessible page.
Pieces Cut(Pattern pattern, std::string_view text) {
  const testing::GuardedText guarded(text);
  Pieces pieces;
  ForEachPreToken(pattern, guarded.view(),
                  [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

std::string Repeat(std::string_view unit, std::size_t times) {
  std::string text;
  text.reserve(unit.size() * times);
  for (std::size_t i = 0; i < times; ++i) text += unit;
  return text;
}

TEST_CASE("plain words") {
  for (const Pattern pattern : kAllPatterns) {
    CHECK(Cut(pattern, "") == Pieces{});
    CHECK(Cut(pattern, "a") == Pieces{"a"});
    CHECK(Cut(pattern, "hello world") == Pieces{"hello", " world"});
    CHECK(Cut(pattern, "Internationalization is long") ==
          Pieces{"Internationalization", " is", " long"});
    CHECK(Cut(pattern, "naïve café Ελλάς") == Pieces{"naïve", " café", " Ελλάς"});
  }
}

TEST_CASE("contractions") {
  CHECK(Cut(Pattern::kR50k, "we've 'd IT'S") == Pieces{"we", "'ve", " '", "d", " IT", "'", "S"});
  CHECK(Cut(Pattern::kCl100k, "we've 'd IT'S") == Pieces{"we", "'ve", " '", "d", " IT", "'S"});
  CHECK(Cut(Pattern::kO200k, "we've 'd IT'S") == Pieces{"we've", " '", "d", " IT'S"});
  // A contraction ends after its own letters, whatever follows.
  CHECK(Cut(Pattern::kR50k, "'sabc") == Pieces{"'s", "abc"});
  CHECK(Cut(Pattern::kCl100k, "'sabc") == Pieces{"'s", "abc"});
  CHECK(Cut(Pattern::kO200k, "'sabc") == Pieces{"'sabc"});  // the apostrophe leads a word
  CHECK(Cut(Pattern::kO200k, "x'sabc") == Pieces{"x's", "abc"});
  // Not contractions: only ll, ve, re have two letters; r, l, v, e alone are none.
  CHECK(Cut(Pattern::kCl100k, "'lx'ra'vv") == Pieces{"'lx", "'ra", "'vv"});
  CHECK(Cut(Pattern::kCl100k, "x'l") == Pieces{"x", "'l"});
  CHECK(Cut(Pattern::kR50k, "x'l") == Pieces{"x", "'", "l"});
  CHECK(Cut(Pattern::kQwen2, "x'") == Pieces{"x", "'"});
  // U+017F, the long s, folds to s; U+212A, the Kelvin sign, folds to k, of which there is none.
  CHECK(Cut(Pattern::kCl100k, "a'\u017Fb") == Pieces{"a", "'\u017F", "b"});
  CHECK(Cut(Pattern::kQwen2, "a'\u017Fb") == Pieces{"a", "'\u017F", "b"});
  CHECK(Cut(Pattern::kO200k, "a'\u017Fb") == Pieces{"a'\u017F", "b"});
  CHECK(Cut(Pattern::kR50k, "a'\u017Fb") == Pieces{"a", "'", "\u017Fb"});
  CHECK(Cut(Pattern::kCl100k, "a'\u212Ab") == Pieces{"a", "'\u212Ab"});
}

TEST_CASE("white space") {
  CHECK(Cut(Pattern::kR50k, "a   b") == Pieces{"a", "  ", " b"});
  CHECK(Cut(Pattern::kR50k, "a\t\tb") == Pieces{"a", "\t", "\t", "b"});
  CHECK(Cut(Pattern::kCl100k, "a\t\tb") == Pieces{"a", "\t", "\tb"});
  CHECK(Cut(Pattern::kCl100k, "a\n\n  \n  b") == Pieces{"a", "\n\n  \n", " ", " b"});
  CHECK(Cut(Pattern::kR50k, "a\n\n  \n  b") == Pieces{"a", "\n\n  \n ", " b"});
  // \s++$ stands before \s*[\r\n] in cl100k alone.
  CHECK(Cut(Pattern::kCl100k, "a\n  ") == Pieces{"a", "\n  "});
  CHECK(Cut(Pattern::kO200k, "a\n  ") == Pieces{"a", "\n", "  "});
  CHECK(Cut(Pattern::kQwen2, "a\n  ") == Pieces{"a", "\n", "  "});
  // A newline does not lead a word; any other white space does, but in r50k only U+0020.
  CHECK(Cut(Pattern::kQwen2, "\nb\u3000c") == Pieces{"\n", "b", "\u3000c"});
  CHECK(Cut(Pattern::kO200k, "\nb\u3000c") == Pieces{"\n", "b", "\u3000c"});
  CHECK(Cut(Pattern::kR50k, "\nb\u3000c") == Pieces{"\n", "b", "\u3000", "c"});
  // U+0085 is white space, but no newline to the patterns; U+001C is neither.
  CHECK(Cut(Pattern::kCl100k, "!\u0085\u0085!") == Pieces{"!", "\u0085", "\u0085", "!"});
  CHECK(Cut(Pattern::kCl100k, "!\x1C!") == Pieces{"!\x1C!"});
  CHECK(Cut(Pattern::kCl100k, " 1") == Pieces{" ", "1"});
  CHECK(Cut(Pattern::kR50k, " 1") == Pieces{" 1"});
}

TEST_CASE("symbols take the newlines behind them, and the slashes in o200k") {
  CHECK(Cut(Pattern::kR50k, "};\n\nx") == Pieces{"};", "\n", "\n", "x"});
  CHECK(Cut(Pattern::kCl100k, "};\n\nx") == Pieces{"};\n\n", "x"});
  CHECK(Cut(Pattern::kCl100k, " };\n \nx") == Pieces{" };\n", " \n", "x"});
  CHECK(Cut(Pattern::kO200k, "*\n/\r//!x") == Pieces{"*\n/\r//", "!x"});
  CHECK(Cut(Pattern::kCl100k, "*\n/\r//!x") == Pieces{"*\n", "/\r", "//!", "x"});
  CHECK(Cut(Pattern::kO200k, "--x") == Pieces{"--", "x"});
  CHECK(Cut(Pattern::kO200k, "-x") == Pieces{"-x"});
}

TEST_CASE("numbers") {
  CHECK(Cut(Pattern::kR50k, "1234567") == Pieces{"1234567"});
  CHECK(Cut(Pattern::kCl100k, "1234567") == Pieces{"123", "456", "7"});
  CHECK(Cut(Pattern::kO200k, "12²4Ⅳ") == Pieces{"12²", "4Ⅳ"});
  CHECK(Cut(Pattern::kQwen2, "12²") == Pieces{"1", "2", "²"});
}

TEST_CASE("o200k's words change from capitals to small letters once") {
  const Pattern o200k = Pattern::kO200k;
  CHECK(Cut(o200k, "parseHTMLDoc") == Pieces{"parse", "HTMLDoc"});
  CHECK(Cut(o200k, "ABC") == Pieces{"ABC"});
  CHECK(Cut(o200k, "ABCd'llE") == Pieces{"ABCd'll", "E"});
  CHECK(Cut(o200k, "\u01C5a") == Pieces{"\u01C5a"});  // title case counts as a capital
  // Capitals behind the last caseless letter or mark are given back ...
  CHECK(Cut(o200k, "A中BC!") == Pieces{"A中", "BC", "!"});
  CHECK(Cut(o200k, "A中BCd!") == Pieces{"A中BCd", "!"});  // ... unless a small letter follows.
  CHECK(Cut(o200k, "中's") == Pieces{"中's"});
  CHECK(Cut(o200k, "中A's") == Pieces{"中", "A's"});
  // A mark may be the character that leads the word, or its first one: the same end.
  CHECK(Cut(o200k, "\u0301ABC d") == Pieces{"\u0301", "ABC", " d"});
  CHECK(Cut(o200k, "\u0301abC") == Pieces{"\u0301ab", "C"});
  CHECK(Cut(o200k, " \u0301'S") == Pieces{" \u0301'S"});
  CHECK(Cut(o200k, "!\u0301") == Pieces{"!\u0301"});
  CHECK(Cut(o200k, "!!\u0301\n/x") == Pieces{"!!\u0301\n/", "x"});
}

TEST_CASE("Llama 3 and Qwen3.5 are cl100k with other digits, white space and marks") {
  CHECK(Cut(Pattern::kLlama3, "1234a\n  ") == Pieces{"123", "4", "a", "\n", "  "});
  CHECK(Cut(Pattern::kLlama3, "e\u0301a!\u0301b") == Pieces{"e", "\u0301a", "!\u0301", "b"});
  CHECK(Cut(Pattern::kQwen35, "e\u0301a!\u0301b") == Pieces{"e\u0301a", "!\u0301b"});
  CHECK(Cut(Pattern::kQwen35, " \u0301'S12") == Pieces{" \u0301", "'S", "1", "2"});
  CHECK(Cut(Pattern::kQwen35, "!!\u0301\n") == Pieces{"!!", "\u0301", "\n"});
}

TEST_CASE("tekken is o200k without contractions, one digit at a time") {
  CHECK(Cut(Pattern::kTekken, "don't 12") == Pieces{"don", "'t", " ", "1", "2"});
  CHECK(Cut(Pattern::kTekken, "A中BC!\n/x") == Pieces{"A中", "BC", "!\n/", "x"});
}

TEST_CASE("DeepSeek's three patterns") {
  using namespace std::string_view_literals;
  const Pattern deepseek = Pattern::kDeepSeek;
  // Numbers and kCjk are cut off first, and the text between them ends there.
  CHECK(Cut(deepseek, "a中文b12345") == Pieces{"a", "中文", "b", "123", "45"});
  CHECK(Cut(deepseek, "  1  中") == Pieces{"  ", "1", "  ", "中"});
  CHECK(Cut(deepseek, "  한  x") == Pieces{" ", " 한", " ", " x"});  // Hangul is none of kCjk
  CHECK(Cut(deepseek, "!中") == Pieces{"!", "中"});
  // Within a run of kCjk the third pattern goes on: symbols, and the unassigned U+3040.
  CHECK(Cut(deepseek, "ア・゛ア") == Pieces{"ア", "・゛", "ア"});
  CHECK(Cut(deepseek, "ア\u3040ア") == Pieces{"ア", "\u3040ア"});
  CHECK(Cut(deepseek, "・\u3040\u3040ア") == Pieces{"・", "\u3040", "\u3040ア"});
  CHECK(Cut(deepseek, "\u3040a") == Pieces{"\u3040", "a"});
  CHECK(Cut(deepseek, "・\n") == Pieces{"・", "\n"});
  // ASCII punctuation leads ASCII letters alone.
  CHECK(Cut(deepseek, "(café!é") == Pieces{"(caf", "é", "!", "é"});
  CHECK(Cut(deepseek, "((a ++\r\n") == Pieces{"((", "a", " ++\r\n"});
  CHECK(Cut(deepseek, "\u20ACa \u0301a") == Pieces{"\u20AC", "a", " \u0301a"});
  // What no alternative matches is a pre-token up to where one does.
  CHECK(Cut(deepseek, "a\0\0b"sv) == Pieces{"a", std::string("\0", 1), std::string("\0b", 2)});
  CHECK(Cut(deepseek, " \u200B\u0378!") == Pieces{" ", "\u200B\u0378", "!"});
  CHECK(Cut(deepseek, "\u200B中") == Pieces{"\u200B", "中"});
  CHECK(Cut(deepseek, "\u200B1\u200B ") == Pieces{"\u200B", "1", "\u200B", " "});
}

TEST_CASE("NUL and non-characters are symbols") {
  using namespace std::string_view_literals;
  for (const Pattern pattern : kAllPatterns) {
    if (pattern == Pattern::kDeepSeek) continue;  // in a test of its own
    CHECK(Cut(pattern, "a\0\0b"sv) == Pieces{"a", std::string("\0\0", 2), "b"});
    CHECK(Cut(pattern, " \uFFFE\U0010FFFF\u0378") == Pieces{" \uFFFE\U0010FFFF\u0378"});
  }
}

TEST_CASE("long words, and words that end at the end of memory") {
  for (const Pattern pattern : kAllPatterns) {
    for (std::size_t size = 1; size < 70; ++size) {
      const std::string word(size, 'a');
      CHECK(Cut(pattern, word) == Pieces{word});
      CHECK(Cut(pattern, word + "é") == Pieces{word + "é"});
      CHECK(Cut(pattern, word + "é" + word + " " + word) == Pieces{word + "é" + word, " " + word});
    }
  }
}

// Characters of every kind that a pattern tells apart, of every UTF-8 length.
constexpr std::array<std::string_view, 34> kKinds = {
    "a",      "z",      "A",      "Z",      "s",          "l",  "'",      " ",  " ",
    "\t",     "\n",     "\r",     "!",      "/",          "1",  "9",      "é",  "\u00C9",
    "\u017F", "\u0301", "\u00A0", "\u0660", "\U0001D400", "中", "\u2028", "😀", "ア",
    "・",     "\u3040", "\u200B", "e",      "v",          "$",  "t"};

std::string RandomText(std::mt19937& rng, std::size_t num_chars) {
  std::string text;
  for (std::size_t i = 0; i < num_chars; ++i) text += kKinds[rng() % kKinds.size()];
  return text;
}

TEST_CASE("pre-tokens follow each other without a gap, at character borders") {
  std::mt19937 rng(1);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = RandomText(rng, rng() % 40);
    for (const Pattern pattern : kAllPatterns) {
      std::string joined;
      for (const std::string& piece : Cut(pattern, text)) {
        REQUIRE(!piece.empty());
        REQUIRE((static_cast<unsigned char>(piece[0]) & 0xC0) != 0x80);
        joined += piece;
      }
      REQUIRE(joined == text);
    }
  }
}

// The final pre-tokens at the front of a text that ends at an inaccessible page.
Pieces FinalCut(Pattern pattern, std::string_view text) {
  const testing::GuardedText guarded(text);
  Pieces pieces;
  std::size_t num_bytes = 0;
  const std::size_t size = ForEachFinalPreToken(pattern, guarded.view(), [&](std::string_view p) {
    num_bytes += p.size();
    pieces.emplace_back(p);
  });
  CHECK(size == num_bytes);
  CHECK(size == FinalPrefix(pattern, guarded.view()));
  return pieces;
}

TEST_CASE("what is final, by hand") {
  CHECK(FinalCut(Pattern::kCl100k, "").empty());
  // A word may go on; after another character it may not.
  CHECK(FinalCut(Pattern::kCl100k, "a b") == Pieces{"a"});
  CHECK(FinalCut(Pattern::kCl100k, "a b.") == Pieces{"a", " b"});
  // Eight letters before the end: the fast path has looked at all of them, and not at the end.
  CHECK(FinalCut(Pattern::kCl100k, "abcdefgh") == Pieces{});
  CHECK(FinalCut(Pattern::kCl100k, "abcdefgh ") == Pieces{"abcdefgh"});
  // Three digits are as many as there may be.
  CHECK(FinalCut(Pattern::kCl100k, "12").empty());
  CHECK(FinalCut(Pattern::kCl100k, "123") == Pieces{"123"});
  CHECK(FinalCut(Pattern::kR50k, "123").empty());
  CHECK(FinalCut(Pattern::kQwen2, "12") == Pieces{"1", "2"});
  // Contractions: 's is whole, 'r may become 're, and ' may become anything.
  CHECK(FinalCut(Pattern::kCl100k, "a's") == Pieces{"a", "'s"});
  CHECK(FinalCut(Pattern::kCl100k, "a'\u017F") == Pieces{"a", "'\u017F"});
  CHECK(FinalCut(Pattern::kCl100k, "a'r") == Pieces{"a"});
  CHECK(FinalCut(Pattern::kO200k, "a'").empty());
  CHECK(FinalCut(Pattern::kO200k, "a'r").empty());
  CHECK(FinalCut(Pattern::kO200k, "a're") == Pieces{"a're"});
  CHECK(FinalCut(Pattern::kO200k, "a'x") == Pieces{"a"});
  CHECK(FinalCut(Pattern::kTekken, "a'") == Pieces{"a"});
  // Capitals after the last caseless letter are given back only if no small letter follows.
  CHECK(FinalCut(Pattern::kO200k, "中AB").empty());
  CHECK(FinalCut(Pattern::kO200k, "中AB ") == Pieces{"中", "AB"});
  CHECK(FinalCut(Pattern::kO200k, "abC") == Pieces{"ab"});
  // The last white space may lead a word, newlines may go on.
  CHECK(FinalCut(Pattern::kLlama3, "a \n") == Pieces{"a"});
  CHECK(FinalCut(Pattern::kLlama3, "!\n").empty());
  CHECK(FinalCut(Pattern::kLlama3, "a \nb") == Pieces{"a", " \n"});
  // DeepSeek's stretches.
  CHECK(FinalCut(Pattern::kDeepSeek, "a  1") == Pieces{"a", "  "});
  CHECK(FinalCut(Pattern::kDeepSeek, "中文").empty());
  CHECK(FinalCut(Pattern::kDeepSeek, "中文a") == Pieces{"中文"});
  CHECK(FinalCut(Pattern::kDeepSeek, "\u200B\u200B").empty());
}

TEST_CASE("no text appended changes what is final") {
  std::mt19937 rng(3);
  for (int round = 0; round < 4000; ++round) {
    const std::string text = RandomText(rng, rng() % 14);
    for (const Pattern pattern : kAllPatterns) {
      const Pieces final_pieces = FinalCut(pattern, text);
      for (int i = 0; i < 4; ++i) {
        const std::string longer = text + RandomText(rng, 1 + rng() % 4);
        CAPTURE(text);
        CAPTURE(longer);
        const Pieces pieces = Cut(pattern, longer);
        REQUIRE(pieces.size() >= final_pieces.size());
        REQUIRE(std::equal(final_pieces.begin(), final_pieces.end(), pieces.begin()));
      }
    }
  }
}

double ScanSeconds(Pattern pattern, std::string_view text) {
  double best = 1e9;
  for (int round = 0; round < 3; ++round) {
    std::size_t num_bytes = 0;
    const std::clock_t begin = std::clock();
    ForEachPreToken(pattern, text, [&](std::string_view piece) { num_bytes += piece.size(); });
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
    REQUIRE(num_bytes == text.size());
  }
  return best;
}

TEST_CASE("no text is slower than a fixed multiple of plain words") {
  // A scanner that passed bytes again and again would be slower by a factor of 10^4 and more.
  constexpr std::size_t kSizeBytes = 1'000'000;
  std::mt19937 rng(2);
  std::vector<std::string> texts = {" ",       "\n",      "\r\n", " \n", "\n ",     "\t", "\u3000",
                                    "'",       "''s",     "a",    "A",   "1",       "!",  "!\n",
                                    "\n/",     "\u0301",  "中",   "中A", "A中",     "AB", "aB",
                                    "A\u0301", "\u0301A", "é",    "É",   " \u0301", "😀", "²"};
  for (std::string& text : texts) text = Repeat(text, kSizeBytes / text.size());
  const std::vector<std::string> fronts = {Repeat(" ", kSizeBytes),
                                           Repeat("A", kSizeBytes),
                                           Repeat("\u0301", kSizeBytes / 2),
                                           Repeat("中", 1) + Repeat("A", kSizeBytes),
                                           Repeat("!", 1) + Repeat("\n", kSizeBytes),
                                           Repeat("\n", 1) + Repeat(" ", kSizeBytes)};
  for (const std::string& front : fronts) {
    for (const char* const last : {"x", "!", "A", "中", "\n", " "}) texts.push_back(front + last);
  }
  texts.push_back(RandomText(rng, kSizeBytes / 2));
  const std::string words = Repeat("the quick brown fox ", kSizeBytes / 20);
  for (const Pattern pattern : kAllPatterns) {
    const double plain = ScanSeconds(pattern, words);
    for (const std::string& text : texts) {
      CAPTURE(text.substr(0, 8));
      CHECK(ScanSeconds(pattern, text) < 40 * plain);
    }
  }
}

}  // namespace
}  // namespace ctx::tokenize
