// What bind_cuda.cc registers besides its own.
#pragma once

#include <pybind11/pybind11.h>

namespace ctx::bindings {

void RegisterCudaBlocks(pybind11::module_& module);
void RegisterCudaTables(pybind11::module_& module);
void RegisterCudaWrite(pybind11::module_& module);

}  // namespace ctx::bindings
