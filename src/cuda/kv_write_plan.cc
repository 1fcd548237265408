#include "cuda/kv_write_plan.h"

#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::cuda {
namespace {

constexpr Int64 kMaxCount = Int64{1} << 31;
constexpr Int64 kMlaTile = 128;

EntryKind KindOf(KVFormat format, bool second_of_mla) {
  switch (format) {
    case KVFormat::kCopy:
      return EntryKind::kCopy;
    case KVFormat::kE4m3:
      return EntryKind::kE4m3;
    case KVFormat::kInt8:
      return EntryKind::kInt8;
    case KVFormat::kTileE4m3:
      return second_of_mla ? EntryKind::kCopy : EntryKind::kTileE4m3;
  }
  return EntryKind::kCopy;
}

/// Bytes that `num_elements` take in an entry, their scales included.
Int64 StoredBytes(EntryKind kind, Int64 num_elements) {
  switch (kind) {
    case EntryKind::kCopy:
      return 2 * num_elements;
    case EntryKind::kTileE4m3:
      return num_elements + 4 * (num_elements / kMlaTile);
    default:
      return num_elements;
  }
}

bool Divides(Int64 divisor, std::initializer_list<Int64> numbers) {
  for (const Int64 number : numbers) {
    if (number % divisor != 0) return false;
  }
  return true;
}

Int64 AddressOf(const void* pointer) {
  return static_cast<Int64>(reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace

KVWriteArgs PlanKVWrite(const KVWriteCall& call) {
  const KVLayout& layout = call.pool.layout();
  const bool mla = layout.num_kv == 1 && call.inputs.size() == 2;
  if (call.layer < 0 || call.layer >= layout.num_layers) {
    throw ArgumentError(StrCat("layer = ", call.layer, " of a pool with ", layout.num_layers));
  }
  if (!mla && static_cast<Int64>(call.inputs.size()) != layout.num_kv) {
    throw ArgumentError(
        StrCat(call.inputs.size(), " inputs for a pool with ", layout.num_kv, " KV"));
  }
  KVWriteArgs args{};
  Int64 tiles_per_token = 0;
  Int64 entry_bytes = 0;
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    const KVInput& input = call.inputs[i];
    KVPart& part = args.parts[i];
    part.kind = KindOf(call.format, mla && i == 1);
    const Int64 kv = mla ? 0 : static_cast<Int64>(i);
    const Int64 before = mla ? entry_bytes : 0;
    entry_bytes = before + StoredBytes(part.kind, input.head_size);
    if (input.num_heads != layout.num_heads) {
      throw ArgumentError(
          StrCat("the input has ", input.num_heads, " heads, the pool ", layout.num_heads));
    }
    if (!mla && entry_bytes != layout.entry_bytes) {
      throw ArgumentError(StrCat("a head of ", input.head_size, " elements takes ", entry_bytes,
                                 " bytes, the pool's entries have ", layout.entry_bytes));
    }
    const bool tiled = part.kind == EntryKind::kTileE4m3;
    if (tiled && input.head_size % kMlaTile != 0) {
      throw ArgumentError(StrCat("the latent part has ", input.head_size,
                                 " elements, not a multiple of ", kMlaTile));
    }
    const Int64 num_tiles = tiled ? input.head_size / kMlaTile : 1;
    part.tile_size = static_cast<Uint32>(input.head_size / num_tiles);
    part.num_tiles = Divisor::Of(num_tiles);
    part.source = input.address;
    part.source_token_stride = input.token_stride;
    part.source_head_stride = input.head_stride;
    part.target = call.pool.base() + (call.pool.Offset(call.layer, kv) + before);
    part.scales = input.scales;
    part.scale_stride = input.scale_stride;
    if (tiled) {
      part.scales_out = part.target + input.head_size;
      part.scale_block_stride = layout.block_stride;
      part.scale_token_stride = layout.token_stride;
      part.scale_head_stride = layout.head_stride;
    } else if (part.kind == EntryKind::kInt8) {
      part.scales_out = input.scales_out;
      part.scale_block_stride = input.scale_block_stride;
      part.scale_token_stride = input.scale_token_stride;
      part.scale_head_stride = input.scale_head_stride;
    }
    if (part.scales_out != nullptr) {
      args.finds_maximum = 1;
      if (!Divides(4, {AddressOf(part.scales_out), part.scale_block_stride, part.scale_token_stride,
                       part.scale_head_stride})) {
        throw ArgumentError("the scales in the pool are not aligned to 4 bytes");
      }
    }
    if (part.kind == EntryKind::kCopy && !Divides(2, {AddressOf(part.target), layout.block_stride,
                                                      layout.token_stride, layout.head_stride})) {
      throw ArgumentError("the pool's entries are not aligned to 2 bytes");
    }
    tiles_per_token += input.num_heads * num_tiles;
    if (i == 0) args.tiles_of_first_part = static_cast<Uint32>(tiles_per_token);
  }
  if (mla && entry_bytes != layout.entry_bytes) {
    throw ArgumentError(StrCat("the two parts take ", entry_bytes,
                               " bytes, the pool's entries have ", layout.entry_bytes));
  }
  Int64 num_tiles;
  if (__builtin_mul_overflow(call.num_tokens, tiles_per_token, &num_tiles) ||
      num_tiles >= kMaxCount - (Int64{1} << 20)) {
    throw ArgumentError(StrCat(call.num_tokens, " tokens are too much for one launch"));
  }
  args.tiles_per_token = Divisor::Of(tiles_per_token);
  args.num_tiles = static_cast<Uint32>(num_tiles);
  args.is_bfloat16 = call.is_bfloat16 ? 1 : 0;
  args.slots = call.slots;
  args.slots_stride = call.slots_stride;
  args.num_tokens = call.num_tokens;
  args.num_slots = layout.num_blocks * layout.block_size;
  args.block_size = layout.block_size;
  args.block_stride = layout.block_stride;
  args.token_stride = layout.token_stride;
  args.head_stride = layout.head_stride;
  args.num_skipped = call.num_skipped;
  return args;
}

Int32 ElementsPerVector(const KVWriteArgs& args) {
  for (const KVPart& part : args.parts) {
    if (part.target == nullptr) continue;
    const Int64 stored = part.kind == EntryKind::kCopy ? 16 : 8;
    if (part.tile_size % 8 != 0 ||
        !Divides(16, {AddressOf(part.source), part.source_token_stride, part.source_head_stride}) ||
        !Divides(stored, {AddressOf(part.target), args.block_stride, args.token_stride,
                          args.head_stride})) {
      return 1;
    }
  }
  return 8;
}

void KVWriteOnHost(const KVWriteArgs& args) {
  for (Int64 token = 0; token < args.num_tokens; ++token) {
    const Int64 slot = args.slots[token * args.slots_stride];
    if (slot >= args.num_slots) {
      throw ArgumentError(
          StrCat("slots[", token, "] = ", slot, ", but the pool has ", args.num_slots, " slots"));
    }
  }
  for (Int64 token = 0; token < args.num_tokens; ++token) {
    const Int64 slot = args.slots[token * args.slots_stride];
    if (slot < 0) continue;
    const Int64 block = slot / args.block_size;
    const Int64 in_block = slot % args.block_size;
    Int64 end = 0;
    for (const KVPart& part : args.parts) {
      const Int64 begin = end;
      end = &part == args.parts ? args.tiles_of_first_part : args.tiles_per_token.divisor;
      if (part.target == nullptr) continue;
      const Int64 num_tiles = part.num_tiles.divisor;
      for (Int64 head = 0; head < (end - begin) / num_tiles; ++head) {
        const unsigned char* source =
            part.source + (token * part.source_token_stride + head * part.source_head_stride);
        unsigned char* target =
            part.target +
            (block * args.block_stride + in_block * args.token_stride + head * args.head_stride);
        for (Int64 tile = 0; tile < num_tiles; ++tile) {
          if (part.kind == EntryKind::kCopy) {
            std::memcpy(target, source, std::size_t{2} * part.tile_size);
          } else {
            const auto* const elements = reinterpret_cast<const unsigned short*>(source);
            float scale;
            if (part.kind == EntryKind::kE4m3) {
              scale = part.scales[head * part.scale_stride];
            } else {
              float maximum = 0.0f;
              for (Uint32 i = 0; i < part.tile_size; ++i) {
                maximum = Larger(maximum, ValueOf(args, elements[i]));
              }
              scale = ScaleOf(part.kind, maximum);
              std::memcpy(part.scales_out + (block * part.scale_block_stride +
                                             in_block * part.scale_token_stride +
                                             head * part.scale_head_stride + 4 * tile),
                          &scale, sizeof scale);
            }
            const float inverse = 1.0f / scale;
            for (Uint32 i = 0; i < part.tile_size; ++i) {
              target[i] = ToByte(part.kind, ValueOf(args, elements[i]), inverse);
            }
            target += part.tile_size;
          }
          source += std::size_t{2} * part.tile_size;
        }
      }
    }
  }
}

}  // namespace ctx::cuda
