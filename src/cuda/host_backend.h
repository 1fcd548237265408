// The kernels' CPU backend: same names, same arguments, same results, plus the checks that only the
// host can turn into an error.
#pragma once

#include "cuda/slot_mapping.h"
#include "cuda/tables.h"

namespace ctx::cuda {

/// Fills `args.slots` on the calling thread. O(num_slots). Arrays are host memory that nobody else
/// writes meanwhile; any thread. Throws ArgumentError, before anything is written, where the kernel
/// would write kInvalidSlot.
void SlotMappingOnHost(const SlotMappingArgs& args);

/// Appends as the kernel does, bit for bit. O(num_rows * (num_groups + log num_rows)). Throws
/// ArgumentError for a row that the kernel would mark or that comes twice; then nothing has
/// changed.
void DecodeAppendOnHost(const DecodeAppendArgs& args);

/// O(num_blocks). Throws CapacityError when the ring has no room; then nothing has changed.
void RingPushOnHost(const RingPushArgs& args);

/// O(num_entries). Throws ArgumentError for an entry outside the tables; then nothing has changed.
void TablePatchOnHost(const TablePatchArgs& args);

}  // namespace ctx::cuda
