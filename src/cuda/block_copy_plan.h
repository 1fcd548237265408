// From two pools and block ids to the arguments of one launch, and the same copy on the host.
#pragma once

#include "cuda/block_copy.h"
#include "cuda/pool.h"

namespace ctx::cuda {

/// Block ids of one side; item i is called "name[i" + suffix + "]" in messages.
struct BlockIds {
  const Int32* ids;  ///< null: item i is block i
  Int64 stride;      ///< in elements
  const char* name;
  const char* suffix;
};

struct BlockCopyCall {
  const Pool& source;
  BlockIds source_blocks;
  const Pool& target;
  BlockIds target_blocks;
  Int64 num_items;
  Int32* num_skipped;  ///< may be null
};

/// A loop nest over one block: num_tensors times `movement`.
struct BlockMovement {
  Movement movement;
  std::vector<Offsets> tensors;  ///< from the two bases
};

/// How a block of `source` is moved to a block of `target`. Throws ArgumentError unless they agree
/// in everything but blocks and strides.
BlockMovement MovementOf(const Pool& source, const Pool& target);

/// The launch for `call`, whose pools and ids lie on one device. Throws ArgumentError as
/// MovementOf, when the pools overlap without being the same, and when a block has 2^31 vectors,
/// the copy 2^31 tiles, or the pools more separate tensors than a launch can name. Reads no id.
BlockCopyArgs PlanBlockCopy(const BlockCopyCall& call, unsigned threads_per_block = 256);

/// The same copy on the calling thread. O(bytes + num_items log num_items). Throws ArgumentError as
/// PlanBlockCopy, for a block outside its pool, for a block that is the target of two items, and,
/// within one pool, for one that is a target and a source. Then nothing has been written.
void CopyBlocksOnHost(const BlockCopyCall& call);

}  // namespace ctx::cuda
