#include "common/sha256.h"

#include <bit>
#include <cstring>

#include "common/isa.h"
#include "common/sha256_internal.h"

namespace ctx {
namespace internal {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
const std::array<std::uint32_t, 64> kSha256Constants = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The first 32 bits of the fractional parts of the square roots of the first 8 primes.
const std::array<std::uint32_t, 8> kSha256Initial = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

}  // namespace internal
namespace {

static_assert(std::endian::native == std::endian::little);

std::uint32_t LoadBigEndian(const std::uint8_t* bytes) {
  std::uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return __builtin_bswap32(word);
}

void StoreBigEndian(std::uint32_t word, std::uint8_t* bytes) {
  word = __builtin_bswap32(word);
  std::memcpy(bytes, &word, sizeof(word));
}

/// Pads the `rest` bytes at `tail` that end a message of `size` bytes: the bit 1, zeros, and the
/// length in bits. Returns the number of blocks at `tail`.
std::size_t PadTail(std::uint8_t* tail, std::size_t rest, std::size_t size) noexcept {
  std::memset(tail + rest, 0, kSha256MaxPadding);
  tail[rest] = 0x80;
  const std::size_t num_blocks = (rest + 9 + 63) / 64;
  const std::uint64_t num_bits = std::uint64_t{size} * 8;
  StoreBigEndian(static_cast<std::uint32_t>(num_bits >> 32), tail + 64 * num_blocks - 8);
  StoreBigEndian(static_cast<std::uint32_t>(num_bits), tail + 64 * num_blocks - 4);
  return num_blocks;
}

void CompressPortable(std::uint32_t* state, const std::uint8_t* blocks, std::size_t num_blocks) {
  for (; num_blocks > 0; --num_blocks, blocks += 64) {
    std::uint32_t schedule[64];
    for (int t = 0; t < 16; ++t) schedule[t] = LoadBigEndian(blocks + 4 * t);
    for (int t = 16; t < 64; ++t) {
      const std::uint32_t before2 = schedule[t - 2];
      const std::uint32_t before15 = schedule[t - 15];
      const std::uint32_t sigma1 =
          std::rotr(before2, 17) ^ std::rotr(before2, 19) ^ (before2 >> 10);
      const std::uint32_t sigma0 =
          std::rotr(before15, 7) ^ std::rotr(before15, 18) ^ (before15 >> 3);
      schedule[t] = sigma1 + schedule[t - 7] + sigma0 + schedule[t - 16];
    }
    std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (std::size_t t = 0; t < 64; ++t) {
      const std::uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const std::uint32_t choose = (e & f) ^ (~e & g);
      const std::uint32_t t1 = h + sum1 + choose + internal::kSha256Constants[t] + schedule[t];
      const std::uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const std::uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
      h = g, g = f, f = e, e = d + t1;
      d = c, c = b, b = a, a = t1 + sum0 + majority;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
}

void AppendPortable(const Sha256Link& link, Sha256Words* chain) {
  std::uint8_t first[64];
  std::memcpy(first, link.message, sizeof(first));
  StoreDigest(*chain, first + link.offset);
  chain->words = internal::kSha256Initial;
  CompressPortable(chain->words.data(), first, 1);
  CompressPortable(chain->words.data(), link.message + 64, link.num_blocks - 1);
}

void AppendTwoPortable(const Sha256Link (&links)[2], Sha256Words (&chains)[2]) {
  for (int i = 0; i < 2; ++i) AppendPortable(links[i], &chains[i]);
}

constexpr internal::Sha256Functions kPortableFunctions = {CompressPortable, AppendPortable,
                                                          AppendTwoPortable};

const internal::Sha256Functions& FunctionsOf(Sha256Implementation implementation) noexcept {
  return implementation == Sha256Implementation::kShaNi ? *internal::ShaNiFunctions()
                                                        : kPortableFunctions;
}

const internal::Sha256Functions& Functions() noexcept {
  static const internal::Sha256Functions& functions = [&]() -> const auto& {
    const bool lowered = BestIsa() == Isa::kPortable && DetectIsa() != Isa::kPortable;
    const bool has_sha_ni = IsSupported(Sha256Implementation::kShaNi);
    return FunctionsOf(has_sha_ni && !lowered ? Sha256Implementation::kShaNi
                                              : Sha256Implementation::kPortable);
  }();
  return functions;
}

Sha256Digest HashWith(const internal::Sha256Functions& functions,
                      std::span<const std::uint8_t> message) noexcept {
  auto state = internal::kSha256Initial;
  const std::size_t num_whole = message.size() / 64;
  if (num_whole > 0) functions.compress(state.data(), message.data(), num_whole);

  std::uint8_t tail[64 + kSha256MaxPadding];
  const std::size_t rest = message.size() % 64;
  if (rest > 0) std::memcpy(tail, message.data() + 64 * num_whole, rest);
  functions.compress(state.data(), tail, PadTail(tail, rest, message.size()));

  Sha256Digest digest;
  StoreDigest({state}, digest.data());
  return digest;
}

}  // namespace

Sha256Words WordsOf(std::span<const std::uint8_t, 32> digest) noexcept {
  Sha256Words words;
  for (std::size_t i = 0; i < 8; ++i) words.words[i] = LoadBigEndian(digest.data() + 4 * i);
  return words;
}

void StoreDigest(const Sha256Words& words, std::uint8_t* digest) noexcept {
  for (std::size_t i = 0; i < 8; ++i) StoreBigEndian(words.words[i], digest + 4 * i);
}

std::size_t Sha256Pad(std::uint8_t* message, std::size_t size) noexcept {
  return PadTail(message, size, size);
}

Sha256Digest Sha256(std::span<const std::uint8_t> message) noexcept {
  return HashWith(Functions(), message);
}

void Sha256Append(const Sha256Link& link, Sha256Words* chain) noexcept {
  Functions().append(link, chain);
}

void Sha256AppendTwo(const Sha256Link (&links)[2], Sha256Words (&chains)[2]) noexcept {
  Functions().append_two(links, chains);
}

bool IsSupported(Sha256Implementation implementation) noexcept {
  return implementation == Sha256Implementation::kPortable || internal::ShaNiFunctions() != nullptr;
}

Sha256Digest Sha256(std::span<const std::uint8_t> message,
                    Sha256Implementation implementation) noexcept {
  return HashWith(FunctionsOf(implementation), message);
}

void Sha256Append(const Sha256Link& link, Sha256Words* chain,
                  Sha256Implementation implementation) noexcept {
  FunctionsOf(implementation).append(link, chain);
}

void Sha256AppendTwo(const Sha256Link (&links)[2], Sha256Words (&chains)[2],
                     Sha256Implementation implementation) noexcept {
  FunctionsOf(implementation).append_two(links, chains);
}

}  // namespace ctx
