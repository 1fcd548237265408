#include "tokenize/pretokenize/block_scan.h"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "doctest/doctest.h"
#include "support/guarded_text.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

constexpr std::array kAllPatterns = {Pattern::kR50k,   Pattern::kCl100k,  Pattern::kO200k,
                                     Pattern::kQwen2,  Pattern::kLlama3,  Pattern::kQwen35,
                                     Pattern::kTekken, Pattern::kDeepSeek};

/// What texts are made of: everything that a pattern tells apart, in one to four bytes, and what
/// stops a block scanner.
constexpr std::array<std::string_view, 74> kPieces = {
    "a",      "b",      "the",        "Hello",      "X",          "ABC",     "aB",     "Z",
    "1",      "22",     "333",        "4444",       " ",          " ",       " ",      "  ",
    "    ",   "\t",     "\n",         "\n\n",       "\r\n",       "\r",      ".",      ",",
    "!?",     "//",     "/",          "/\n",        "_",          "-----",   "'",      "''",
    "'s",     "'T",     "'ll",        "'VE",        "'re",        "'\u017F", "'x",     "\u00E9",
    "\u00C9", "\u0416", "\u0436",     "\u01C5",     "\u4E2D",     "\u6587",  "\u3042", "\uAC00",
    "\u3000", "\u00A0", "\u2003",     "\u0301",     "\u0E31",     "\u0663",  "\u00BD", "\u2028",
    "\u3002", "\u20AC", "\U0001F600", "\U00020000", "\U0001D7D8", "\x01",    "\x7F",   "\uFFFF",
    "\u0378", "\uE000", "\U000E0000", "\u30AB",     "\u30FB",     "\u3099",  "\u309C", "\u3040",
    "\u9FA5", "\u9FA6"};

std::string RandomText(std::mt19937& random, std::size_t size) {
  // Few pieces at a time, so that they meet often; some of them again and again.
  std::array<std::string_view, 6> some;
  for (auto& piece : some) piece = kPieces[random() % kPieces.size()];
  std::string text;
  while (text.size() < size) {
    const std::string_view piece = some[random() % some.size()];
    const std::size_t times = random() % 8 == 0 ? random() % 90 : 1;
    for (std::size_t i = 0; i < times; ++i) text += piece;
  }
  return text;
}

/// Where the scanner says that pre-tokens end, from where the block scanner begins on.
void CheckAgainstScanner(Pattern pattern, BlockScanner scan, std::string_view text) {
  std::vector<std::uint16_t> ends(kMaxBlockScanEnds);
  for (std::size_t begin = 0; begin < text.size();) {
    const auto [count, has_wide] = scan(text.data() + begin, text.size() - begin, ends.data());
    REQUIRE(count <= kMaxBlockScanEnds);
    std::size_t at = begin;
    bool saw_wide = false;
    WithPattern(pattern, [&](auto constant) {
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t end = NextPreToken<constant()>(text, at);
        if (begin + ends[i] != end) {
          INFO(std::string(text.substr(at, 80)), " at ", at, " of ", std::string(text));
          REQUIRE(begin + ends[i] == end);
        }
        for (; at < end; ++at) saw_wide |= (static_cast<unsigned char>(text[at]) & 0xF0) == 0xE0;
      }
      if (count == 0) at = NextPreToken<constant()>(text, at);
    });
    CHECK((has_wide || !saw_wide));
    begin = at;
  }
}

TEST_CASE("block scanners cut where the scanners do") {
  std::mt19937 random(20261121);
  for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512}) {
    if (!HasIsa(isa)) continue;
    for (const Pattern pattern : kAllPatterns) {
      const BlockScanner scan = BlockScannerFor(pattern, isa);
      for (int i = 0; i < 4000; ++i) {
        const ctx::testing::GuardedText text(RandomText(random, random() % 400));
        CheckAgainstScanner(pattern, scan, text.view());
      }
      for (int i = 0; i < 20; ++i) {
        const ctx::testing::GuardedText text(RandomText(random, 20000));
        CheckAgainstScanner(pattern, scan, text.view());
      }
    }
  }
}

TEST_CASE("a run of any length, at any place in a block") {
  for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512}) {
    if (!HasIsa(isa)) continue;
    for (const Pattern pattern : kAllPatterns) {
      const BlockScanner scan = BlockScannerFor(pattern, isa);
      for (const std::string_view unit : kPieces) {
        for (std::size_t before = 56; before < 70; ++before) {
          for (const std::string_view after : {"", "x", ".", "\n", "7", "\u4E2D"}) {
            std::string text(before, 'q');
            for (int i = 0; i < 70; ++i) text += unit;
            text += after;
            CheckAgainstScanner(pattern, scan, text);
          }
        }
      }
    }
  }
}

TEST_CASE("every character is of its class, whatever stands beside it") {
  constexpr char32_t kEnd = 0x110000;
  for (const char32_t stride : {1, 40503}) {  // pages of characters, and hardly two of a page
    for (const std::string_view between : {"", " ", "a", "Aa", "1"}) {
      std::string text;
      for (char32_t i = 0; i < kEnd; ++i) {
        const auto c = static_cast<char32_t>(i * std::uint64_t{stride} % kEnd);
        if (c >= 0xD800 && c < 0xE000) continue;
        char bytes[4];
        text.append(bytes, EncodeUtf8(c, bytes));
        text += between;
      }
      for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512}) {
        if (!HasIsa(isa)) continue;
        for (const Pattern pattern : kAllPatterns) {
          CheckAgainstScanner(pattern, BlockScannerFor(pattern, isa), text);
        }
      }
    }
  }
}

TEST_CASE("most text is within reach of masks") {
  // Otherwise everything would pass as undecided.
  const std::string text =
      "It's the \"blocks\" that count:\n\n    for (int i = 0; i < 1234567; ++i) {  // don't\r\n"
      "\u4E2D\u6587 \u0416\u0438\u0437\u043D\u044C \u00E9t\u00E9\u3000\u3042 ";
  std::string many;
  while (many.size() < kBlockScanBytes) many += text;
  std::vector<std::uint16_t> ends(kMaxBlockScanEnds);
  for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512}) {
    if (!HasIsa(isa)) continue;
    for (const Pattern pattern : kAllPatterns) {
      const BlockScanner scan = BlockScannerFor(pattern, isa);
      const auto [count, has_wide] = scan(many.data(), many.size(), ends.data());
      REQUIRE(count > 0);
      CHECK(ends[count - 1] > kBlockScanBytes - 128);
      CHECK(has_wide);
    }
  }
  for (const Pattern pattern : kAllPatterns) {
    CHECK((BlockScannerFor(pattern, Isa::kPortable) == nullptr));
  }
}

}  // namespace
}  // namespace ctx::tokenize
