// From a pool and new keys and values to the arguments of one launch, and the same on the host.
#pragma once

#include <span>

#include "cuda/kv_write.h"
#include "cuda/pool.h"

namespace ctx::cuda {

/// What entries hold. kTileE4m3 is for MLA only: the latent part in e4m3 with a float for each 128
/// elements behind it, then the rotary part as it is (656 bytes for 512 + 64 elements).
enum class KVFormat : Int32 { kCopy, kE4m3, kInt8, kTileE4m3 };

/// New keys or values, [num_tokens, num_heads, head_size] of 16 bits each; or a part of an MLA
/// entry.
struct KVInput {
  const unsigned char* address;
  Int64 token_stride, head_stride;  ///< bytes; the last dimension is dense
  Int64 num_heads, head_size;
  const float* scales;  ///< kE4m3: [1], or [num_heads] with scale_stride 1
  Int64 scale_stride;
  unsigned char*
      scales_out;  ///< kInt8: float [num_blocks, block_size, num_heads]; strides in bytes
  Int64 scale_block_stride, scale_token_stride, scale_head_stride;
};

struct KVWriteCall {
  const Pool& pool;
  Int64 layer;
  KVFormat format;
  bool is_bfloat16;
  std::span<const KVInput> inputs;  ///< one for each KV of the pool; two for the one of MLA
  const Int64* slots;
  Int64 slots_stride;  ///< in elements
  Int64 num_tokens;
  Int32* num_skipped;  ///< may be null
};

/// The launch for `call`. Throws ArgumentError when the inputs do not make up the pool's entries,
/// or entries are not aligned to what is stored in them. Reads no array.
KVWriteArgs PlanKVWrite(const KVWriteCall& call);

/// Elements that a thread moves at once: 8 where all alignments allow, else 1.
Int32 ElementsPerVector(const KVWriteArgs& args);

/// The same writes on the calling thread, bit for bit. Throws ArgumentError for a slot outside the
/// pool; then nothing has been written. When a slot comes twice, the later token stays.
void KVWriteOnHost(const KVWriteArgs& args);

}  // namespace ctx::cuda
