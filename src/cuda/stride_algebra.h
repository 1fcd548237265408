// How to move one box of bytes from one strided place to another.
//
//     for i0 < extent[0], i1 < extent[1], ...:  run_bytes from  sum(i * source_stride)
//                                                       to    sum(i * target_stride)
//
// Merge() makes of any such loop nest the shortest one that moves the same bytes, so that one
// kernel serves every layout: dimensions that are contiguous on both sides become one, the
// innermost of them becomes part of the run, and the run is moved in the widest words that all
// addresses allow.
#pragma once

#include "cuda/types.h"

namespace ctx::cuda {

inline constexpr Int32 kMaxDimensions = 4;

/// `extent` steps; strides in bytes.
struct Dimension {
  Int64 extent;
  Int64 source_stride;
  Int64 target_stride;
};

/// Dimensions from the outermost in; extents are at least 2.
struct Movement {
  Dimension dimensions[kMaxDimensions];
  Int32 num_dimensions;
  Int32 vector_bytes;  ///< 16, 8, 4 or 1; divides run_bytes, every stride and every address
  Int64 run_bytes;
};

/// The largest of 16, 8, 4 and 1 that divides all numbers whose bitwise or is `bits`.
CTX_HOST_DEVICE inline Int32 WidestVector(Uint64 bits) {
  return bits % 16 == 0 ? 16 : bits % 8 == 0 ? 8 : bits % 4 == 0 ? 4 : 1;
}

/// The shortest movement of `dimensions` (in any order, extents 1 or more; at most kMaxDimensions)
/// around a run of `run_bytes`. `alignment`: the bitwise or of what else is added to addresses. The
/// target must not overlap itself. Dimensions come out by descending target stride.
CTX_HOST_DEVICE inline Movement Merge(const Dimension* dimensions, Int32 num_dimensions,
                                      Int64 run_bytes, Uint64 alignment) {
  Dimension sorted[kMaxDimensions];  // innermost first
  Int32 count = 0;
  for (Int32 i = 0; i < num_dimensions; ++i) {
    if (dimensions[i].extent == 1) continue;
    Int32 at = count++;
    for (; at > 0 && sorted[at - 1].target_stride > dimensions[i].target_stride; --at) {
      sorted[at] = sorted[at - 1];
    }
    sorted[at] = dimensions[i];
  }
  Int32 kept = 0;  // sorted[0 .. kept) are merged
  for (Int32 i = 0; i < count; ++i) {
    const Dimension outer = sorted[i];
    if (kept == 0) {
      if (outer.source_stride == run_bytes && outer.target_stride == run_bytes) {
        run_bytes *= outer.extent;
        continue;
      }
    } else if (Dimension& inner = sorted[kept - 1];
               outer.source_stride == inner.source_stride * inner.extent &&
               outer.target_stride == inner.target_stride * inner.extent) {
      inner.extent *= outer.extent;
      continue;
    }
    sorted[kept++] = outer;
  }
  Movement movement{};
  movement.num_dimensions = kept;
  movement.run_bytes = run_bytes;
  alignment |= static_cast<Uint64>(run_bytes);
  for (Int32 i = 0; i < kept; ++i) {
    movement.dimensions[i] = sorted[kept - 1 - i];
    alignment |= static_cast<Uint64>(sorted[i].source_stride | sorted[i].target_stride);
  }
  movement.vector_bytes = WidestVector(alignment);
  return movement;
}

/// Division of numbers below 2^31 by a constant: one multiplication.
///
/// With l = ceil(log2 d), m = ceil(2^(31+l) / d) = (2^(31+l) + e) / d, 0 <= e < d <= 2^l:
/// n * m / 2^(31+l) = n / d + (n * e) / (d * 2^(31+l)), and the second term is below 1 / d, so the
/// floor is that of n / d. m < 2^32, since d > 2^(l-1).
struct Divisor {
  Uint32 divisor;
  Uint32 multiplier;
  Uint32 shift;

  /// 1 <= divisor < 2^31.
  CTX_HOST_DEVICE static Divisor Of(Int64 divisor) {
    Uint32 log = 0;
    while ((Int64{1} << log) < divisor) ++log;
    const Uint64 power = Uint64{1} << (31 + log);
    const Uint64 d = static_cast<Uint64>(divisor);
    return {static_cast<Uint32>(divisor), static_cast<Uint32>((power + d - 1) / d), 31 + log};
  }
  CTX_HOST_DEVICE Uint32 Quotient(Uint32 n) const {
    return static_cast<Uint32>((static_cast<Uint64>(n) * multiplier) >> shift);
  }
};

}  // namespace ctx::cuda
