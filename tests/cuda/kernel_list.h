// Every kernel, as the C++ function that cuda_language.h makes of it, and by its name.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <string_view>

#include "cuda/slot_mapping.h"

extern "C" {
void ctxengine_slot_mapping(ctx::cuda::SlotMappingArgs args);
}

/// name -> what calls the kernel with the arguments that a launch was given.
using KernelCall = std::function<void()>;
using KernelList = std::map<std::string_view, std::function<KernelCall(void** parameters)>>;

template <typename Args>
std::function<KernelCall(void**)> CallOf(void (*kernel)(Args)) {
  return [kernel](void** parameters) -> KernelCall {
    Args args;
    std::memcpy(&args, parameters[0], sizeof args);
    return [kernel, args] { kernel(args); };
  };
}

inline const KernelList& AllKernels() {
  static const KernelList kernels = {
      {"ctxengine_slot_mapping", CallOf(ctxengine_slot_mapping)},
  };
  return kernels;
}
