#include "cuda/pool.h"

#include <algorithm>
#include <array>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::cuda {
namespace {

struct NamedDimension {
  const char* name;
  Int64 extent;
  Int64 stride;
};

void CheckSizes(const KVLayout& layout) {
  const std::array<std::pair<const char*, Int64>, 6> sizes = {
      {{"num_layers", layout.num_layers},
       {"num_kv", layout.num_kv},
       {"num_blocks", layout.num_blocks},
       {"block_size", layout.block_size},
       {"num_heads", layout.num_heads},
       {"entry_bytes", layout.entry_bytes}}};
  for (const auto& [name, size] : sizes) {
    if (size < 1) throw ArgumentError(StrCat(name, " = ", size, " is not 1 or more"));
  }
  if (layout.num_blocks > Int64{1} << 31) {
    throw ArgumentError(StrCat("num_blocks = ", layout.num_blocks, ", but block ids have 32 bits"));
  }
}

/// SpanBytes of the part of a layout that lies in one of its tensors.
Int64 SpanOf(const KVLayout& layout, int num_split) {
  CheckSizes(layout);
  std::array<NamedDimension, 5> dimensions = {
      {{"layer", num_split > 0 ? 1 : layout.num_layers, layout.layer_stride},
       {"kv", num_split > 1 ? 1 : layout.num_kv, layout.kv_stride},
       {"block", layout.num_blocks, layout.block_stride},
       {"token", layout.block_size, layout.token_stride},
       {"head", layout.num_heads, layout.head_stride}}};
  std::sort(dimensions.begin(), dimensions.end(),
            [](const auto& a, const auto& b) { return a.stride < b.stride; });
  Int64 span = layout.entry_bytes;
  for (const auto& [name, extent, stride] : dimensions) {
    if (extent == 1) continue;
    if (stride < span) {
      throw ArgumentError(StrCat("the ", name, " stride of ", stride,
                                 " bytes steps into the same memory again: what lies inside takes ",
                                 span));
    }
    Int64 steps;
    if (__builtin_mul_overflow(extent - 1, stride, &steps) || steps >= (Int64{1} << 62) - span) {
      throw ArgumentError("the layout spans 2^62 bytes or more");
    }
    span += steps;
  }
  return span;
}

}  // namespace

Int64 SpanBytes(const KVLayout& layout) { return SpanOf(layout, 0); }

KVLayout StagingLayout(const KVLayout& layout, Int64 num_blocks) {
  KVLayout staging = layout;
  staging.num_blocks = num_blocks;
  staging.head_stride = layout.entry_bytes;
  staging.token_stride = staging.head_stride * layout.num_heads;
  staging.kv_stride = staging.token_stride * layout.block_size;
  staging.layer_stride = staging.kv_stride * layout.num_kv;
  staging.block_stride = staging.layer_stride * layout.num_layers;
  return staging;
}

Pool::Pool(const KVLayout& layout, std::span<const std::uintptr_t> tensors) : layout_(layout) {
  const auto count = static_cast<Int64>(tensors.size());
  CheckSizes(layout);
  if (count == 1) {
    num_split_ = 0;
  } else if (count == layout.num_layers) {
    num_split_ = 1;
  } else if (count > 1 && count % 2 == 0 && count / 2 == layout.num_layers && layout.num_kv == 2) {
    num_split_ = 2;
  } else {
    throw ArgumentError(StrCat(count, " tensors for ", layout.num_layers, " layers and ",
                               layout.num_kv,
                               " KV; there must be 1, or one for each layer, or "
                               "one for each layer's K and V"));
  }
  tensor_bytes_ = SpanOf(layout, num_split_);
  base_ = tensors.front();
  for (const std::uintptr_t tensor : tensors) {
    tensor_offsets_.push_back(static_cast<Int64>(tensor - base_));
  }
}

Int64 Pool::Offset(Int64 layer, Int64 kv) const noexcept {
  switch (num_split_) {
    case 0:
      return layer * layout_.layer_stride + kv * layout_.kv_stride;
    case 1:
      return tensor_offsets_[static_cast<std::size_t>(layer)] + kv * layout_.kv_stride;
    default:
      return tensor_offsets_[static_cast<std::size_t>(layer * layout_.num_kv + kv)];
  }
}

Pool Pool::Heads(Int64 begin, Int64 end) const {
  if (begin < 0 || begin >= end || end > layout_.num_heads) {
    throw ArgumentError(
        StrCat("heads ", begin, " to ", end, " of a pool with ", layout_.num_heads));
  }
  Pool part = *this;
  part.layout_.num_heads = end - begin;
  part.base_ += static_cast<std::uintptr_t>(begin * layout_.head_stride);
  part.tensor_bytes_ = SpanOf(part.layout_, num_split_);
  return part;
}

bool Pool::Overlaps(const Pool& other) const noexcept {
  for (const Int64 mine : tensor_offsets_) {
    const std::uintptr_t a = base_ + static_cast<std::uintptr_t>(mine);
    for (const Int64 theirs : other.tensor_offsets_) {
      const std::uintptr_t b = other.base_ + static_cast<std::uintptr_t>(theirs);
      if (a < b + static_cast<std::uintptr_t>(other.tensor_bytes_) &&
          b < a + static_cast<std::uintptr_t>(tensor_bytes_)) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace ctx::cuda
