// The Python form of a prefix identity: cache_salt (str or None) and extra_keys (None, or a
// sequence of ("lora", name, path), ("mm", identifier, offset, length) and ("prompt_embeds", array)
// tuples).
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "prefix/identity.h"

namespace ctx::bindings {

/// Throws ArgumentError naming the entry that is malformed; what it returns is validated.
/// Embeddings, of which the array has one row per token, are hashed in blocks of `block_size`
/// tokens; without one they are refused.
prefix::Identity ParseIdentity(pybind11::handle cache_salt, pybind11::handle extra_keys,
                               std::int64_t block_size = 0);

}  // namespace ctx::bindings
