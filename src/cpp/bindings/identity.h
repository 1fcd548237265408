// The Python form of a prefix identity: cache_salt (str or None) and extra_keys (None, or a
// sequence of ("lora", name, path) and ("mm", identifier, offset, length) tuples).
#pragma once

#include <pybind11/pybind11.h>

#include "prefix/identity.h"

namespace ctx::bindings {

/// Throws ArgumentError naming the entry that is malformed; what it returns is validated.
prefix::Identity ParseIdentity(pybind11::handle cache_salt, pybind11::handle extra_keys);

}  // namespace ctx::bindings
