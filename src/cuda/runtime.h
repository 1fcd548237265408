// Devices and kernel launches. A Runtime is one driver library plus one image of kernels; the
// package uses Runtime::Default(), made on first use and never at import.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cuda/driver.h"
#include "cuda/kernels.h"

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

  /// Enqueues `kernel` on `stream` (a CUstream of the arrays' device's primary context; 0 is the
  /// legacy default stream) and returns without waiting. The device first waits for what is already
  /// enqueued on each stream of `after`. Arrays must stay alive until the kernel has run. Nothing
  /// is enqueued when there is nothing to do. Throws ArgumentError when the arrays are not on one
  /// device, DeviceError with the driver's name and text for everything the driver refuses, or when
  /// why_not() is not empty.
  template <typename Args>
  void Launch(const Kernel<Args>& kernel, const Args& args, std::uintptr_t stream,
              std::span<const std::uintptr_t> after) {
    const auto arrays = ArraysOf(args);
    Launch(kernel.name, kernel.threads_per_block, NumBlocks(kernel, args), &args, arrays, stream,
           after);
  }

 private:
  void Launch(const char* name, unsigned threads_per_block, unsigned num_blocks, const void* args,
              std::span<const NamedArray> arrays, std::uintptr_t stream,
              std::span<const std::uintptr_t> after);
  int DeviceOf(const NamedArray& array) const;
  abi::Handle Context(int ordinal);
  abi::Handle KernelHandle(const char* name);

  std::span<const unsigned char> image_;
  std::optional<Driver> driver_;
  std::vector<DeviceInfo> devices_;
  std::string why_not_;

  std::mutex mutex_;  // guards what is made on first use
  std::vector<abi::Handle> contexts_;
  abi::Handle library_ = nullptr;
  std::unordered_map<std::string_view, abi::Handle> kernels_;
};

}  // namespace ctx::cuda
