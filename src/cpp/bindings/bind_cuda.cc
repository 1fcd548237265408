// ctxengine.cuda. Arrays arrive as addresses that cuda.py has taken from the array interfaces and
// checked; so nothing here knows numpy or any GPU array library.
#include "bindings/bind_cuda.h"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/release_gil.h"
#include "cuda/build_info.h"
#include "cuda/host_backend.h"
#include "cuda/runtime.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using cuda::Int32;
using cuda::Int64;

using Vector = std::array<Int64, 3>;  // address, length, stride in elements
using Matrix = std::array<Int64, 5>;  // address, rows, columns, row stride, column stride

template <typename T>
T* Pointer(Int64 address) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

cuda::SlotMappingArgs Args(const Matrix& block_tables, const Vector& rows, const Vector& positions,
                           Int64 block_size, const Vector& slots) {
  return {
      .block_tables = Pointer<const Int32>(block_tables[0]),
      .num_rows = block_tables[1],
      .num_columns = block_tables[2],
      .row_stride = block_tables[3],
      .column_stride = block_tables[4],
      .rows = Pointer<const Int32>(rows[0]),
      .rows_stride = rows[2],
      .positions = Pointer<const Int64>(positions[0]),
      .positions_stride = positions[2],
      .num_tokens = rows[1],
      .block_size = block_size,
      .slots = Pointer<Int64>(slots[0]),
      .slots_stride = slots[2],
      .num_slots = slots[1],
  };
}

void SlotMappingHost(const Matrix& block_tables, const Vector& rows, const Vector& positions,
                     Int64 block_size, const Vector& slots) {
  const auto args = Args(block_tables, rows, positions, block_size, slots);
  const ReleaseGil unlocked;
  cuda::SlotMappingOnHost(args);
}

void SlotMappingDevice(const Matrix& block_tables, const Vector& rows, const Vector& positions,
                       Int64 block_size, const Vector& slots, std::uintptr_t stream,
                       const std::vector<std::uintptr_t>& after) {
  const auto args = Args(block_tables, rows, positions, block_size, slots);
  const ReleaseGil unlocked;
  cuda::Runtime::Default().Launch(cuda::kSlotMapping, args, stream, after);
}

// Opening the driver can take a second: other threads go on meanwhile.
cuda::Runtime& DefaultRuntime() {
  const ReleaseGil unlocked;
  return cuda::Runtime::Default();
}

std::vector<std::tuple<std::string, int, int, std::uint64_t>> Devices() {
  std::vector<std::tuple<std::string, int, int, std::uint64_t>> devices;
  for (const cuda::DeviceInfo& device : DefaultRuntime().devices()) {
    devices.emplace_back(device.name, device.compute_capability_major,
                         device.compute_capability_minor, device.memory_bytes);
  }
  return devices;
}

py::tuple BuildInfo() {
  const cuda::BuildInfo& info = cuda::GetBuildInfo();
  py::list architectures;
  for (const std::string_view name : info.architectures) architectures.append(py::str(name));
  return py::make_tuple(py::str(info.compiler_version), py::tuple(architectures),
                        cuda::KernelImage().size());
}

}  // namespace

void RegisterCuda(py::module_& module) {
  module.def("cuda_build_info", BuildInfo);
  module.def("cuda_why_not", [] { return DefaultRuntime().why_not(); });
  module.def("cuda_devices", Devices);
  module.def("slot_mapping_host", SlotMappingHost, py::arg(), py::arg(), py::arg(), py::arg(),
             py::arg(), py::pos_only());
  module.def("slot_mapping_device", SlotMappingDevice, py::arg(), py::arg(), py::arg(), py::arg(),
             py::arg(), py::arg(), py::arg(), py::pos_only());
  RegisterCudaBlocks(module);
  RegisterCudaTables(module);
  RegisterCudaWrite(module);
}

}  // namespace ctx::bindings
