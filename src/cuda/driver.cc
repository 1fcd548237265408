#include "cuda/driver.h"

#include <dlfcn.h>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::cuda {
namespace {

template <typename Function>
void Resolve(void* library, const char* symbol, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, symbol));
  if (function == nullptr) {
    throw DeviceError(StrCat("the CUDA driver is too old: it has no ", symbol,
                             " (CUDA 12.0 or newer is needed)"));
  }
}

}  // namespace

Driver::Driver(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const reason = dlerror();
    throw DeviceError(StrCat("the CUDA driver library could not be opened: ",
                             reason != nullptr ? reason : library.c_str()));
  }
  Resolve(handle, "cuInit", init_);
  Resolve(handle, "cuGetErrorName", get_error_name_);
  Resolve(handle, "cuGetErrorString", get_error_string_);
  Resolve(handle, "cuDriverGetVersion", driver_get_version);
  Resolve(handle, "cuDeviceGetCount", device_get_count);
  Resolve(handle, "cuDeviceGet", device_get);
  Resolve(handle, "cuDeviceGetName", device_get_name);
  Resolve(handle, "cuDeviceTotalMem_v2", device_total_mem);
  Resolve(handle, "cuDeviceGetAttribute", device_get_attribute);
  Resolve(handle, "cuDevicePrimaryCtxRetain", primary_context_retain);
  Resolve(handle, "cuCtxPushCurrent_v2", context_push);
  Resolve(handle, "cuCtxPopCurrent_v2", context_pop);
  Resolve(handle, "cuLibraryLoadData", library_load_data);
  Resolve(handle, "cuLibraryGetKernel", library_get_kernel);
  Resolve(handle, "cuPointerGetAttribute", pointer_get_attribute);
  Resolve(handle, "cuEventCreate", event_create);
  Resolve(handle, "cuEventRecord", event_record);
  Resolve(handle, "cuEventDestroy_v2", event_destroy);
  Resolve(handle, "cuStreamWaitEvent", stream_wait_event);
  Resolve(handle, "cuLaunchKernel", launch_kernel);
  const abi::Result result = init_(0);
  if (result == abi::kErrorNoDevice) throw DeviceError("no CUDA device was found");
  Check(result, "cuInit");
}

void Driver::Check(abi::Result result, const char* call) const {
  if (result == abi::kSuccess) return;
  const char* name = nullptr;
  const char* text = nullptr;
  if (get_error_name_(result, &name) != abi::kSuccess || name == nullptr) name = "unknown error";
  if (get_error_string_(result, &text) != abi::kSuccess || text == nullptr) text = "no description";
  throw DeviceError(StrCat(call, ": ", name, " (", result, "): ", text));
}

}  // namespace ctx::cuda
