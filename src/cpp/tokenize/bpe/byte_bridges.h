// Which neighbouring bytes a token can join.
//
// Of all pairs of bytes five of six stand together in no token of a published vocabulary. Nothing
// ever merges across such a pair, so that very long pre-tokens, which nobody has seen before, fall
// apart into parts that are encoded by themselves. Where two bytes do stand together in a token,
// their characters still may not: of two bytes (looked at here) or of three (bridges.h).
//
// Errs on the safe side: it may say that bytes are joined when they are not. Immutable once filled:
// then safe to call from any thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tokenize/bpe/bridges.h"

namespace ctx::tokenize {

class ByteBridges {
 public:
  /// `bridges` of the same tokens, which must outlive it.
  explicit ByteBridges(const Bridges& bridges)
      : bridges_(&bridges),
        bytes_(kPairsOfBytes / 64),
        characters_(kCharacterBits / 64),
        partial_(kPairsOfBytes / 64) {}

  void Insert(std::string_view token) noexcept {
    for (std::size_t i = 1; i < token.size(); ++i) {
      const char* const border = token.data() + i;
      Set(bytes_, BytesBit(border));
      if (!IsLead(border[0]) || !IsContinuation(border[-1])) continue;
      if (i == 1 || i + 2 > token.size()) {
        Set(partial_, BytesBit(border));
      } else if (IsLead(border[-2])) {
        Set(characters_, CharactersBit(border));
      }
    }
  }

  /// Cuts `bytes` wherever no token joins them. Writes where the parts end, but for the last one,
  /// and returns how many these are; there is room for as many as bytes.
  std::size_t Cut(std::string_view bytes, std::uint16_t* to) const noexcept {
    const std::uint16_t* const first = to;
    for (std::size_t at = 1; at < bytes.size(); ++at) {
      *to = static_cast<std::uint16_t>(at);
      to += !MayJoin(bytes, at);
    }
    return static_cast<std::size_t>(to - first);
  }

  /// The first such cut from `at` > 0 on, or the end.
  std::size_t NextCut(std::string_view bytes, std::size_t at) const noexcept {
    while (at < bytes.size() && MayJoin(bytes, at)) ++at;
    return at;
  }

 private:
  static constexpr std::size_t kPairsOfBytes = std::size_t{1} << 16;
  static constexpr std::size_t kCharacterBits = std::size_t{1} << 18;

  /// Of a character of two bytes.
  static bool IsLead(char c) noexcept { return (static_cast<unsigned char>(c) & 0xE0) == 0xC0; }
  static bool IsContinuation(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
  }

  /// Of the bytes before and behind the border.
  static std::size_t BytesBit(const char* border) noexcept {
    return std::size_t{static_cast<unsigned char>(border[-1])} << 8 |
           static_cast<unsigned char>(border[0]);
  }
  /// Of the characters of two bytes before and behind the border.
  static std::size_t CharactersBit(const char* border) noexcept {
    std::uint32_t both;
    std::memcpy(&both, border - 2, sizeof both);
    return both * std::uint64_t{0x9E3779B97F4A7C15} >> (64 - std::countr_zero(kCharacterBits));
  }

  static void Set(std::vector<std::uint64_t>& bits, std::size_t at) noexcept {
    bits[at / 64] |= std::uint64_t{1} << at % 64;
  }
  static bool Has(const std::vector<std::uint64_t>& bits, std::size_t at) noexcept {
    return (bits[at / 64] >> at % 64 & 1) != 0;
  }

  bool MayJoin(std::string_view bytes, std::size_t at) const noexcept {
    const char* const border = bytes.data() + at;
    if (!Has(bytes_, BytesBit(border))) return false;
    if (!IsContinuation(border[-1]) || at < 3 || bytes.size() - at < 3) return true;
    if (IsLead(border[-2]) && IsLead(border[0])) {
      return Has(characters_, CharactersBit(border)) || Has(partial_, BytesBit(border));
    }
    return !Bridges::IsBetweenWide(border) || bridges_->MayJoin(border);
  }

  const Bridges* bridges_;
  std::vector<std::uint64_t> bytes_;       // bits: a token has both
  std::vector<std::uint64_t> characters_;  // bits, by hash: a token has both whole
  std::vector<std::uint64_t> partial_;     // bits: a token has part of one of the characters
};

}  // namespace ctx::tokenize
