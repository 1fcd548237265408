// Writing new keys and values into the pool: token i goes to slots[i].
//
// An entry is made of tiles; a tile is a run of elements that share a scale. Kinds:
//   copy       two bytes an element, as they are
//   e4m3       one byte an element, of value / scale; the scale is given, for all heads or for each
//   int8       one byte, of value / scale; the scale is max |value| / 127 of the head, and stored
//   tile e4m3  one byte, of value / scale; the scale is max |value| / 448 of the tile, and stored
//
// K and V are two parts; so are the latent and the rotary part of an MLA entry, which lie one after
// the other. A slot below 0 is padding; one outside the pool is skipped and counted.
#pragma once

#include "cuda/stride_algebra.h"

namespace ctx::cuda {

inline constexpr Int32 kMaxParts = 2;
inline constexpr Uint32 kLanesPerTile = 16;  // threads that work on one tile

enum class EntryKind : Int32 { kCopy, kE4m3, kInt8, kTileE4m3 };

/// Strides in bytes. The elements of a head lie together, in the source and in the entry.
struct KVPart {
  EntryKind kind;
  const unsigned char* source;  ///< [num_tokens, num_heads, num_tiles * tile_size] of 16 bits
  Int64 source_token_stride;
  Int64 source_head_stride;
  unsigned char* target;      ///< the part of block 0, token 0, head 0
  Uint32 tile_size;           ///< elements
  Divisor num_tiles;          ///< of one head
  const float* scales;        ///< e4m3
  Int64 scale_stride;         ///< from head to head; 0: one scale
  unsigned char* scales_out;  ///< int8, tile e4m3: the first scale of block 0, token 0, head 0
  Int64 scale_block_stride, scale_token_stride, scale_head_stride;
};

struct KVWriteArgs {
  KVPart parts[kMaxParts];
  Divisor tiles_per_token;
  Uint32 tiles_of_first_part;  ///< heads * tiles
  Uint32 num_tiles;            ///< num_tokens * tiles_per_token, below 2^31
  Int32 is_bfloat16;           ///< else float16
  Int32 finds_maximum;         ///< a part is int8 or tile e4m3
  const Int64* slots;          ///< [num_tokens]
  Int64 slots_stride;          ///< in elements
  Int64 num_tokens;
  Int64 num_slots;  ///< of the pool
  Int64 block_size;
  Int64 block_stride, token_stride, head_stride;  ///< of the target
  Int32* num_skipped;                             ///< null: not counted
};

union FloatBits {
  Uint32 bits;
  float value;
};

CTX_HOST_DEVICE inline Uint32 BitsOf(float value) {
  FloatBits both;
  both.value = value;
  return both.bits;
}

CTX_HOST_DEVICE inline float FloatOf(Uint32 bits) {
  FloatBits both;
  both.bits = bits;
  return both.value;
}

CTX_HOST_DEVICE inline float FromBfloat16(unsigned short bits) {
  return FloatOf(static_cast<Uint32>(bits) << 16);
}

/// Exact for every input, subnormals, infinities and NaN included.
CTX_HOST_DEVICE inline float FromFloat16(unsigned short half) {
  const Uint32 sign = static_cast<Uint32>(half & 0x8000u) << 16;
  const Uint32 rest = static_cast<Uint32>(half & 0x7fffu) << 13;
  if (rest >= 0x7c00u << 13) return FloatOf(sign | rest | 0x7f800000u);
  // As a float of the same exponent bits, 2^112 too small; the product is exact.
  return FloatOf(sign | BitsOf(FloatOf(rest) * 0x1p112f));
}

/// The nearest e4m3 (finite-and-NaN variant), ties to even; what is larger than 448 becomes 448,
/// NaN stays NaN. Exact for every float.
CTX_HOST_DEVICE inline unsigned char ToE4m3(float value) {
  const Uint32 bits = BitsOf(value);
  const Uint32 sign = (bits >> 24) & 0x80u;
  Uint32 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<unsigned char>(sign | 0x7fu);
  if (magnitude > 0x43e00000u) magnitude = 0x43e00000u;  // 448
  if (magnitude < 0x3c800000u) {
    // Below 2^-6 steps are 2^-9, as those of a float at 2^14: adding rounds.
    const Uint32 steps = BitsOf(FloatOf(magnitude) + 16384.0f) - 0x46800000u;
    return static_cast<unsigned char>(sign | steps);
  }
  // Round 23 bits of fraction to 3, then move the exponent's bias from 127 to 7.
  const Uint32 rounded = (magnitude + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
  return static_cast<unsigned char>(sign | (rounded - (120u << 3)));
}

/// The nearest int8 to `value`, ties to even, within -127 .. 127; 0 for NaN.
CTX_HOST_DEVICE inline unsigned char ToInt8(float value) {
  if (value != value) return 0;
  const float limited = value > 127.0f ? 127.0f : value < -127.0f ? -127.0f : value;
  // Adding 1.5 * 2^23 rounds to an integer, which the low bits then hold.
  return static_cast<unsigned char>(BitsOf(limited + 12582912.0f) & 0xffu);
}

CTX_HOST_DEVICE inline float ValueOf(const KVWriteArgs& args, unsigned short element) {
  return args.is_bfloat16 != 0 ? FromBfloat16(element) : FromFloat16(element);
}

/// The larger magnitude; a NaN is passed over.
CTX_HOST_DEVICE inline float Larger(float maximum, float value) {
  const float magnitude = FloatOf(BitsOf(value) & 0x7fffffffu);
  return magnitude > maximum ? magnitude : maximum;
}

/// The scale of a tile whose largest magnitude is `maximum`; never 0, so that it has an inverse.
CTX_HOST_DEVICE inline float ScaleOf(EntryKind kind, float maximum) {
  const float scale = maximum / (kind == EntryKind::kInt8 ? 127.0f : 448.0f);
  return scale > 0x1p-126f ? scale : 0x1p-126f;
}

CTX_HOST_DEVICE inline unsigned char ToByte(EntryKind kind, float value, float inverse) {
  return kind == EntryKind::kInt8 ? ToInt8(value * inverse) : ToE4m3(value * inverse);
}

/// One tile of one token: where it is read and written. `target` is null when it is not written.
struct TilePlace {
  const KVPart* part;
  const unsigned char* source;
  unsigned char* target;
  const float* scale;  ///< e4m3
  float* scale_out;    ///< int8, tile e4m3
  bool counts;         ///< the first tile of a token whose slot is outside
};

CTX_HOST_DEVICE inline TilePlace PlaceOf(const KVWriteArgs& args, Uint32 tile) {
  const Uint32 token = args.tiles_per_token.Quotient(tile);
  Uint32 rest = tile - token * args.tiles_per_token.divisor;
  const Int64 slot = args.slots[token * args.slots_stride];
  TilePlace place{};
  place.counts = rest == 0 && slot >= args.num_slots;
  const bool second = rest >= args.tiles_of_first_part;
  if (second) rest -= args.tiles_of_first_part;
  const KVPart& part = args.parts[second ? 1 : 0];
  place.part = &part;
  if (slot < 0 || slot >= args.num_slots) return place;
  const Uint32 head = part.num_tiles.Quotient(rest);
  const Int64 in_head = rest - head * part.num_tiles.divisor;
  const Int64 block = slot / args.block_size;
  const Int64 in_block = slot - block * args.block_size;
  const Int64 first = in_head * part.tile_size;
  place.source =
      part.source + token * part.source_token_stride + head * part.source_head_stride + 2 * first;
  place.target = part.target + block * args.block_stride + in_block * args.token_stride +
                 head * args.head_stride + (part.kind == EntryKind::kCopy ? 2 * first : first);
  if (part.kind == EntryKind::kE4m3) place.scale = part.scales + head * part.scale_stride;
  if (part.scales_out != nullptr) {
    place.scale_out = reinterpret_cast<float*>(part.scales_out + block * part.scale_block_stride +
                                               in_block * part.scale_token_stride +
                                               head * part.scale_head_stride + 4 * in_head);
  }
  return place;
}

}  // namespace ctx::cuda
