// Integer ids that cross layers, one width each, equal to the numpy dtypes of the Python surface.
#pragma once

#include <cstdint>

namespace ctx {

using TokenId = std::uint32_t;  ///< vocabulary index; the bindings and files keep it below 2^31
using BlockId = std::int32_t;   ///< KV block index in a pool; -1 marks "no block"
using Slot = std::int64_t;      ///< block * block_size + offset; -1 marks padding

inline constexpr BlockId kNoBlock = -1;
inline constexpr Slot kNoSlot = -1;

}  // namespace ctx
