// Every kernel, as the C++ function that cuda_language.h makes of it, and by its name.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <string_view>

#include "cuda/block_copy.h"
#include "cuda/kv_write.h"
#include "cuda/slot_mapping.h"
#include "cuda/tables.h"

extern "C" {
void ctxengine_copy_blocks_16(ctx::cuda::BlockCopyArgs args);
void ctxengine_copy_blocks_8(ctx::cuda::BlockCopyArgs args);
void ctxengine_copy_blocks_4(ctx::cuda::BlockCopyArgs args);
void ctxengine_copy_blocks_1(ctx::cuda::BlockCopyArgs args);
void ctxengine_kv_write_8(ctx::cuda::KVWriteArgs args);
void ctxengine_kv_write_1(ctx::cuda::KVWriteArgs args);
void ctxengine_slot_mapping(ctx::cuda::SlotMappingArgs args);
void ctxengine_decode_append(ctx::cuda::DecodeAppendArgs args);
void ctxengine_ring_push(ctx::cuda::RingPushArgs args);
void ctxengine_table_patch(ctx::cuda::TablePatchArgs args);
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
      {"ctxengine_copy_blocks_16", CallOf(ctxengine_copy_blocks_16)},
      {"ctxengine_copy_blocks_8", CallOf(ctxengine_copy_blocks_8)},
      {"ctxengine_copy_blocks_4", CallOf(ctxengine_copy_blocks_4)},
      {"ctxengine_copy_blocks_1", CallOf(ctxengine_copy_blocks_1)},
      {"ctxengine_kv_write_8", CallOf(ctxengine_kv_write_8)},
      {"ctxengine_kv_write_1", CallOf(ctxengine_kv_write_1)},
      {"ctxengine_slot_mapping", CallOf(ctxengine_slot_mapping)},
      {"ctxengine_decode_append", CallOf(ctxengine_decode_append)},
      {"ctxengine_ring_push", CallOf(ctxengine_ring_push)},
      {"ctxengine_table_patch", CallOf(ctxengine_table_patch)},
  };
  return kernels;
}
