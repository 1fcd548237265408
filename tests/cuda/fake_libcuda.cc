// A stand-in for libcuda.so.1 that the tests open through dlopen: the entry points that
// src/cuda/driver.cc resolves, on a machine of two imaginary devices whose memory is host memory
// registered by the test. Launches run the real kernel source through the executor, at once. Every
// call is written to a log; any entry point can be made to fail.
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "executor.h"
#include "kernel_list.h"

namespace {

struct State {
  std::mutex mutex;
  std::string log;
  std::map<std::string, int> failures;
  std::map<std::uintptr_t, std::pair<std::size_t, int>> memory;  // address -> size, ordinal
  int driver_version = 13000;
  int num_devices = 2;
  int compute_capability_major = 9;
  std::vector<void*> context_stack;
};

State& Fake() {
  static State state;
  return state;
}

int contexts[2];
int library;
int event;

// Logs the call and returns its injected error, or success.
int Enter(const char* call, const std::string& details = "") {
  State& fake = Fake();
  const std::lock_guard lock(fake.mutex);
  fake.log += call + (details.empty() ? "" : " " + details) + "\n";
  const auto found = fake.failures.find(call);
  return found == fake.failures.end() ? 0 : found->second;
}

std::string Number(const void* handle) {
  return std::to_string(reinterpret_cast<std::uintptr_t>(handle));
}

}  // namespace

#define FAKE extern "C" __attribute__((visibility("default")))

// --- hooks for the tests ---

FAKE void fake_cuda_reset() {
  State& fake = Fake();
  const std::lock_guard lock(fake.mutex);
  fake.log.clear();
  fake.failures.clear();
  fake.memory.clear();
  fake.driver_version = 13000;
  fake.num_devices = 2;
  fake.compute_capability_major = 9;
}
FAKE void fake_cuda_fail(const char* call, int error) { Fake().failures[call] = error; }
FAKE void fake_cuda_set_driver_version(int version) { Fake().driver_version = version; }
FAKE void fake_cuda_set_num_devices(int count) { Fake().num_devices = count; }
FAKE void fake_cuda_set_compute_capability(int major) { Fake().compute_capability_major = major; }
FAKE void fake_cuda_add_memory(const void* address, std::size_t size_bytes, int ordinal) {
  Fake().memory[reinterpret_cast<std::uintptr_t>(address)] = {size_bytes, ordinal};
}
FAKE const char* fake_cuda_log() { return Fake().log.c_str(); }
FAKE std::size_t fake_cuda_context_depth() { return Fake().context_stack.size(); }

// --- the driver API ---

FAKE int cuInit(unsigned flags) { return flags != 0 ? 1 : Enter("cuInit"); }

FAKE int cuGetErrorName(int error, const char** name) {
  switch (error) {
    case 1:
      *name = "CUDA_ERROR_INVALID_VALUE";
      return 0;
    case 2:
      *name = "CUDA_ERROR_OUT_OF_MEMORY";
      return 0;
    case 209:
      *name = "CUDA_ERROR_NO_BINARY_FOR_GPU";
      return 0;
    case 719:
      *name = "CUDA_ERROR_LAUNCH_FAILED";
      return 0;
    default:
      *name = nullptr;
      return 1;
  }
}

FAKE int cuGetErrorString(int error, const char** text) {
  switch (error) {
    case 1:
      *text = "invalid argument";
      return 0;
    case 2:
      *text = "out of memory";
      return 0;
    case 209:
      *text = "no kernel image is available for execution on the device";
      return 0;
    case 719:
      *text = "unspecified launch failure";
      return 0;
    default:
      *text = nullptr;
      return 1;
  }
}

FAKE int cuDriverGetVersion(int* version) {
  *version = Fake().driver_version;
  return Enter("cuDriverGetVersion");
}

FAKE int cuDeviceGetCount(int* count) {
  *count = Fake().num_devices;
  return Enter("cuDeviceGetCount");
}

FAKE int cuDeviceGet(int* device, int ordinal) {
  *device = 100 + ordinal;  // a CUdevice is not an ordinal
  return Enter("cuDeviceGet");
}

FAKE int cuDeviceGetName(char* name, int length, int device) {
  const std::string full = "Imaginary GPU " + std::to_string(device - 100);
  std::strncpy(name, full.c_str(), static_cast<std::size_t>(length));
  return Enter("cuDeviceGetName");
}

FAKE int cuDeviceTotalMem_v2(std::size_t* size_bytes, int device) {
  *size_bytes = std::size_t{141} * 1000000000 + static_cast<std::size_t>(device - 100);
  return Enter("cuDeviceTotalMem");
}

FAKE int cuDeviceGetAttribute(int* value, int attribute, int) {
  if (attribute != 75 && attribute != 76) return 1;
  *value = attribute == 75 ? Fake().compute_capability_major : 0;
  return Enter("cuDeviceGetAttribute");
}

FAKE int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = &contexts[device - 100];
  return Enter("cuDevicePrimaryCtxRetain", std::to_string(device - 100));
}

FAKE int cuCtxPushCurrent_v2(void* context) {
  const int result = Enter("cuCtxPushCurrent");
  if (result == 0) Fake().context_stack.push_back(context);
  return result;
}

FAKE int cuCtxPopCurrent_v2(void** context) {
  State& fake = Fake();
  if (fake.context_stack.empty()) return 201;
  *context = fake.context_stack.back();
  fake.context_stack.pop_back();
  return Enter("cuCtxPopCurrent");
}

FAKE int cuLibraryLoadData(void** handle, const void* image, int*, void**, unsigned, int*, void**,
                           unsigned) {
  unsigned magic;
  std::memcpy(&magic, image, sizeof magic);
  if (magic != 0xba55ed50) return 1;  // what a fatbin starts with
  *handle = &library;
  return Enter("cuLibraryLoadData");
}

FAKE int cuLibraryGetKernel(void** handle, void* from, const char* name) {
  const auto found = AllKernels().find(name);
  if (from != &library || found == AllKernels().end()) return 500;
  *handle = const_cast<KernelList::value_type*>(&*found);
  return Enter("cuLibraryGetKernel", name);
}

FAKE int cuPointerGetAttribute(void* value, int attribute, unsigned long long pointer) {
  const auto& memory = Fake().memory;
  auto found = memory.upper_bound(pointer);
  if (attribute != 9 || found == memory.begin()) return 1;
  --found;
  if (pointer >= found->first + found->second.first) return 1;
  std::memcpy(value, &found->second.second, sizeof(int));
  return Enter("cuPointerGetAttribute");
}

FAKE int cuEventCreate(void** handle, unsigned flags) {
  *handle = &event;
  return flags != 2 ? 1 : Enter("cuEventCreate");
}

FAKE int cuEventRecord(void*, void* stream) { return Enter("cuEventRecord", Number(stream)); }
FAKE int cuEventDestroy_v2(void*) { return Enter("cuEventDestroy"); }
FAKE int cuStreamWaitEvent(void* stream, void*, unsigned) {
  return Enter("cuStreamWaitEvent", Number(stream));
}

FAKE int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        void* stream, void** parameters, void**) {
  if (function == nullptr || Fake().context_stack.empty() || shared_bytes != 0) return 1;
  const auto& [name, call_of] = *static_cast<const KernelList::value_type*>(function);
  const std::string context = Fake().context_stack.back() == &contexts[0] ? "device 0" : "device 1";
  const int result = Enter("cuLaunchKernel",
                           std::string(name) + " " + context + " grid " + std::to_string(grid_x) +
                               " block " + std::to_string(block_x) + " stream " + Number(stream));
  if (result != 0) return result;
  executor::Launch({grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, {.seed = 1},
                   call_of(parameters));
  return 0;
}
