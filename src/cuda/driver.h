// The part of the CUDA driver API that the launch needs, opened at run time. Declared here and not
// taken from cuda.h, so that the host code builds where no CUDA toolkit is; tests/cuda holds the
// declarations against cuda.h where there is one.
#pragma once

#include <cstddef>
#include <string>

namespace ctx::cuda {

/// Values of cuda.h. The handles are opaque pointers there; the tests compare the sizes.
namespace abi {

using Result = int;
using Device = int;
using Handle = void*;  // CUcontext, CUstream, CUevent, CUlibrary, CUkernel, CUfunction
using DevicePointer = unsigned long long;

inline constexpr Result kSuccess = 0;
inline constexpr Result kErrorInvalidValue = 1;
inline constexpr Result kErrorNoDevice = 100;
inline constexpr int kComputeCapabilityMajor = 75;  // CUdevice_attribute
inline constexpr int kComputeCapabilityMinor = 76;
inline constexpr int kPointerDeviceOrdinal = 9;     // CUpointer_attribute
inline constexpr unsigned kEventDisableTiming = 2;  // CUevent_flags

}  // namespace abi

/// The entry points of one driver library. Immutable once loaded; every method may be called from
/// any thread. The library is never closed: the driver does not support that.
class Driver {
 public:
  /// Opens `library` (a name for dlopen), resolves every entry point, calls cuInit. Throws
  /// DeviceError that says which of these failed and why.
  explicit Driver(const std::string& library);

  abi::Result (*driver_get_version)(int* version);
  abi::Result (*device_get_count)(int* count);
  abi::Result (*device_get)(abi::Device* device, int ordinal);
  abi::Result (*device_get_name)(char* name, int length, abi::Device device);
  abi::Result (*device_total_mem)(std::size_t* size_bytes, abi::Device device);
  abi::Result (*device_get_attribute)(int* value, int attribute, abi::Device device);
  abi::Result (*primary_context_retain)(abi::Handle* context, abi::Device device);
  abi::Result (*context_push)(abi::Handle context);
  abi::Result (*context_pop)(abi::Handle* context);
  abi::Result (*library_load_data)(abi::Handle* library, const void* image, int* jit_options,
                                   void** jit_values, unsigned num_jit_options,
                                   int* library_options, void** library_values,
                                   unsigned num_library_options);
  abi::Result (*library_get_kernel)(abi::Handle* kernel, abi::Handle library, const char* name);
  abi::Result (*pointer_get_attribute)(void* value, int attribute, abi::DevicePointer pointer);
  abi::Result (*event_create)(abi::Handle* event, unsigned flags);
  abi::Result (*event_record)(abi::Handle event, abi::Handle stream);
  abi::Result (*event_destroy)(abi::Handle event);
  abi::Result (*stream_wait_event)(abi::Handle stream, abi::Handle event, unsigned flags);
  abi::Result (*launch_kernel)(abi::Handle kernel, unsigned grid_x, unsigned grid_y,
                               unsigned grid_z, unsigned block_x, unsigned block_y,
                               unsigned block_z, unsigned shared_bytes, abi::Handle stream,
                               void** parameters, void** extra);

  /// Throws DeviceError "call: NAME (text)" unless `result` is success.
  void Check(abi::Result result, const char* call) const;

 private:
  abi::Result (*init_)(unsigned flags);
  abi::Result (*get_error_name_)(abi::Result error, const char** name);
  abi::Result (*get_error_string_)(abi::Result error, const char** text);
};

}  // namespace ctx::cuda
