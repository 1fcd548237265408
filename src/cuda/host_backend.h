// The kernels' CPU backend: same names, same arguments, same results, plus the checks that only the
// host can turn into an error.
#pragma once

#include "cuda/slot_mapping.h"

namespace ctx::cuda {

/// Fills `args.slots` on the calling thread. O(num_slots). Arrays are host memory that nobody else
/// writes meanwhile; any thread. Throws ArgumentError, before anything is written, where the kernel
/// would write kInvalidSlot.
void SlotMappingOnHost(const SlotMappingArgs& args);

}  // namespace ctx::cuda
