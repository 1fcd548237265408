// The driver path: open, list, load, launch, and every way in which the driver can refuse.
#include "cuda/runtime.h"

#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"

namespace ctx::cuda {
namespace {

constexpr const char* kFakeLibrary = CTXENGINE_FAKE_LIBCUDA;
constexpr unsigned char kImage[] = {0x50, 0xed, 0x55, 0xba};  // a fatbin's magic number

/// The fake library's hooks, reset for each test.
class Fake {
 public:
  Fake() : handle_(dlopen(kFakeLibrary, RTLD_NOW)) {
    REQUIRE(handle_ != nullptr);
    Hook<void()>("fake_cuda_reset")();
  }
  void Fail(const char* call, int error) {
    Hook<void(const char*, int)>("fake_cuda_fail")(call, error);
  }
  void Set(const char* hook, int value) { Hook<void(int)>(hook)(value); }
  template <typename T>
  void AddMemory(const std::vector<T>& memory, int ordinal) {
    Hook<void(const void*, std::size_t, int)>("fake_cuda_add_memory")(
        memory.data(), memory.size() * sizeof(T), ordinal);
  }
  std::string Log() { return Hook<const char*()>("fake_cuda_log")(); }
  std::size_t ContextDepth() { return Hook<std::size_t()>("fake_cuda_context_depth")(); }
  bool Called(const std::string& text) { return Log().find(text) != std::string::npos; }

 private:
  template <typename Function>
  Function* Hook(const char* name) {
    return reinterpret_cast<Function*>(dlsym(handle_, name));
  }
  void* handle_;
};

RuntimeOptions Options() { return {kFakeLibrary, kImage, 13000}; }

/// Two rows of two blocks, three tokens; slots 7*16+1, 9*16+15 and padding.
struct Batch {
  std::vector<Int32> tables = {7, 3, 4, 9};
  std::vector<Int32> rows = {0, 1, -1};
  std::vector<Int64> positions = {1, 31, 0};
  std::vector<Int64> slots = std::vector<Int64>(5, 99);
  std::vector<Int64> expected = {113, 159, -1, -1, -1};

  void PutOn(Fake& fake, int ordinal) const {
    fake.AddMemory(tables, ordinal);
    fake.AddMemory(rows, ordinal);
    fake.AddMemory(positions, ordinal);
    fake.AddMemory(slots, ordinal);
  }
  SlotMappingArgs Args() {
    return {tables.data(), 2, 2, 2, 1, rows.data(), 1, positions.data(), 1, 3, 16,
            slots.data(),  1, 5};
  }
};

std::string WhyNot(const RuntimeOptions& options) { return Runtime(options).why_not(); }

TEST_CASE("devices are listed and kernels can be launched") {
  Fake fake;
  const Runtime runtime(Options());
  CHECK(runtime.why_not() == "");
  REQUIRE(runtime.devices().size() == 2);
  CHECK(runtime.devices()[1].name == "Imaginary GPU 1");
  CHECK(runtime.devices()[1].compute_capability_major == 9);
  CHECK(runtime.devices()[1].compute_capability_minor == 0);
  CHECK(runtime.devices()[1].memory_bytes == 141000000001);
  CHECK_FALSE(fake.Called("cuLibraryLoadData"));
  CHECK_FALSE(fake.Called("cuDevicePrimaryCtxRetain"));
}

TEST_CASE("what is missing is one sentence, not an exception") {
  Fake fake;
  RuntimeOptions options = Options();
  options.driver_library = "libno-such-cuda.so.1";
  CHECK(WhyNot(options).find("the CUDA driver library could not be opened: libno-such-cuda.so.1") ==
        0);
  options.driver_library = "libc.so.6";
  CHECK(WhyNot(options) ==
        "the CUDA driver is too old: it has no cuInit (CUDA 12.0 or newer is needed)");
  options = Options();
  options.image = {};
  CHECK(WhyNot(options) == "this build of ctxengine was made without a CUDA compiler");
  CHECK(Runtime(options).devices().size() == 2);

  fake.Set("fake_cuda_set_driver_version", 12080);
  CHECK(WhyNot(Options()) ==
        "the CUDA driver is too old: it supports CUDA 12.8, the kernels need 13.0");
  fake.Set("fake_cuda_set_driver_version", 13000);
  fake.Set("fake_cuda_set_compute_capability", 7);
  CHECK(
      WhyNot(Options()) ==
      "no CUDA device is new enough: the kernels need compute capability 8.0, Imaginary GPU 0 has "
      "7.0");
  fake.Set("fake_cuda_set_num_devices", 0);
  CHECK(WhyNot(Options()) == "no CUDA device was found");
  fake.Fail("cuInit", 100);
  CHECK(WhyNot(Options()) == "no CUDA device was found");
  fake.Fail("cuInit", 4321);
  CHECK(WhyNot(Options()) == "cuInit: unknown error (4321): no description");
}

TEST_CASE("a launch without what it needs says why") {
  Fake fake;
  RuntimeOptions options = Options();
  options.image = {};
  Runtime runtime(options);
  Batch batch;
  CHECK_THROWS_AS(runtime.Launch(kSlotMapping, batch.Args(), 0, {}), DeviceError);
  CHECK(batch.slots == std::vector<Int64>(5, 99));
}

TEST_CASE("a launch runs the kernel on the arrays' device and stream") {
  Fake fake;
  Runtime runtime(Options());
  for (const int ordinal : {1, 0, 1}) {
    Batch batch;
    batch.PutOn(fake, ordinal);
    runtime.Launch(kSlotMapping, batch.Args(), 4660, {});
    CHECK(batch.slots == batch.expected);
    CHECK(fake.Called("cuLaunchKernel ctxengine_slot_mapping device " + std::to_string(ordinal) +
                      " grid 1 block 256 stream 4660"));
    CHECK(fake.ContextDepth() == 0);
  }
  // The image is loaded once, each primary context retained once.
  const std::string log = fake.Log();
  for (const char* once :
       {"cuLibraryLoadData\n", "cuDevicePrimaryCtxRetain 0\n", "cuDevicePrimaryCtxRetain 1\n"}) {
    CHECK(log.find(once) != std::string::npos);
    CHECK(log.find(once) == log.rfind(once));
  }
}

TEST_CASE("the grid is one thread per slot, and capped") {
  Fake fake;
  Runtime runtime(Options());
  Batch batch;
  batch.slots.assign(257, 99);
  batch.PutOn(fake, 0);
  SlotMappingArgs args = batch.Args();
  args.num_slots = 257;
  runtime.Launch(kSlotMapping, args, 0, {});
  CHECK(fake.Called("grid 2 block 256"));
  CHECK(batch.slots.back() == kPaddingSlot);

  batch.slots.assign(1024 * 256 + 3, 99);
  fake.AddMemory(batch.slots, 0);
  args = batch.Args();
  args.num_slots = 1024 * 256 + 3;
  runtime.Launch(kSlotMapping, args, 0, {});
  CHECK(fake.Called("grid 1024 block 256"));
  CHECK(batch.slots.back() == kPaddingSlot);
}

TEST_CASE("streams that made the inputs are waited for, the same stream is not") {
  Fake fake;
  Runtime runtime(Options());
  Batch batch;
  batch.PutOn(fake, 0);
  const std::array<std::uintptr_t, 2> after = {7, 8};
  runtime.Launch(kSlotMapping, batch.Args(), 8, after);
  CHECK(fake.Called("cuEventRecord 7\ncuStreamWaitEvent 8\ncuEventDestroy\n"));
  CHECK_FALSE(fake.Called("cuEventRecord 8"));

  // 1 is another name of stream 0.
  const std::array<std::uintptr_t, 1> legacy = {1};
  runtime.Launch(kSlotMapping, batch.Args(), 0, legacy);
  CHECK_FALSE(fake.Called("cuEventRecord 1"));
}

TEST_CASE("empty arrays") {
  Fake fake;
  Runtime runtime(Options());
  Batch batch;
  batch.PutOn(fake, 0);
  SlotMappingArgs args = batch.Args();
  args.rows = nullptr;
  args.positions = nullptr;
  args.num_tokens = 0;
  runtime.Launch(kSlotMapping, args, 0, {});
  CHECK(batch.slots == std::vector<Int64>(5, kPaddingSlot));
  args.num_slots = 0;
  args.slots = nullptr;
  runtime.Launch(kSlotMapping, args, 0, {});
}

TEST_CASE("memory of the host or of another device is an error that names the array") {
  Fake fake;
  Runtime runtime(Options());
  Batch batch;
  batch.PutOn(fake, 0);
  const std::vector<Int32> host_rows = {0, 1, -1};
  SlotMappingArgs args = batch.Args();
  args.rows = host_rows.data();
  try {
    runtime.Launch(kSlotMapping, args, 0, {});
    FAIL("expected ArgumentError");
  } catch (const ArgumentError& error) {
    CHECK(std::string(error.what()).find("rows is not memory of a CUDA device: 0x") == 0);
  }
  fake.AddMemory(host_rows, 1);
  CHECK_THROWS_WITH_AS(runtime.Launch(kSlotMapping, args, 0, {}),
                       "rows is on CUDA device 1, out on device 0", ArgumentError);
  CHECK(batch.slots == std::vector<Int64>(5, 99));
  CHECK_FALSE(fake.Called("cuLaunchKernel"));
}

TEST_CASE("every refusal of the driver is a DeviceError with call, name and text; a retry works") {
  const std::array<const char*, 9> calls = {
      "cuPointerGetAttribute", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent",
      "cuLibraryLoadData",     "cuLibraryGetKernel",       "cuEventCreate",
      "cuEventRecord",         "cuStreamWaitEvent",        "cuLaunchKernel"};
  const std::array<std::uintptr_t, 1> after = {7};
  for (const char* const call : calls) {
    Fake fake;
    Runtime runtime(Options());
    Batch batch;
    batch.PutOn(fake, 0);
    fake.Fail(call, 719);
    CHECK_THROWS_WITH_AS(
        runtime.Launch(kSlotMapping, batch.Args(), 0, after),
        (std::string(call) + ": CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure")
            .c_str(),
        DeviceError);
    CHECK(batch.slots == std::vector<Int64>(5, 99));
    CHECK(fake.ContextDepth() == 0);
    fake.Fail(call, 0);
    runtime.Launch(kSlotMapping, batch.Args(), 0, after);
    CHECK(batch.slots == batch.expected);
  }
}

}  // namespace
}  // namespace ctx::cuda
