// ctxengine.cuda: block tables on the device.
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "bindings/bind_cuda.h"
#include "bindings/release_gil.h"
#include "cuda/host_backend.h"
#include "cuda/runtime.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using cuda::Int32;
using cuda::Int64;

// Addresses of tables, lengths, ring and counters; groups, rows, columns, ring size, block size.
using State = std::array<Int64, 9>;
using Vector = std::array<Int64, 3>;  // address, length, stride in elements
using Matrix = std::array<Int64, 5>;  // address, rows, columns, row stride, column stride

template <typename T>
T* Pointer(Int64 address) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

cuda::BlockTables Tables(const State& state) {
  return {Pointer<Int32>(state[0]),
          Pointer<Int32>(state[1]),
          Pointer<Int32>(state[2]),
          Pointer<Int64>(state[3]),
          state[4],
          state[5],
          state[6],
          state[7],
          state[8]};
}

/// Runs `host(args)` when `stream` is None, else launches `kernel`.
template <typename Args>
void Run(const cuda::Kernel<Args>& kernel, void (*host)(const Args&), const Args& args,
         const std::optional<std::uintptr_t>& stream, const std::vector<std::uintptr_t>& after) {
  const ReleaseGil unlocked;
  if (stream) {
    cuda::Runtime::Default().Launch(kernel, args, *stream, after);
  } else {
    host(args);
  }
}

}  // namespace

void RegisterCudaTables(py::module_& module) {
  module.def(
      "decode_append",
      [](const State& state, const Vector& rows, const Matrix& slots, Int64 oom_row,
         std::optional<std::uintptr_t> stream, const std::vector<std::uintptr_t>& after) {
        const cuda::DecodeAppendArgs args = {Tables(state), Pointer<const Int32>(rows[0]), rows[2],
                                             rows[1],       Pointer<Int64>(slots[0]),      slots[3],
                                             slots[4],      Pointer<Int32>(oom_row)};
        Run(cuda::kDecodeAppend, cuda::DecodeAppendOnHost, args, stream, after);
      },
      py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::pos_only());
  module.def(
      "ring_push",
      [](const State& state, const Vector& blocks, Int64 skipped,
         std::optional<std::uintptr_t> stream, const std::vector<std::uintptr_t>& after) {
        const cuda::RingPushArgs args = {Tables(state), Pointer<const Int32>(blocks[0]), blocks[2],
                                         blocks[1], Pointer<Int32>(skipped)};
        Run(cuda::kRingPush, cuda::RingPushOnHost, args, stream, after);
      },
      py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::pos_only());
  module.def(
      "table_patch",
      [](const State& state, std::array<Int64, 2> entries, Int64 skipped,
         std::optional<std::uintptr_t> stream, const std::vector<std::uintptr_t>& after) {
        const cuda::TablePatchArgs args = {Tables(state), Pointer<const Int32>(entries[0]),
                                           entries[1], Pointer<Int32>(skipped)};
        Run(cuda::kTablePatch, cuda::TablePatchOnHost, args, stream, after);
      },
      py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::pos_only());
}

}  // namespace ctx::bindings
