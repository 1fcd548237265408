// Devices and kernel launches. A Runtime is one driver library plus one image of kernels; the
// package uses Runtime::Default(), made on first use and never at import.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda/slot_mapping.h"

namespace ctx::cuda {

struct DeviceInfo {
  std::string name;
  int compute_capability_major;
  int compute_capability_minor;
  std::uint64_t memory_bytes;
};

struct RuntimeOptions {
  std::string driver_library;            ///< for dlopen
  std::span<const unsigned char> image;  ///< kernels; outlives the runtime; may be empty
  int required_driver_version;           ///< as cuDriverGetVersion counts: 13000 is CUDA 13.0
};

/// Every method may be called from any thread.
class Runtime {
 public:
  /// Opens the driver and lists the devices. What is missing is recorded in why_not(), not thrown.
  explicit Runtime(const RuntimeOptions& options);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  /// This build's kernels with $CTXENGINE_LIBCUDA, or else libcuda.so.1. Lives as long as the
  /// process.
  static Runtime& Default();

  /// Why kernels cannot be launched, as one sentence; empty when they can.
  const std::string& why_not() const noexcept { return why_not_; }

  /// The devices in the driver's order; empty without a driver.
  std::span<const DeviceInfo> devices() const noexcept { return devices_; }

  /// Enqueues the slot mapping kernel on `stream` (a CUstream of the arrays' device's primary
  /// context; 0 is the legacy default stream) and returns without waiting. The device first waits
  /// for what is already enqueued on each stream of `after`. Arrays must stay alive until the
  /// kernel has run. Throws ArgumentError when the arrays are not on one device, DeviceError with
  /// the driver's name and text for everything the driver refuses, or when why_not() is not empty.
  void SlotMapping(const SlotMappingArgs& args, std::uintptr_t stream,
                   std::span<const std::uintptr_t> after);

 private:
  int DeviceOf(const void* array, const char* what) const;
  abi::Handle Context(int ordinal);
  abi::Handle SlotMappingKernel();

  std::span<const unsigned char> image_;
  std::optional<Driver> driver_;
  std::vector<DeviceInfo> devices_;
  std::string why_not_;

  std::mutex mutex_;  // guards what is made on first use
  std::vector<abi::Handle> contexts_;
  abi::Handle slot_mapping_kernel_ = nullptr;
};

}  // namespace ctx::cuda
