// Our declarations of the driver API against NVIDIA's own header; built where cuda.h is found.
#include <cuda.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "cuda/driver.h"
#include "doctest/doctest.h"

namespace ctx::cuda {
namespace {

static_assert(abi::kSuccess == CUDA_SUCCESS);
static_assert(abi::kErrorInvalidValue == CUDA_ERROR_INVALID_VALUE);
static_assert(abi::kErrorNoDevice == CUDA_ERROR_NO_DEVICE);
static_assert(abi::kComputeCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(abi::kComputeCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(abi::kPointerDeviceOrdinal == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
static_assert(abi::kEventDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(sizeof(CUresult) == sizeof(abi::Result) && sizeof(CUdevice) == sizeof(abi::Device));
static_assert(sizeof(CUdeviceptr) == sizeof(abi::DevicePointer));

// Equal in the calling convention: as many parameters, and each of the same kind and size.
template <typename A, typename B>
constexpr bool SameKind() {
  return sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>;
}

template <typename... A, typename... B>
constexpr bool SameSignature(abi::Result (*)(A...), CUresult (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B)) {
    return (SameKind<A, B>() && ...);
  } else {
    return false;
  }
}

#define CHECK_SAME(member, function) \
  static_assert(SameSignature(decltype(std::declval<Driver>().member){}, decltype(&function){}))

CHECK_SAME(driver_get_version, cuDriverGetVersion);
CHECK_SAME(device_get_count, cuDeviceGetCount);
CHECK_SAME(device_get, cuDeviceGet);
CHECK_SAME(device_get_name, cuDeviceGetName);
CHECK_SAME(device_total_mem, cuDeviceTotalMem);
CHECK_SAME(device_get_attribute, cuDeviceGetAttribute);
CHECK_SAME(primary_context_retain, cuDevicePrimaryCtxRetain);
CHECK_SAME(context_push, cuCtxPushCurrent);
CHECK_SAME(context_pop, cuCtxPopCurrent);
CHECK_SAME(library_load_data, cuLibraryLoadData);
CHECK_SAME(library_get_kernel, cuLibraryGetKernel);
CHECK_SAME(pointer_get_attribute, cuPointerGetAttribute);
CHECK_SAME(event_create, cuEventCreate);
CHECK_SAME(event_record, cuEventRecord);
CHECK_SAME(event_destroy, cuEventDestroy);
CHECK_SAME(stream_wait_event, cuStreamWaitEvent);
CHECK_SAME(launch_kernel, cuLaunchKernel);

TEST_CASE("the declarations agree with cuda.h") { CHECK(CUDA_VERSION >= 12000); }

}  // namespace
}  // namespace ctx::cuda
