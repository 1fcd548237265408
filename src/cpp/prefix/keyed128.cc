#include "prefix/keyed128.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "common/sha256.h"

namespace ctx::prefix {
namespace {

using Wide = unsigned __int128;
constexpr Wide kPrime = (Wide{1} << 127) - 1;
constexpr std::uint64_t kTokens = 1, kExtra = 2;  // kinds of records
constexpr char kExpansionLabel[] = "ctxengine keyed128";

/// x mod p for any x < 2^128: 2^127 = 1 (mod p).
constexpr Wide Reduce(Wide x) {
  x = (x & kPrime) + (x >> 127);
  return x >= kPrime ? x - kPrime : x;
}

/// a * b mod p for a, b < p, from four 64 x 64 -> 128 products.
Wide MulMod(Wide a, Wide b) {
  const auto a0 = static_cast<std::uint64_t>(a), a1 = static_cast<std::uint64_t>(a >> 64);
  const auto b0 = static_cast<std::uint64_t>(b), b1 = static_cast<std::uint64_t>(b >> 64);
  const Wide low = Wide{a0} * b0;
  const Wide middle = Wide{a0} * b1 + Wide{a1} * b0 + (low >> 64);  // < 2^128: a1, b1 < 2^63
  const Wide high = Wide{a1} * b1 + (middle >> 64);                 // < 2^126
  const Wide bottom = (middle << 64) | static_cast<std::uint64_t>(low);
  return Reduce(Reduce(bottom) + 2 * high);  // a * b = high * 2^128 + bottom, and 2^128 = 2 (mod p)
}

Wide ToWide(Digest128 digest) { return Wide{digest.high} << 64 | digest.low; }

}  // namespace

Keyed128::Keyed128(std::span<const std::uint8_t, kSeedSize> seed) noexcept {
  // Digest i of the expansion covers label, seed and i: lane 0, lane 1, then r.
  std::uint8_t message[sizeof(kExpansionLabel) - 1 + kSeedSize + 4];
  std::memcpy(message, kExpansionLabel, sizeof(kExpansionLabel) - 1);
  std::memcpy(message + sizeof(kExpansionLabel) - 1, seed.data(), kSeedSize);
  std::uint32_t counter = 0;
  const auto next_digest = [&] {
    for (int i = 0; i < 4; ++i) {
      message[sizeof(message) - 4 + i] = static_cast<std::uint8_t>(counter >> (8 * i));
    }
    ++counter;
    return Sha256(message);
  };
  const auto word = [](const Sha256Digest& digest, std::size_t i) {
    return static_cast<std::uint32_t>(digest[4 * i] | digest[4 * i + 1] << 8 |
                                      digest[4 * i + 2] << 16) |
           static_cast<std::uint32_t>(digest[4 * i + 3]) << 24;
  };
  for (auto* lane : {&nh_key0_, &nh_key1_}) {
    for (std::size_t i = 0; i < kChunkWords; i += 8) {
      const Sha256Digest digest = next_digest();
      for (std::size_t j = 0; j < 8; ++j) (*lane)[i + j] = word(digest, j);
    }
  }
  const Sha256Digest digest = next_digest();
  for (std::size_t j = 4; j-- > 0;) r_ = r_ << 32 | word(digest, j);
  r_ = Reduce(r_ & kPrime);
  if (r_ == 0) r_ = 1;
}

const Keyed128& Keyed128::Process() {
  static const Keyed128 key = [] {
    std::array<std::uint8_t, kSeedSize> seed;
    if (getentropy(seed.data(), seed.size()) != 0) {
      throw Error("keyed128: the operating system gave no random bytes for the key");
    }
    return Keyed128(seed);
  }();
  return key;
}

Keyed128::Wide Keyed128::Nh(std::span<const std::uint32_t> words) const noexcept {
  std::uint64_t lane0 = 0, lane1 = 0;
  const std::size_t num_even = words.size() & ~std::size_t{1};
  for (std::size_t i = 0; i < num_even; i += 2) {
    lane0 += std::uint64_t{words[i] + nh_key0_[i]} * (words[i + 1] + nh_key0_[i + 1]);
    lane1 += std::uint64_t{words[i] + nh_key1_[i]} * (words[i + 1] + nh_key1_[i + 1]);
  }
  if (num_even < words.size()) {
    lane0 += std::uint64_t{words[num_even] + nh_key0_[num_even]} * nh_key0_[num_even + 1];
    lane1 += std::uint64_t{words[num_even] + nh_key1_[num_even]} * nh_key1_[num_even + 1];
  }
  return Wide{lane1} << 64 | lane0;
}

Keyed128::Wide Keyed128::Record(Wide h, std::uint64_t kind, std::uint64_t length,
                                std::span<const std::uint32_t> words) const noexcept {
  h = MulMod(Reduce(h + (Wide{kind} << 64 | length)), r_);
  while (!words.empty()) {
    const auto chunk = words.first(std::min(words.size(), kChunkWords));
    h = MulMod(Reduce(h + Reduce(Nh(chunk))), r_);
    words = words.subspan(chunk.size());
  }
  return h;
}

Keyed128::Wide Keyed128::ExtraRecord(Wide h, std::string_view extra) const noexcept {
  h = MulMod(Reduce(h + (Wide{kExtra} << 64 | extra.size())), r_);
  while (!extra.empty()) {
    const std::string_view chunk = extra.substr(0, 4 * kChunkWords);
    std::array<std::uint32_t, kChunkWords> words{};
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      words[i / 4] |= std::uint32_t{static_cast<std::uint8_t>(chunk[i])} << (8 * (i % 4));
    }
    h = MulMod(Reduce(h + Reduce(Nh({words.data(), (chunk.size() + 3) / 4}))), r_);
    extra.remove_prefix(chunk.size());
  }
  return h;
}

Digest128 Keyed128::Block(Digest128 parent, std::span<const TokenId> token_ids,
                          std::string_view extra) const noexcept {
  Wide h = ToWide(parent);
  if (!extra.empty()) h = ExtraRecord(h, extra);
  h = Record(h, kTokens, token_ids.size(), token_ids);
  return {static_cast<std::uint64_t>(h >> 64), static_cast<std::uint64_t>(h)};
}

bool IsCanonical(Digest128 digest) noexcept { return ToWide(digest) < kPrime; }

}  // namespace ctx::prefix
