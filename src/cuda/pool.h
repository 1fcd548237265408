// A KV pool: where each entry (one head of one token of one layer, K or V) lies in memory. For the
// host only; the memory may be the host's or a device's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/types.h"

namespace ctx::cuda {

/// Sizes and byte strides of a pool. MLA is one KV and one head, with its whole entry as the head.
struct KVLayout {
  Int64 num_layers, num_kv, num_blocks, block_size, num_heads, entry_bytes;
  Int64 layer_stride, kv_stride, block_stride, token_stride, head_stride;

  friend bool operator==(const KVLayout&, const KVLayout&) = default;
};

/// Bytes from the first to behind the last of a layout's entries. Throws ArgumentError unless all
/// sizes are 1 or more, no two entries overlap (sorted by stride, each dimension steps over the
/// whole of the smaller ones), and the answer is below 2^62.
Int64 SpanBytes(const KVLayout& layout);

/// The layout of `num_blocks` blocks one after the other: [block, layer, kv, token, head, entry].
KVLayout StagingLayout(const KVLayout& layout, Int64 num_blocks);

/// A layout on memory. Immutable. Owns nothing.
class Pool {
 public:
  /// `tensors`: one address for the whole layout; or one for each layer, or for each layer's K and
  /// V in turn, where the strides of those dimensions are not used. Throws ArgumentError for
  /// another number of tensors, and as SpanBytes.
  Pool(const KVLayout& layout, std::span<const std::uintptr_t> tensors);

  const KVLayout& layout() const noexcept { return layout_; }
  unsigned char* base() const noexcept { return reinterpret_cast<unsigned char*>(base_); }
  /// 0: one tensor for all; 1: for each layer; 2: for each layer and KV.
  int num_split() const noexcept { return num_split_; }
  /// Bytes that each tensor must have behind its address.
  Int64 tensor_bytes() const noexcept { return tensor_bytes_; }
  /// From base() to the entry of this layer and KV with block, token and head 0.
  Int64 Offset(Int64 layer, Int64 kv) const noexcept;
  /// The pool of heads [begin, end) only.
  Pool Heads(Int64 begin, Int64 end) const;
  /// Whether the two take up any common byte, judged by the tensors' spans.
  bool Overlaps(const Pool& other) const noexcept;

 private:
  KVLayout layout_;
  std::uintptr_t base_;
  int num_split_;
  Int64 tensor_bytes_;
  std::vector<Int64> tensor_offsets_;  // from base_
};

}  // namespace ctx::cuda
