// ctxengine.cuda: KV pools and block copies, and what DLPack says of an array.
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bind_cuda.h"
#include "bindings/release_gil.h"
#include "common/error.h"
#include "cuda/block_copy_plan.h"
#include "cuda/runtime.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using cuda::Int32;
using cuda::Int64;

using Sizes = std::array<Int64, 6>;
using Strides = std::array<Int64, 5>;
// Address, stride in elements, and how messages name an item.
using Ids = std::tuple<std::uintptr_t, Int64, std::string, std::string>;

cuda::KVLayout Layout(const Sizes& sizes, const Strides& strides) {
  return {sizes[0],   sizes[1],   sizes[2],   sizes[3],   sizes[4],  sizes[5],
          strides[0], strides[1], strides[2], strides[3], strides[4]};
}

cuda::BlockIds BlockIds(const Ids& ids) {
  const auto& [address, stride, name, suffix] = ids;
  return {reinterpret_cast<const Int32*>(address), stride, name.c_str(), suffix.c_str()};
}

void CopyHost(const cuda::Pool& source, const Ids& source_ids, const cuda::Pool& target,
              const Ids& target_ids, Int64 num_items) {
  const ReleaseGil unlocked;
  cuda::CopyBlocksOnHost(
      {source, BlockIds(source_ids), target, BlockIds(target_ids), num_items, nullptr});
}

void CopyDevice(const cuda::Pool& source, const Ids& source_ids, const cuda::Pool& target,
                const Ids& target_ids, Int64 num_items, std::uintptr_t skipped,
                std::uintptr_t stream, const std::vector<std::uintptr_t>& after) {
  const ReleaseGil unlocked;
  const cuda::BlockCopyArgs args =
      cuda::PlanBlockCopy({source, BlockIds(source_ids), target, BlockIds(target_ids), num_items,
                           reinterpret_cast<Int32*>(skipped)});
  cuda::Runtime::Default().Launch(cuda::CopyBlocksKernel(args.vector_bytes), args, stream, after);
}

cuda::Pool Staging(const cuda::Pool& pool, Int64 num_blocks, std::uintptr_t address) {
  return {cuda::StagingLayout(pool.layout(), num_blocks), {&address, 1}};
}

py::tuple MovementTuple(const cuda::Pool& source, const cuda::Pool& target) {
  const cuda::BlockMovement block = cuda::MovementOf(source, target);
  py::list dimensions;
  for (Int32 d = 0; d < block.movement.num_dimensions; ++d) {
    const cuda::Dimension& dimension = block.movement.dimensions[d];
    dimensions.append(
        py::make_tuple(dimension.extent, dimension.source_stride, dimension.target_stride));
  }
  return py::make_tuple(block.tensors.size(), py::tuple(dimensions), block.movement.run_bytes,
                        block.movement.vector_bytes);
}

// --- DLPack (https://dmlc.github.io/dlpack), as far as a reader needs it ---

struct DLTensor {
  void* data;
  std::int32_t device_type;
  std::int32_t device_id;
  std::int32_t num_dimensions;
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C order
  std::uint64_t byte_offset;
};

struct DLManagedTensorVersioned {
  std::uint32_t major;
  std::uint32_t minor;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  std::uint64_t flags;  // bit 0: read-only
  DLTensor tensor;
};

// The capsule is not consumed: its destructor gives the tensor back, the array itself stays.
py::tuple DLPackView(const py::object& object) {
  PyObject* const capsule = object.ptr();
  const DLTensor* tensor = nullptr;
  bool read_only = false;
  if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
    const auto* const managed = static_cast<const DLManagedTensorVersioned*>(
        PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (managed->major != 1) throw ArgumentError("an array has a DLPack version other than 1");
    read_only = managed->flags & 1;
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule, "dltensor")) {
    // An unversioned managed tensor begins with the tensor.
    tensor = static_cast<const DLTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  } else {
    throw ArgumentError("__dlpack__ did not return a DLPack capsule");
  }
  py::list shape;
  py::object strides = py::none();
  if (tensor->strides != nullptr) strides = py::list();
  for (std::int32_t d = 0; d < tensor->num_dimensions; ++d) {
    shape.append(tensor->shape[d]);
    if (tensor->strides != nullptr) strides.cast<py::list>().append(tensor->strides[d]);
  }
  return py::make_tuple(
      tensor->device_type, reinterpret_cast<std::uintptr_t>(tensor->data) + tensor->byte_offset,
      py::tuple(shape), strides, tensor->code, tensor->bits, tensor->lanes, read_only);
}

}  // namespace

void RegisterCudaBlocks(py::module_& module) {
  py::class_<cuda::Pool>(module, "KVPool")
      .def(py::init([](const Sizes& sizes, const Strides& strides,
                       const std::vector<std::uintptr_t>& tensors) {
             return cuda::Pool(Layout(sizes, strides), tensors);
           }),
           py::arg(), py::arg(), py::arg(), py::pos_only())
      .def("heads", &cuda::Pool::Heads, py::arg(), py::arg(), py::pos_only())
      .def("staging", Staging, py::arg(), py::arg(), py::pos_only())
      .def_property_readonly("tensor_bytes", &cuda::Pool::tensor_bytes);
  module.def(
      "kv_span_bytes",
      [](const Sizes& sizes, const Strides& strides) {
        return cuda::SpanBytes(Layout(sizes, strides));
      },
      py::arg(), py::arg(), py::pos_only());
  module.def("kv_movement", MovementTuple, py::arg(), py::arg(), py::pos_only());
  module.def("kv_copy_host", CopyHost, py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
             py::pos_only());
  module.def("kv_copy_device", CopyDevice, py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
             py::arg(), py::arg(), py::arg(), py::pos_only());
  module.def("dlpack_view", DLPackView, py::arg(), py::pos_only());
}

}  // namespace ctx::bindings
