// A group of layers that keep the same part of a sequence: what of it they still need, and how
// many blocks of a known prefix they can reuse. The rules are vLLM's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace ctx::kv {

enum class GroupKind : std::uint8_t {
  kFull,           // attends to all tokens
  kSlidingWindow,  // attends to the last `window` tokens, the current one included
  kChunkedLocal,   // attends to the tokens since the last multiple of `window`
  kLinearState,    // keeps one state, which stands for all tokens before it
};

struct Group {
  GroupKind kind = GroupKind::kFull;
  std::int64_t window = 0;  // tokens; 0 where the kind has none
  friend bool operator==(const Group&, const Group&) = default;
};

inline constexpr std::int64_t kMaxGroups = 64;

/// Leading tokens that no token from position `num_computed` on needs any more.
inline std::int64_t NumSkippedTokens(const Group& group, std::int64_t num_computed) noexcept {
  switch (group.kind) {
    case GroupKind::kFull:
      return 0;
    case GroupKind::kSlidingWindow:
      return std::max<std::int64_t>(num_computed - group.window + 1, 0);
    case GroupKind::kChunkedLocal:
      return num_computed / group.window * group.window;
    case GroupKind::kLinearState:
      return std::max<std::int64_t>(num_computed - 1, 0);
  }
  return 0;
}

/// The least `num_computed` for which `num_tokens` (1 or more) leading tokens are skipped.
inline std::int64_t SkippedFrom(const Group& group, std::int64_t num_tokens) noexcept {
  switch (group.kind) {
    case GroupKind::kFull:
      break;
    case GroupKind::kSlidingWindow:
      return num_tokens + group.window - 1;
    case GroupKind::kChunkedLocal:
      return (num_tokens + group.window - 1) / group.window * group.window;
    case GroupKind::kLinearState:
      return num_tokens + 1;
  }
  return std::numeric_limits<std::int64_t>::max();
}

/// Blocks that a row holds at most when it is computed a block at a time, of `num_columns`.
inline std::int64_t NumHeld(const Group& group, std::int64_t num_columns,
                            std::int64_t block_size) noexcept {
  switch (group.kind) {
    case GroupKind::kFull:
      break;
    case GroupKind::kSlidingWindow:
      return std::min(num_columns, (group.window + block_size - 2) / block_size + 1);
    case GroupKind::kChunkedLocal:
      return std::min(num_columns, (group.window + block_size - 1) / block_size + 1);
    case GroupKind::kLinearState:
      return std::min<std::int64_t>(num_columns, 2);
  }
  return num_columns;
}

/// Length of the longest prefix of at most `max_tokens` tokens that the group can go on from, in
/// blocks. `has_block(column)` says whether the group's block of a column of the prefix is there; a
/// full group has all before `first`.
template <typename HasBlock>
std::int64_t LongestHit(const Group& group, std::int64_t max_tokens, std::int64_t block_size,
                        std::int64_t first, HasBlock has_block) noexcept {
  const std::int64_t max_columns = max_tokens / block_size;
  switch (group.kind) {
    case GroupKind::kFull: {
      std::int64_t column = first;
      while (column < max_columns && has_block(column)) ++column;
      return column;
    }
    case GroupKind::kSlidingWindow: {
      // From the right, the first run of blocks that covers a window; else what begins at 0.
      const std::int64_t needed = (group.window - 1 + block_size - 1) / block_size;
      if (needed == 0) return max_columns;
      std::int64_t run = 0;
      for (std::int64_t column = max_columns - 1; column >= 0; --column) {
        run = has_block(column) ? run + 1 : 0;
        if (run >= needed) return column + run;
      }
      return run;
    }
    case GroupKind::kChunkedLocal: {
      std::int64_t column = NumSkippedTokens(group, max_tokens) / block_size;
      while (column < max_columns && has_block(column)) ++column;
      return column;
    }
    case GroupKind::kLinearState: {
      std::int64_t column = max_columns;
      while (column > 0 && !has_block(column - 1)) --column;
      return column;
    }
  }
  return 0;
}

}  // namespace ctx::kv
