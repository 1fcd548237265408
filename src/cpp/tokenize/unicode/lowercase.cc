#include "tokenize/unicode/lowercase.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>

#include "tokenize/unicode/normalization_properties.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

constexpr std::uint64_t kEachByte = 0x0101010101010101;

constexpr bool IsAsciiUpper(unsigned char c) noexcept { return c >= 'A' && c <= 'Z'; }

/// The first of eight bytes, at or after `at`, that are not all ASCII without capitals.
std::size_t SkipLowerWords(std::string_view text, std::size_t at) noexcept {
  for (; text.size() - at >= 8; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, sizeof word);
    // If all are ASCII, no sum runs over, and its high bit says "from A on" and "behind Z".
    const std::uint64_t from_a = word + kEachByte * (0x80 - 'A');
    const std::uint64_t behind_z = word + kEachByte * (0x80 - 'Z' - 1);
    if (((word | (from_a & ~behind_z)) & (kEachByte * 0x80)) != 0) break;
  }
  return at;
}

}  // namespace

char32_t FirstOfLowercase(char32_t code_point) noexcept {
  if (code_point == 0x130) return 'i';
  const auto* const behind =
      std::upper_bound(std::begin(kLowercaseRuns), std::end(kLowercaseRuns), code_point,
                       [](char32_t c, const LowercaseRun& run) { return c < run.first; });
  if (behind == std::begin(kLowercaseRuns)) return code_point;
  const LowercaseRun& run = *(behind - 1);
  const char32_t offset = code_point - run.first;
  if (code_point > run.last || offset % static_cast<char32_t>(run.step) != 0) return code_point;
  return code_point + static_cast<char32_t>(run.distance);
}

void Lowercase(TextEdit& edit) {
  const std::string_view text = edit.source();
  const auto* const data = reinterpret_cast<const unsigned char*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    if (data[at] < 0x80) {
      at = SkipLowerWords(text, at);
      const std::size_t end = SkipAscii(text, at);
      bool has_upper = false;
      for (std::size_t i = at; i < end; ++i) has_upper |= IsAsciiUpper(data[i]);
      if (has_upper) {
        char* const copy = edit.CopyToChange(at, end);
        for (std::size_t i = 0; i < end - at; ++i) {
          const auto c = static_cast<unsigned char>(copy[i]);
          copy[i] = static_cast<char>(IsAsciiUpper(c) ? c + ('a' - 'A') : c);
        }
      }
      at = end;
      continue;
    }
    const CodePoint c = DecodeUtf8(data + at);
    if ((PropertiesOf(c.value).flags & kHasLower) != 0) {
      char lower[8];
      std::size_t size = EncodeUtf8(FirstOfLowercase(c.value), lower);
      if (c.value == 0x130) size += EncodeUtf8(0x307, lower + size);
      edit.Replace(at, at + c.size_bytes, {lower, size});
    }
    at += c.size_bytes;
  }
}

}  // namespace ctx::tokenize
