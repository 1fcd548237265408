#include "cuda/block_copy_plan.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::cuda {
namespace {

constexpr Int64 kMaxCount = Int64{1} << 31;

void CheckSameShape(const KVLayout& source, const KVLayout& target) {
  const std::pair<const char*, std::pair<Int64, Int64>> sizes[] = {
      {"num_layers", {source.num_layers, target.num_layers}},
      {"num_kv", {source.num_kv, target.num_kv}},
      {"block_size", {source.block_size, target.block_size}},
      {"num_heads", {source.num_heads, target.num_heads}},
      {"entry_bytes", {source.entry_bytes, target.entry_bytes}}};
  for (const auto& [name, values] : sizes) {
    if (values.first != values.second) {
      throw ArgumentError(
          StrCat("the source has ", name, " = ", values.first, ", the target ", values.second));
    }
  }
}

bool SamePool(const Pool& a, const Pool& b) {
  return a.base() == b.base() && a.layout() == b.layout() && a.num_split() == b.num_split();
}

void CheckApart(const Pool& source, const Pool& target) {
  if (!SamePool(source, target) && source.Overlaps(target)) {
    throw ArgumentError("the memory of the source and of the target overlap");
  }
}

/// The step of `values` when they are 0, step, 2 * step, ...; else -1.
template <typename Get>
Int64 StepOf(const std::vector<Offsets>& tensors, Get get) {
  const Int64 step = tensors.size() > 1 ? get(tensors[1]) : 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (get(tensors[t]) != static_cast<Int64>(t) * step) return -1;
  }
  return step;
}

/// Fills where the tensors of `side` are; `next` is the first free entry of args.tensor_offsets.
template <typename Get>
void SetTensors(const std::vector<Offsets>& tensors, Get get, BlockSide& side, Int64& next,
                BlockCopyArgs& args) {
  side.tensor_stride = StepOf(tensors, get);
  side.first_offset = -1;
  if (side.tensor_stride >= 0) return;
  side.first_offset = next;
  if (next + static_cast<Int64>(tensors.size()) > kMaxTensorOffsets) {
    throw ArgumentError(StrCat("the pools have more than ", kMaxTensorOffsets,
                               " tensors that lie anywhere, too many for one launch"));
  }
  for (const Offsets& offsets : tensors) args.tensor_offsets[next++] = get(offsets);
}

struct Item {
  Int64 index;
  Int32 source;
  Int32 target;
};

[[noreturn]] void ThrowOutside(const BlockIds& blocks, Int64 i, Int32 block, Int64 num_blocks) {
  throw ArgumentError(StrCat(blocks.name, "[", i, blocks.suffix, "] = ", block,
                             ", but the pool has ", num_blocks, " blocks"));
}

Int32 CheckedBlock(const BlockIds& blocks, Int64 i, Int64 num_blocks) {
  const Int64 block = blocks.ids == nullptr ? i : blocks.ids[i * blocks.stride];
  if (block < -1 || block >= num_blocks) {
    ThrowOutside(blocks, i, static_cast<Int32>(block), num_blocks);
  }
  return static_cast<Int32>(block);
}

/// The items that move something, checked, in the order of the call.
std::vector<Item> CheckedItems(const BlockCopyCall& call) {
  std::vector<Item> items;
  for (Int64 i = 0; i < call.num_items; ++i) {
    const Int32 source = CheckedBlock(call.source_blocks, i, call.source.layout().num_blocks);
    const Int32 target = CheckedBlock(call.target_blocks, i, call.target.layout().num_blocks);
    if (source >= 0 && target >= 0) items.push_back({i, source, target});
  }
  std::vector<Item> by_target = items;
  std::sort(by_target.begin(), by_target.end(), [](const Item& a, const Item& b) {
    return std::pair(a.target, a.index) < std::pair(b.target, b.index);
  });
  const BlockIds& targets = call.target_blocks;
  for (std::size_t i = 1; i < by_target.size(); ++i) {
    const Item& first = by_target[i - 1];
    const Item& second = by_target[i];
    if (first.target == second.target) {
      throw ArgumentError(StrCat("block ", first.target, " is written twice: ", targets.name, "[",
                                 first.index, targets.suffix, "] and ", targets.name, "[",
                                 second.index, targets.suffix, "]"));
    }
  }
  if (!SamePool(call.source, call.target)) return items;
  for (const Item& item : items) {
    const auto found =
        std::lower_bound(by_target.begin(), by_target.end(), item.source,
                         [](const Item& other, Int32 block) { return other.target < block; });
    if (found != by_target.end() && found->target == item.source) {
      throw ArgumentError(StrCat("block ", item.source,
                                 " is read and written: ", call.source_blocks.name, "[", item.index,
                                 call.source_blocks.suffix, "] and ", targets.name, "[",
                                 found->index, targets.suffix, "]"));
    }
  }
  return items;
}

void Move(const Movement& movement, int depth, const unsigned char* source, unsigned char* target) {
  if (depth == movement.num_dimensions) {
    std::memcpy(target, source, static_cast<std::size_t>(movement.run_bytes));
    return;
  }
  const Dimension& dimension = movement.dimensions[depth];
  for (Int64 i = 0; i < dimension.extent; ++i) {
    Move(movement, depth + 1, source + i * dimension.source_stride,
         target + i * dimension.target_stride);
  }
}

}  // namespace

BlockMovement MovementOf(const Pool& source, const Pool& target) {
  const KVLayout& from = source.layout();
  const KVLayout& to = target.layout();
  CheckSameShape(from, to);
  const int num_split = std::max(source.num_split(), target.num_split());
  BlockMovement result;
  for (Int64 layer = 0; layer < (num_split > 0 ? from.num_layers : 1); ++layer) {
    for (Int64 kv = 0; kv < (num_split > 1 ? from.num_kv : 1); ++kv) {
      result.tensors.push_back({source.Offset(layer, kv), target.Offset(layer, kv)});
    }
  }
  Uint64 alignment = static_cast<Uint64>(from.block_stride | to.block_stride) |
                     reinterpret_cast<std::uintptr_t>(source.base()) |
                     reinterpret_cast<std::uintptr_t>(target.base());
  for (const Offsets& offsets : result.tensors) {
    alignment |= static_cast<Uint64>(offsets.source | offsets.target);
  }
  const Dimension dimensions[kMaxDimensions] = {
      {from.num_heads, from.head_stride, to.head_stride},
      {from.block_size, from.token_stride, to.token_stride},
      {from.num_kv, from.kv_stride, to.kv_stride},
      {from.num_layers, from.layer_stride, to.layer_stride}};
  result.movement = Merge(dimensions, kMaxDimensions - num_split, from.entry_bytes, alignment);
  return result;
}

BlockCopyArgs PlanBlockCopy(const BlockCopyCall& call, unsigned threads_per_block) {
  CheckApart(call.source, call.target);
  const BlockMovement block = MovementOf(call.source, call.target);
  const Movement& movement = block.movement;
  BlockCopyArgs args{};
  Int64 num_vectors = movement.run_bytes / movement.vector_bytes;
  bool too_large = num_vectors >= kMaxCount;
  const auto multiply = [&](Int64 factor) {
    too_large = too_large || __builtin_mul_overflow(num_vectors, factor, &num_vectors);
  };
  if (!too_large) args.vectors_per_run = Divisor::Of(num_vectors);
  args.num_dimensions = movement.num_dimensions;
  for (Int32 d = 0; d < movement.num_dimensions; ++d) {
    const Dimension& dimension = movement.dimensions[d];
    multiply(dimension.extent);
    if (dimension.extent >= kMaxCount) too_large = true;
    if (too_large) break;
    args.extents[d] = Divisor::Of(dimension.extent);
    args.source_strides[d] = dimension.source_stride;
    args.target_strides[d] = dimension.target_stride;
  }
  multiply(static_cast<Int64>(block.tensors.size()));
  if (too_large || num_vectors >= kMaxCount) {
    throw ArgumentError(StrCat("a block is 2^31 vectors of ", movement.vector_bytes,
                               " bytes or more, too large for one launch"));
  }
  args.vectors_per_item = static_cast<Uint32>(num_vectors);
  const Int64 tile_vectors = Int64{threads_per_block} * kVectorsPerThread;
  const Int64 tiles_per_item = (num_vectors + tile_vectors - 1) / tile_vectors;
  if (call.num_items >= kMaxCount || call.num_items * tiles_per_item >= kMaxCount) {
    throw ArgumentError(StrCat(call.num_items, " blocks are too much for one launch"));
  }
  args.tiles_per_item = Divisor::Of(tiles_per_item);
  args.num_tiles = static_cast<Uint32>(call.num_items * tiles_per_item);
  args.num_items = call.num_items;
  args.vector_bytes = movement.vector_bytes;
  args.num_skipped = call.num_skipped;
  const auto side = [&](const Pool& pool, const BlockIds& blocks) {
    return BlockSide{pool.base(),
                     blocks.ids,
                     blocks.stride,
                     pool.layout().num_blocks,
                     pool.layout().block_stride,
                     0,
                     0};
  };
  args.source = side(call.source, call.source_blocks);
  args.target = side(call.target, call.target_blocks);
  Int64 next = 0;
  SetTensors(
      block.tensors, [](const Offsets& offsets) { return offsets.source; }, args.source, next,
      args);
  SetTensors(
      block.tensors, [](const Offsets& offsets) { return offsets.target; }, args.target, next,
      args);
  return args;
}

void CopyBlocksOnHost(const BlockCopyCall& call) {
  CheckApart(call.source, call.target);
  const BlockMovement block = MovementOf(call.source, call.target);
  for (const auto& [index, source, target] : CheckedItems(call)) {
    const Int64 from = source * call.source.layout().block_stride;
    const Int64 to = target * call.target.layout().block_stride;
    for (const Offsets& offsets : block.tensors) {
      Move(block.movement, 0, call.source.base() + (from + offsets.source),
           call.target.base() + (to + offsets.target));
    }
  }
}

}  // namespace ctx::cuda
