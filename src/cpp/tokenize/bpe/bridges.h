// Which neighbouring characters a token can join.
//
// Scripts that write without spaces have long pre-tokens, but most pairs of their characters stand
// together in no token. Where no token holds the end of one character and the beginning of the
// next, no merge ever crosses, so the pre-token may be cut there and its parts encoded by
// themselves.
//
// Looks at characters of three bytes alone (CJK, kana, Hangul, the scripts of India and South-East
// Asia): shorter ones belong to scripts with spaces. Errs on the safe side: it may say that
// characters are joined when they are not. Immutable once filled: then safe to call from any
// thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace ctx::tokenize {

class Bridges {
 public:
  Bridges() = default;

  /// For about so many pairs of characters.
  explicit Bridges(std::size_t num_pairs)
      : pairs_(std::bit_ceil(num_pairs * kBitsPerPair + 64) / 64),
        shift_(64 - std::countr_zero(pairs_.size() * 64)),
        partial_((std::size_t{1} << 16) / 64) {}

  /// How many borders of characters in `token` count.
  static std::size_t NumPairs(std::string_view token) noexcept {
    std::size_t count = 0;
    for (std::size_t i = 1; i < token.size(); ++i) count += IsBorder(token, i);
    return count;
  }

  void Insert(std::string_view token) noexcept {
    for (std::size_t i = 1; i < token.size(); ++i) {
      if (!IsBorder(token, i)) continue;
      const bool left_whole = i >= 3 && IsLead(token[i - 3]);
      // A character that begins with another byte is no business of ours.
      if (!left_whole && HasLeadBefore(token, i)) continue;
      const bool right_whole = i + 3 <= token.size();
      if (left_whole && right_whole) {
        const std::size_t bit = PairBit(token.data() + i);
        pairs_[bit / 64] |= std::uint64_t{1} << bit % 64;
      } else {
        const std::size_t bit = PartialBit(token.data() + i);
        partial_[bit / 64] |= std::uint64_t{1} << bit % 64;
      }
    }
  }

  /// Cuts pre-tokens further. They follow each other from `text` on, and ends[i] is where pre-token
  /// i ends; likewise for the parts, whose ends are written to `to`. Returns how many parts there
  /// are; there is room for as many as pre-tokens and bytes / 3.
  std::size_t Cut(const char* text, const std::uint16_t* ends, std::size_t count,
                  std::uint16_t* to) const noexcept {
    const std::uint16_t* const first = to;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t end = ends[i];
      if (end - begin > kShortBytes && (text[end - 1] & 0x80) != 0) {
        for (std::size_t at = begin + 3; at + 3 <= end;) {
          // Before `at` a character of three bytes, or whatever: then go on to the next of those.
          if (!IsLead(text[at]) || !IsLead(text[at - 3])) {
            ++at;
            continue;
          }
          *to = static_cast<std::uint16_t>(at);  // without a branch: hard to guess
          to += !MayJoin(text + at);
          at += 3;
        }
      }
      *to++ = static_cast<std::uint16_t>(end);
      begin = end;
    }
    return static_cast<std::size_t>(to - first);
  }

  /// Whether there are characters of three bytes on both sides. Three bytes on both are readable.
  static bool IsBetweenWide(const char* border) noexcept {
    return IsLead(border[-3]) && IsLead(border[0]);
  }
  /// Whether a token may join them.
  bool MayJoin(const char* border) const noexcept {
    const std::size_t pair = PairBit(border);
    const std::size_t partial = PartialBit(border);
    return ((pairs_[pair / 64] >> pair % 64 | partial_[partial / 64] >> partial % 64) & 1) != 0;
  }

 private:
  static constexpr std::size_t kBitsPerPair = 12;
  static constexpr std::size_t kShortBytes = 8;  // one look-up does for these

  static bool IsLead(char c) noexcept { return (static_cast<unsigned char>(c) & 0xF0) == 0xE0; }
  static bool IsContinuation(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
  }
  static bool IsBorder(std::string_view token, std::size_t i) noexcept {
    return IsLead(token[i]) && IsContinuation(token[i - 1]);
  }
  /// Whether the character that ends at `i` begins in the token.
  static bool HasLeadBefore(std::string_view token, std::size_t i) noexcept {
    while (i > 0 && IsContinuation(token[i - 1])) --i;
    return i > 0 && (static_cast<unsigned char>(token[i - 1]) & 0xC0) == 0xC0;
  }
  template <typename Word>
  static Word Load(const char* from) noexcept {
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }

  /// Of the whole characters before and behind the border.
  std::size_t PairBit(const char* border) const noexcept {
    const std::uint64_t pair =
        Load<std::uint32_t>(border - 3) | std::uint64_t{Load<std::uint16_t>(border + 1)} << 32;
    return pair * 0x9E3779B97F4A7C15 >> shift_;
  }
  /// Of the bytes before and behind the border.
  static std::size_t PartialBit(const char* border) noexcept {
    return Load<std::uint16_t>(border - 1);
  }

  std::vector<std::uint64_t> pairs_;  // bits, by hash
  int shift_ = 63;
  std::vector<std::uint64_t> partial_;  // bits: a token has a part of one of the characters
};

}  // namespace ctx::tokenize
