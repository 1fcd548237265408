// The algorithm of block_scan.h, compiled once for each instruction set. The including file defines
// CTX_TARGET (a target attribute) and CTX_INLINE, and has before it
//
//     AsciiMasks ClassifyAscii(const Byte* bytes, Mask valid)
//                                                  of 64 bytes, of which the valid ones may be read
//     WideMasks ClassifyWide(const Byte* bytes, std::size_t size, Mask not_ascii, Mask leads,
//                            Straddler& straddler)
//                                                  likewise of characters beyond ASCII, of which
//                                                  `leads` are the first bytes; `size` bytes are
//                                                  text, also beyond the 64; replaces `straddler`
//     std::size_t StorePositions(Mask mask, unsigned base, std::uint16_t* to)
//                                                  base + i for every bit i; may write 64 numbers
//
// Everything is inlined into functions of that target and has internal linkage, so that two
// instruction sets never share a function.
//
// A character of several bytes has all its bits set in the mask of its class; `lead` has the
// first bytes of characters alone.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tokenize/pretokenize/block_scan.h"
#include "tokenize/pretokenize/block_scan_masks.h"
#include "tokenize/pretokenize/scan_runs.h"

namespace ctx::tokenize {
namespace {

/// How a pattern differs from its relatives, cl100k's or o200k's.
struct Rules {
  bool cased;              // o200k's words: a lower-case letter ends before an upper-case one
  bool marks_are_letters;  // otherwise symbols, or with `cased` what goes on with a word
  bool slash_is_newline;   // symbols take [\r\n/]* with them, not [\r\n]*
  bool contractions;
  unsigned max_digits;
  scan::WhitespaceRule whitespace;
};

consteval Rules RulesOf(Pattern pattern) {
  using enum scan::WhitespaceRule;
  switch (pattern) {
    case Pattern::kCl100k:
      return {false, false, false, true, 3, kCl100k};
    case Pattern::kLlama3:
      return {false, false, false, true, 3, kNewer};
    case Pattern::kQwen2:
      return {false, false, false, true, 1, kNewer};
    case Pattern::kQwen35:
      return {false, true, false, true, 1, kNewer};
    case Pattern::kO200k:
      return {true, false, true, true, 3, kNewer};
    case Pattern::kTekken:
      return {true, false, true, false, 1, kNewer};
    case Pattern::kR50k:
    case Pattern::kDeepSeek:
      break;
  }
  return {};  // these are no relatives
}

/// 64 bytes of text by class.
struct Block {
  Mask upper = 0;
  Mask lower = 0;
  Mask caseless = 0;  // letters without case
  Mask mark = 0;
  Mask number = 0;
  Mask space = 0;  // newlines too
  Mask newline = 0;
  Mask blank = 0;  // U+0020
  Mask quote = 0;
  Mask slash = 0;
  Mask symbol = 0;  // neither letter, mark, number nor space
  Mask other = 0;   // those of them that are neither punctuation nor what Unicode calls symbols
  Mask cjk = 0;     // for kDeepSeek alone
  Mask valid = 0;   // where there is text
  Mask lead = 0;
  std::array<Mask, 3> wide = {};  // leads of characters of 2, 3 and 4 bytes
  bool is_ascii = true;
  bool has_wide_number = false;  // of more than one byte

  CTX_INLINE Mask letter() const noexcept { return upper | lower | caseless; }
};

/// P and N by `distance` bytes, 1 to 63.
CTX_INLINE Mask Before(Mask mask, Mask previous, unsigned distance = 1) noexcept {
  return mask << distance | previous >> (64 - distance);
}
CTX_INLINE Mask After(Mask mask, Mask next, unsigned distance = 1) noexcept {
  return mask >> distance | next << (64 - distance);
}

/// The bits of `within` from each seed on to where its run ends; seeds are in `within`.
CTX_INLINE Mask Flood(Mask within, Mask seeds) noexcept {
  return (within & ~(within + seeds)) | seeds;
}

/// The last characters of the runs of `mask` that stand right before something of `what`.
CTX_INLINE Mask LastBefore(const Block& block, Mask mask, Mask what, Mask next_what) noexcept {
  const Mask last = mask & After(what, next_what);
  if (block.is_ascii) return last;
  return (last & block.lead & ~(block.wide[0] | block.wide[1] | block.wide[2])) |
         (mask & block.wide[0] & After(what, next_what, 2)) |
         (mask & block.wide[1] & After(what, next_what, 3)) |
         (mask & block.wide[2] & After(what, next_what, 4));
}

/// The block that begins at `at`, of which `size` bytes are text (64 or more: all).
template <bool with_cjk>
CTX_INLINE void Classify(const Byte* at, std::size_t size, Block& block,
                         Straddler& straddler) noexcept {
  const Mask valid = LowBits(static_cast<unsigned>(std::min<std::size_t>(size, 64)));
  const AsciiMasks ascii = ClassifyAscii(at, valid);
  block.upper = ascii.upper;
  block.lower = ascii.lower;
  block.number = ascii.digit;
  block.space = ascii.space;
  block.newline = ascii.newline;
  block.blank = ascii.blank;
  block.quote = ascii.quote;
  block.slash = ascii.slash;
  block.valid = valid;
  block.lead = ~ascii.continuation & valid;
  block.symbol = valid & ~(ascii.upper | ascii.lower | ascii.digit | ascii.space | ascii.not_ascii);
  block.other = ascii.control & ~ascii.space & valid;
  if (ascii.not_ascii != 0) {
    const WideMasks wide = ClassifyWide<with_cjk>(at, size, ascii.not_ascii,
                                                  ascii.not_ascii & ~ascii.continuation, straddler);
    block.upper |= wide.classes[0];
    block.lower |= wide.classes[1];
    block.caseless = wide.classes[2];
    block.mark = wide.classes[3];
    block.number |= wide.classes[4];
    block.has_wide_number = wide.classes[4] != 0;
    block.space |= wide.classes[5];
    block.symbol |= wide.classes[6] | wide.classes[7];
    block.other |= wide.classes[7];
    block.cjk = wide.cjk;
    for (std::size_t i = 0; i < 3; ++i) block.wide[i] = wide.leads[i];
    block.is_ascii = false;
  }
}

/// What the algorithm remembers of the block before. Of masks, the top bits count.
struct Carry {
  Mask symbol = 0;
  Mask absorbed = 0;
  Mask own_newline = 0;
  Mask joins_letter = 0;
  std::array<Mask, 3> wide_prefix = {};
  Mask word = 0;
  Mask lower_state = 0;
  Mask upper_state_caseless = 0;
  Mask prefix = 0;  // for kDeepSeek: what takes the ASCII letters behind it, and these
  Mask led = 0;
  unsigned num_digits = 0;     // since the last cut in the number at the end of the block
  Mask after_contraction = 0;  // in the block that follows: these begin pre-tokens
};

/// Length of the contraction at `at`, which is a quote, or 0; `size` bytes are text.
template <bool fold_case>
CTX_INLINE unsigned ContractionSize(const Byte* at, std::size_t size) noexcept {
  return static_cast<unsigned>(scan::SkipContraction<fold_case>(at, at + size) - at);
}

/// The `newlines` behind `symbols`, and what follows of `absorbable`, which has newlines and
/// perhaps symbols.
CTX_INLINE Mask Absorbed(Mask symbols, Mask newlines, Mask absorbable,
                         const Carry& carry) noexcept {
  return Flood(absorbable,
               (newlines & Before(symbols, carry.symbol)) | (absorbable & carry.absorbed >> 63));
}

/// Adds where pre-tokens of white space begin, but for the `absorbed` newlines: they end after
/// their last newline, before their last character if something of `solid` follows, and after that.
/// False when that takes more than masks.
template <scan::WhitespaceRule rule>
CTX_INLINE bool AddGaps(const Block& previous, const Block& block, const Block& next, Mask absorbed,
                        Mask solid, Mask next_solid, Carry& carry, Mask& starts) noexcept {
  const Mask own_newline = block.newline & ~absorbed;
  const Mask gap = block.space & ~block.newline;
  const Mask next_gap = next.space & ~next.newline;
  const Mask gap_begin = gap & ~Before(gap, previous.space & ~previous.newline);
  const Mask after_newline = gap_begin & Before(own_newline, carry.own_newline);
  Mask gap_start = gap_begin;
  if (after_newline != 0) {
    // Nothing begins here if the run of white space has another newline (or, for cl100k, the end of
    // the text) behind this gap.
    constexpr bool kEndCounts = rule == scan::WhitespaceRule::kCl100k;
    const Mask sum = gap + after_newline;
    Mask joined = sum & ~gap & (kEndCounts ? block.newline | ~block.valid : block.newline);
    for (; joined != 0; joined &= joined - 1) {
      gap_start &= ~std::bit_floor(after_newline & ((joined & -joined) - 1));
    }
    if (sum < gap) {  // the last gap leaves the block
      if (next_gap == ~Mask{0}) return false;
      const Mask end = (next_gap + 1) & ~next_gap;
      if ((end & (kEndCounts ? next.newline | ~next.valid : next.newline)) != 0) {
        gap_start &= ~std::bit_floor(after_newline);
      }
    }
  }
  const Mask newline_start = own_newline & ~Before(block.space, previous.space);
  starts |= gap_start | newline_start | LastBefore(block, gap, solid, next_solid);
  carry.own_newline = own_newline;
  return true;
}

/// Adds where numbers begin, which end after max_digits.
template <unsigned max_digits>
CTX_INLINE void AddNumbers(const Block& previous, const Block& block, Carry& carry,
                           Mask& starts) noexcept {
  if constexpr (max_digits == 1) {
    starts |= block.number & block.lead;
  } else if (block.number == 0) {
    carry.num_digits = 0;
  } else {
    static_assert(max_digits == 3);
    const Mask number = block.number;
    const Mask before = Before(number, previous.number);
    Mask cuts = number & ~before & block.lead;
    if (!block.has_wide_number) {
      if (carry.num_digits != 0) {
        const unsigned at = 3 - carry.num_digits;
        const Mask run = LowBits(at + 1);
        if ((number & run) == run) cuts |= Mask{1} << at;
      }
      const Mask three = number & number << 1 & number << 2;
      for (Mask cut = cuts; (cut = cut << 3 & three) != 0;) cuts |= cut;
      carry.num_digits = 1 + static_cast<unsigned>(std::countl_zero(cuts));
    } else {
      for (Mask rest = number & block.lead; rest != 0; rest &= rest - 1) {
        const Mask bit = rest & -rest;
        const bool goes_on = (before & bit) != 0 && carry.num_digits < 3;
        carry.num_digits = goes_on ? carry.num_digits + 1 : 1;
        if (!goes_on) cuts |= bit;
      }
    }
    if (number >> 63 == 0) carry.num_digits = 0;
    starts |= cuts;
  }
}

/// Adds that a pre-token begins at byte `at` of the block or in the one that follows it.
CTX_INLINE void AddAfterContraction(unsigned at, Mask& starts, Carry& carry) noexcept {
  if (at < 64) {
    starts |= Mask{1} << at;
  } else {
    carry.after_contraction |= Mask{1} << (at - 64);
  }
}

// Where pre-tokens begin in `block`; false when that takes more than masks. The block begins at
// `text`, of which `size` bytes are left.

/// For cl100k and o200k and their relatives.
template <Rules rules>
CTX_INLINE bool FindStartsByRules(const Block& previous, const Block& block, const Block& next,
                                  Carry& carry, const Byte* text, std::size_t size,
                                  Mask& result) noexcept {
  const bool only_ascii = block.is_ascii && previous.is_ascii;

  Mask all_symbols = block.symbol;
  Mask both = block.caseless;
  Mask word = block.letter();
  if (!only_ascii) {
    if constexpr (rules.marks_are_letters) {
      word |= block.mark;
    } else if constexpr (rules.cased) {
      const Mask attached = Flood(block.mark, block.mark & Before(word, carry.word));
      if (attached != block.mark) return false;
      both |= attached;
      word |= attached;
    } else {
      all_symbols |= block.mark;
    }
  }

  const Mask absorbed =
      Absorbed(all_symbols, block.newline,
               rules.slash_is_newline ? block.newline | block.slash : block.newline, carry);
  const Mask symbol = all_symbols & ~absorbed;
  const Mask symbol_start = symbol & ~Before(symbol | block.blank, carry.symbol | previous.blank);

  Mask starts = symbol_start;
  const Mask solid = block.valid & ~block.space;
  const Mask next_solid = next.valid & ~next.space;
  if (!AddGaps<rules.whitespace>(previous, block, next, absorbed, solid, next_solid, carry,
                                 starts)) {
    return false;
  }

  // Words take the character before them if it is no newline and belongs to nothing else.
  Mask prefix_end = symbol_start;
  std::array<Mask, 3> wide_prefix = {};
  if (!only_ascii) {
    prefix_end &= ~(block.wide[0] | block.wide[1] | block.wide[2]);
    for (unsigned i = 0; i < 3; ++i) {
      wide_prefix[i] = symbol_start & block.wide[i];
      prefix_end |= Before(wide_prefix[i], carry.wide_prefix[i], i + 1);
    }
  }
  const Mask joins_letter = (block.space & ~block.newline) | prefix_end;
  starts |= word & ~Before(word | joins_letter, carry.word | carry.joins_letter);

  AddNumbers<rules.max_digits>(previous, block, carry, starts);

  Mask lower_state = 0;
  Mask upper_state_caseless = 0;
  if constexpr (rules.cased) {
    lower_state = block.lower;
    if (!only_ascii) {
      lower_state |= Flood(both, both & Before(block.lower, carry.lower_state));
      upper_state_caseless = both & ~lower_state;
      // Capitals behind caseless letters begin a word unless letters other than capitals follow.
      Mask capitals = block.upper & block.lead & ~Before(block.upper, previous.upper) &
                      Before(upper_state_caseless, carry.upper_state_caseless);
      for (; capitals != 0; capitals &= capitals - 1) {
        const auto begin = static_cast<unsigned>(std::countr_zero(capitals));
        const unsigned end = begin + static_cast<unsigned>(std::countr_one(block.upper >> begin));
        if (end == 64 && (next.upper & 1) != 0) return false;
        const bool goes_on = end == 64 ? ((next.lower | next.caseless | next.mark) & 1) != 0
                                       : ((block.lower | both) >> end & 1) != 0;
        if (!goes_on) starts |= Mask{1} << begin;
      }
    }
    starts |= block.upper & block.lead & Before(lower_state, carry.lower_state);
  }

  starts |= carry.after_contraction;
  Mask after_contraction = carry.after_contraction;
  carry.after_contraction = 0;
  if constexpr (rules.contractions) {
    Mask quotes = block.quote & symbol_start;
    if (rules.cased) quotes &= Before(word, carry.word);
    quotes &= After(word, next.letter());
    for (; quotes != 0; quotes &= quotes - 1) {
      const Mask bit = quotes & -quotes;
      // A word has one contraction: this quote leads the next word.
      if (rules.cased && (after_contraction & bit) != 0) continue;
      const auto at = static_cast<unsigned>(std::countr_zero(bit));
      const unsigned length = ContractionSize<true>(text + at, size - at);
      if (length == 0) continue;
      if (rules.cased) starts &= ~bit;  // it belongs to the word before it
      const unsigned end = at + length;
      if (end >= size) continue;
      if (rules.cased && text[end] >= 0x80) return false;
      AddAfterContraction(end, starts, carry);
      if (end < 64) after_contraction |= Mask{1} << end;
    }
  }

  carry.symbol = symbol;
  carry.absorbed = absorbed;
  carry.joins_letter = joins_letter;
  carry.wide_prefix = wide_prefix;
  carry.word = word;
  carry.lower_state = lower_state;
  carry.upper_state_caseless = upper_state_caseless;
  result = starts;
  return true;
}

/// For r50k, whose words, numbers and symbols take one blank with them.
CTX_INLINE bool FindStartsR50k(const Block& previous, const Block& block, const Block& next,
                               Carry& carry, const Byte* text, std::size_t size,
                               Mask& result) noexcept {
  const Mask letter = block.letter();
  const Mask symbol = block.symbol | block.mark;
  const Mask goes_on = (letter & Before(letter, previous.letter())) |
                       (block.number & Before(block.number, previous.number)) |
                       (symbol & Before(symbol, previous.symbol | previous.mark)) |
                       (block.space & Before(block.space, previous.space));
  const Mask solid = block.valid & ~block.space;
  const Mask next_solid = next.valid & ~next.space;
  Mask starts = block.valid & ~goes_on & ~(solid & Before(block.blank, previous.blank));
  Mask quotes = block.quote & starts & After(letter, next.letter());
  starts |= LastBefore(block, block.space, solid, next_solid);

  Mask joins_letter = 0;  // quotes of contractions
  const Mask after_contraction = carry.after_contraction;
  carry.after_contraction = 0;
  for (; quotes != 0; quotes &= quotes - 1) {
    const auto at = static_cast<unsigned>(std::countr_zero(quotes));
    const unsigned length = ContractionSize<false>(text + at, size - at);
    if (length == 0) continue;
    joins_letter |= quotes & -quotes;
    if (at + length < size) AddAfterContraction(at + length, starts, carry);
  }
  starts &= ~Before(joins_letter, carry.joins_letter);
  result = starts | after_contraction;
  carry.joins_letter = joins_letter;
  return true;
}

/// For DeepSeek's three patterns. The first two leave stretches of numbers, of `cjk` and of all
/// else; to the third, what stands in another stretch is the end of the text.
CTX_INLINE bool FindStartsDeepSeek(const Block& previous, const Block& block, const Block& next,
                                   Carry& carry, Mask& result) noexcept {
  const auto letter_of = [](const Block& b) CTX_TARGET { return b.letter() | b.mark; };
  const auto symbol_of = [](const Block& b) CTX_TARGET { return b.symbol & ~b.other; };
  if ((block.cjk & block.other) != 0) return false;  // nobody writes these

  // Each alternative of the third pattern in its turn. An ASCII symbol takes ASCII letters alone.
  const Mask symbol = symbol_of(block) & ~block.cjk;
  const Mask symbol_start = symbol & ~Before(symbol | block.blank, carry.symbol | previous.blank);
  const Mask ascii = block.lead & ~(block.wide[0] | block.wide[1] | block.wide[2]);
  const Mask ascii_letter = block.letter() & ascii;
  const Mask prefix = symbol_start & ascii;
  const Mask led_start = ascii_letter & Before(prefix, carry.prefix);
  const Mask led = Flood(ascii_letter, led_start | (ascii_letter & carry.led >> 63));

  // Words take a character before them that is none of those.
  const Mask word = letter_of(block) & ~block.cjk;
  const Mask next_word = letter_of(next) & ~next.cjk;
  const Mask joins_letter = (block.space & ~block.newline) | block.other;
  const Mask word_start =
      (word & ~Before(word | joins_letter, carry.word | carry.joins_letter) & ~led_start) |
      (word & ~ascii_letter & Before(led, carry.led));
  const Mask other_start = (block.other & ~Before(block.other, previous.other)) |
                           LastBefore(block, block.other, word, next_word);

  const Mask cjk_letter = letter_of(block) & block.cjk;
  const Mask cjk_symbol = symbol_of(block) & block.cjk;
  const Mask cjk_start = (cjk_letter & ~Before(cjk_letter, letter_of(previous) & previous.cjk)) |
                         (cjk_symbol & ~Before(cjk_symbol, symbol_of(previous) & previous.cjk));

  Mask starts = symbol_start | word_start | other_start | cjk_start;
  const Mask absorbed = Absorbed(symbol, block.newline, block.newline, carry);
  const Mask solid = block.valid & ~(block.space | block.number | block.cjk);
  const Mask next_solid = next.valid & ~(next.space | next.number | next.cjk);
  if (!AddGaps<scan::WhitespaceRule::kNewer>(previous, block, next, absorbed, solid, next_solid,
                                             carry, starts)) {
    return false;
  }
  AddNumbers<3>(previous, block, carry, starts);

  carry.symbol = symbol;
  carry.absorbed = absorbed;
  carry.prefix = prefix;
  carry.led = led;
  carry.word = word;
  carry.joins_letter = joins_letter;
  result = starts;
  return true;
}

/// The block scanner of a pattern.
template <Pattern pattern>
CTX_TARGET BlockScan ScanBlocks(const char* text, std::size_t size, std::uint16_t* ends) noexcept {
  BlockScan found = {0, false};
  if (size == 0) return found;
  const auto* at = reinterpret_cast<const Byte*>(text);
  Block previous, block, next;
  Straddler straddler;
  Carry carry;
  constexpr bool kWithCjk = pattern == Pattern::kDeepSeek;
  Classify<kWithCjk>(at, size, block, straddler);
  for (unsigned begin = 0; begin < kBlockScanBytes; begin += 64, at += 64, size -= 64) {
    const bool is_last = size <= 64;
    next = Block();
    if (!is_last) Classify<kWithCjk>(at + 64, size - 64, next, straddler);
    Mask starts;
    bool decided;
    if constexpr (pattern == Pattern::kR50k) {
      decided = FindStartsR50k(previous, block, next, carry, at, size, starts);
    } else if constexpr (pattern == Pattern::kDeepSeek) {
      decided = FindStartsDeepSeek(previous, block, next, carry, starts);
    } else {
      decided = FindStartsByRules<RulesOf(pattern)>(previous, block, next, carry, at, size, starts);
    }
    if (!decided) break;
    if (begin == 0) starts &= ~Mask{1};
    found.has_wide |= block.wide[1] != 0;
    found.count += StorePositions(starts, begin, ends + found.count);
    if (is_last) {
      ends[found.count++] = static_cast<std::uint16_t>(begin + size);
      break;
    }
    previous = block;
    block = next;
  }
  return found;
}

inline BlockScanner ScannerOf(Pattern pattern) noexcept {
  return WithPattern(pattern,
                     [](auto constant) -> BlockScanner { return &ScanBlocks<constant()>; });
}

}  // namespace
}  // namespace ctx::tokenize
