// SHA-256 (FIPS 180-4) of messages in memory: of one message, and of a chain of messages, each of
// which holds the digest of the one before it. Two implementations give the same digest: a portable
// one and one on the SHA extensions of x86. The first call picks: the faster one, unless
// CTXENGINE_ISA=portable.
//
// Any number of threads. O(size), no allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ctx {

using Sha256Digest = std::array<std::uint8_t, 32>;

/// The digest of `message` by the fastest implementation that this CPU runs.
Sha256Digest Sha256(std::span<const std::uint8_t> message) noexcept;

/// A digest as eight words, the first the most significant: what a chain carries on.
struct alignas(32) Sha256Words {
  std::array<std::uint32_t, 8> words;
};
Sha256Words WordsOf(std::span<const std::uint8_t, 32> digest) noexcept;
void StoreDigest(const Sha256Words& words, std::uint8_t* digest) noexcept;

/// A padded message: `num_blocks` blocks of 64 bytes with 32 zero bytes at `offset`, below 16,
/// where the digest of the message before it belongs.
struct Sha256Link {
  const std::uint8_t* message;
  std::size_t num_blocks;
  std::size_t offset;
};

/// Bytes that Sha256Pad() may write behind a message.
inline constexpr std::size_t kSha256MaxPadding = 80;

/// Pads the message of `size` bytes in place; returns its number of blocks.
std::size_t Sha256Pad(std::uint8_t* message, std::size_t size) noexcept;

/// Replaces `chain`, the digest that `link` continues, by the digest of the link. The chain never
/// leaves the registers on its way into the message, so that a loop of calls takes the time of the
/// rounds alone while the next message is being written.
void Sha256Append(const Sha256Link& link, Sha256Words* chain) noexcept;

/// Two chains at once, in the time of the longer link.
void Sha256AppendTwo(const Sha256Link (&links)[2], Sha256Words (&chains)[2]) noexcept;

/// The implementations behind these functions, so that tests can hold each to the same answers.
enum class Sha256Implementation : std::uint8_t { kPortable, kShaNi };
bool IsSupported(Sha256Implementation implementation) noexcept;
/// Requires IsSupported(implementation).
Sha256Digest Sha256(std::span<const std::uint8_t> message,
                    Sha256Implementation implementation) noexcept;
void Sha256Append(const Sha256Link& link, Sha256Words* chain,
                  Sha256Implementation implementation) noexcept;
void Sha256AppendTwo(const Sha256Link (&links)[2], Sha256Words (&chains)[2],
                     Sha256Implementation implementation) noexcept;

}  // namespace ctx
