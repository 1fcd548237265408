// Encoding definitions as plain Python objects, for pickling.
#pragma once

#include <pybind11/pybind11.h>

#include "tokenize/definition.h"

namespace ctx::bindings {

/// Nested tuples, lists, bytes, str and int; equal definitions give equal objects.
pybind11::tuple TupleOf(const tokenize::EncodingDefinition& definition);

/// The inverse. Throws TypeError or ValueError for what TupleOf does not return.
tokenize::EncodingDefinition DefinitionFrom(const pybind11::tuple& fields);

}  // namespace ctx::bindings
