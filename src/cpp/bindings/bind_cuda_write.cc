// ctxengine.cuda: new keys and values into a pool.
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <vector>

#include "bindings/bind_cuda.h"
#include "bindings/release_gil.h"
#include "cuda/kv_write_plan.h"
#include "cuda/runtime.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using cuda::Int32;
using cuda::Int64;

// Address, token stride, head stride, heads, head size; scales and their stride; the scales to be
// stored and their strides.
using Input = std::array<Int64, 11>;
using Slots = std::array<Int64, 3>;  // address, length, stride in elements

template <typename T>
T* Pointer(Int64 address) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

cuda::KVWriteArgs Plan(const cuda::Pool& pool, Int64 layer, int format, bool is_bfloat16,
                       const std::vector<Input>& inputs, const Slots& slots, Int64 skipped) {
  std::vector<cuda::KVInput> parts;
  for (const Input& input : inputs) {
    parts.push_back({Pointer<const unsigned char>(input[0]), input[1], input[2], input[3], input[4],
                     Pointer<const float>(input[5]), input[6], Pointer<unsigned char>(input[7]),
                     input[8], input[9], input[10]});
  }
  return cuda::PlanKVWrite({pool, layer, static_cast<cuda::KVFormat>(format), is_bfloat16, parts,
                            Pointer<const Int64>(slots[0]), slots[2], slots[1],
                            Pointer<Int32>(skipped)});
}

void WriteHost(const cuda::Pool& pool, Int64 layer, int format, bool is_bfloat16,
               const std::vector<Input>& inputs, const Slots& slots) {
  const ReleaseGil unlocked;
  cuda::KVWriteOnHost(Plan(pool, layer, format, is_bfloat16, inputs, slots, 0));
}

void WriteDevice(const cuda::Pool& pool, Int64 layer, int format, bool is_bfloat16,
                 const std::vector<Input>& inputs, const Slots& slots, Int64 skipped,
                 std::uintptr_t stream, const std::vector<std::uintptr_t>& after) {
  const ReleaseGil unlocked;
  const cuda::KVWriteArgs args = Plan(pool, layer, format, is_bfloat16, inputs, slots, skipped);
  const auto& kernel = cuda::ElementsPerVector(args) == 8 ? cuda::kKVWrite8 : cuda::kKVWrite1;
  cuda::Runtime::Default().Launch(kernel, args, stream, after);
}

}  // namespace

void RegisterCudaWrite(py::module_& module) {
  module.def("kv_write_host", WriteHost, py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
             py::arg(), py::pos_only());
  module.def("kv_write_device", WriteDevice, py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
             py::arg(), py::arg(), py::arg(), py::arg(), py::pos_only());
}

}  // namespace ctx::bindings
