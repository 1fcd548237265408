#include "cuda/runtime.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "common/error.h"
#include "common/str_cat.h"
#include "cuda/build_info.h"

namespace ctx::cuda {
namespace {

constexpr int kMinComputeCapabilityMajor = 8;  // the lowest architecture in the image

/// Makes a context current for the calling thread and gives the former one back.
class ContextScope {
 public:
  ContextScope(const Driver& driver, abi::Handle context) : driver_(driver) {
    driver_.Check(driver_.context_push(context), "cuCtxPushCurrent");
  }
  ~ContextScope() {
    abi::Handle popped;
    driver_.context_pop(&popped);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const Driver& driver_;
};

/// An event that lives for one scope; the driver keeps it until what waits for it has run.
class Event {
 public:
  explicit Event(const Driver& driver) : driver_(driver) {
    driver_.Check(driver_.event_create(&event_, abi::kEventDisableTiming), "cuEventCreate");
  }
  ~Event() { driver_.event_destroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  abi::Handle get() const noexcept { return event_; }

 private:
  const Driver& driver_;
  abi::Handle event_ = nullptr;
};

abi::Handle StreamHandle(std::uintptr_t stream) { return reinterpret_cast<abi::Handle>(stream); }

// 0 and 1 (CU_STREAM_LEGACY) both name the legacy default stream.
bool SameStream(std::uintptr_t a, std::uintptr_t b) { return a == b || (a <= 1 && b <= 1); }

std::string VersionText(int version) { return StrCat(version / 1000, ".", version % 1000 / 10); }

std::vector<DeviceInfo> ListDevices(const Driver& driver) {
  int count = 0;
  driver.Check(driver.device_get_count(&count), "cuDeviceGetCount");
  std::vector<DeviceInfo> devices;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    abi::Device device;
    std::array<char, 256> name{};
    std::size_t memory_bytes = 0;
    int major = 0;
    int minor = 0;
    driver.Check(driver.device_get(&device, ordinal), "cuDeviceGet");
    driver.Check(driver.device_get_name(name.data(), static_cast<int>(name.size()) - 1, device),
                 "cuDeviceGetName");
    driver.Check(driver.device_total_mem(&memory_bytes, device), "cuDeviceTotalMem");
    driver.Check(driver.device_get_attribute(&major, abi::kComputeCapabilityMajor, device),
                 "cuDeviceGetAttribute");
    driver.Check(driver.device_get_attribute(&minor, abi::kComputeCapabilityMinor, device),
                 "cuDeviceGetAttribute");
    devices.push_back({name.data(), major, minor, memory_bytes});
  }
  return devices;
}

std::string WhyNot(const Driver& driver, std::span<const DeviceInfo> devices,
                   int required_driver_version) {
  int version = 0;
  driver.Check(driver.driver_get_version(&version), "cuDriverGetVersion");
  if (version < required_driver_version) {
    return StrCat("the CUDA driver is too old: it supports CUDA ", VersionText(version),
                  ", the kernels need ", VersionText(required_driver_version));
  }
  if (devices.empty()) return "no CUDA device was found";
  const bool any_supported = std::any_of(devices.begin(), devices.end(), [](const auto& device) {
    return device.compute_capability_major >= kMinComputeCapabilityMajor;
  });
  if (!any_supported) {
    return StrCat("no CUDA device is new enough: the kernels need compute capability ",
                  kMinComputeCapabilityMajor, ".0, ", devices[0].name, " has ",
                  devices[0].compute_capability_major, ".", devices[0].compute_capability_minor);
  }
  return "";
}

/// Images of one major version load on every driver of that version; library loading came
/// with 12.0.
int RequiredDriverVersion(std::string_view compiler_version) {
  int major = 0;
  std::from_chars(compiler_version.data(), compiler_version.data() + compiler_version.size(),
                  major);
  return std::max(major, 12) * 1000;
}

}  // namespace

Runtime::Runtime(const RuntimeOptions& options) : image_(options.image) {
  try {
    driver_.emplace(options.driver_library);
    devices_ = ListDevices(*driver_);
    contexts_.resize(devices_.size());
    why_not_ = WhyNot(*driver_, devices_, options.required_driver_version);
  } catch (const DeviceError& error) {
    why_not_ = error.what();
  }
  if (image_.empty()) why_not_ = "this build of ctxengine was made without a CUDA compiler";
}

Runtime& Runtime::Default() {
  static Runtime* const runtime = [] {
    const char* const library = std::getenv("CTXENGINE_LIBCUDA");
    return new Runtime({library != nullptr ? library : "libcuda.so.1", KernelImage(),
                        RequiredDriverVersion(GetBuildInfo().compiler_version)});
  }();
  return *runtime;
}

int Runtime::DeviceOf(const NamedArray& array) const {
  int ordinal = -1;
  const abi::Result result = driver_->pointer_get_attribute(
      &ordinal, abi::kPointerDeviceOrdinal, reinterpret_cast<abi::DevicePointer>(array.address));
  if (result == abi::kErrorInvalidValue ||
      (result == abi::kSuccess && (ordinal < 0 || ordinal >= static_cast<int>(devices_.size())))) {
    throw ArgumentError(StrCat(array.name, " is not memory of a CUDA device: ", array.address));
  }
  driver_->Check(result, "cuPointerGetAttribute");
  return ordinal;
}

abi::Handle Runtime::Context(int ordinal) {
  const std::lock_guard lock(mutex_);
  abi::Handle& context = contexts_[static_cast<std::size_t>(ordinal)];
  if (context == nullptr) {
    abi::Device device;
    driver_->Check(driver_->device_get(&device, ordinal), "cuDeviceGet");
    driver_->Check(driver_->primary_context_retain(&context, device), "cuDevicePrimaryCtxRetain");
  }
  return context;
}

abi::Handle Runtime::KernelHandle(const char* name) {
  const std::lock_guard lock(mutex_);
  if (const auto found = kernels_.find(name); found != kernels_.end()) return found->second;
  if (library_ == nullptr) {
    driver_->Check(driver_->library_load_data(&library_, image_.data(), nullptr, nullptr, 0,
                                              nullptr, nullptr, 0),
                   "cuLibraryLoadData");
  }
  abi::Handle kernel;
  driver_->Check(driver_->library_get_kernel(&kernel, library_, name), "cuLibraryGetKernel");
  kernels_.emplace(name, kernel);
  return kernel;
}

void Runtime::Launch(const char* name, unsigned threads_per_block, unsigned num_blocks,
                     const void* args, std::span<const NamedArray> arrays, std::uintptr_t stream,
                     std::span<const std::uintptr_t> after) {
  if (!why_not_.empty()) throw DeviceError(why_not_);
  if (num_blocks == 0) return;
  int ordinal = -1;
  const char* first = nullptr;
  for (const NamedArray& array : arrays) {
    // An empty array may have no memory at all.
    if (array.address == nullptr) continue;
    const int device = DeviceOf(array);
    if (first == nullptr) {
      ordinal = device;
      first = array.name;
    } else if (device != ordinal) {
      throw ArgumentError(
          StrCat(array.name, " is on CUDA device ", device, ", ", first, " on device ", ordinal));
    }
  }
  if (first == nullptr) throw ArgumentError(StrCat(arrays.front().name, " has no memory"));
  const ContextScope scope(*driver_, Context(ordinal));
  const abi::Handle kernel = KernelHandle(name);
  for (const std::uintptr_t producer : after) {
    if (SameStream(producer, stream)) continue;
    const Event event(*driver_);
    driver_->Check(driver_->event_record(event.get(), StreamHandle(producer)), "cuEventRecord");
    driver_->Check(driver_->stream_wait_event(StreamHandle(stream), event.get(), 0),
                   "cuStreamWaitEvent");
  }
  // The driver copies the arguments and does not write to them.
  void* parameters[] = {const_cast<void*>(args)};
  driver_->Check(driver_->launch_kernel(kernel, num_blocks, 1, 1, threads_per_block, 1, 1, 0,
                                        StreamHandle(stream), parameters, nullptr),
                 "cuLaunchKernel");
}

}  // namespace ctx::cuda
