#include "cuda/host_backend.h"

#include "common/error.h"
#include "common/ids.h"
#include "common/str_cat.h"

namespace ctx::cuda {
namespace {

static_assert(kPaddingSlot == kNoSlot && sizeof(Int32) == sizeof(BlockId) &&
              sizeof(Int64) == sizeof(Slot));

[[noreturn]] void ThrowInvalid(const SlotMappingArgs& args, Int64 i) {
  const Int64 row = args.rows[i * args.rows_stride];
  if (row >= args.num_rows) {
    throw ArgumentError(
        StrCat("rows[", i, "] = ", row, ", but the block tables have ", args.num_rows, " rows"));
  }
  const Int64 position = args.positions[i * args.positions_stride];
  const Int64 column = position / args.block_size;
  if (column >= args.num_columns) {
    throw ArgumentError(StrCat("positions[", i, "] = ", position, " lies in block ", column,
                               " of its sequence, but the block tables have ", args.num_columns,
                               " columns"));
  }
  throw ArgumentError(
      StrCat("positions[", i, "] = ", position, ": row ", row, " has no block in column ", column));
}

}  // namespace

void SlotMappingOnHost(const SlotMappingArgs& args) {
  for (Int64 i = 0; i < args.num_tokens; ++i) {
    if (SlotOf(args, i) == kInvalidSlot) ThrowInvalid(args, i);
  }
  for (Int64 i = 0; i < args.num_slots; ++i) args.slots[i * args.slots_stride] = SlotOf(args, i);
}

}  // namespace ctx::cuda
