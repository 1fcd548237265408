// Where a provider's prompt cache should be written, and what a call reads from it.
//
// A provider that takes breakpoints stores the prompt up to each block that is marked. A later call
// reads the longest stored prefix that one of its own breakpoints reaches: the marked block itself
// or one of the positions before it, as far as the look-back goes. Tokens between what is read and
// the last breakpoint are written, at the price of the lifetime that was asked for; what follows is
// paid in full.
//
//     tools        system          history                    last turn
//     ├────────────┼───────────────┼──────────────────────────┼─────────┤
//     └──────────── read ──────────┴───── written ────────────┴ uncached┘
//                                  ▲                          ▲
//                                  stored before              last breakpoint
//
// What is minimised is the expected cost of this call and of the next one. The next call is a
// short list of cases, each with a probability: it shares so many blocks with this one and comes so
// many seconds later; the shared tokens are read as far as an entry of sufficient life reaches, and
// written again from there. Because the cost is linear in the place of a breakpoint between the
// points where anything changes (entries, ends of look-backs, ends of what next calls share, the
// least cacheable prefix), some optimum lies on markable blocks beside these points, and a dynamic
// programme over them is exact.
//
// Pure functions; any thread. Prices are integers per token, costs 128-bit, so nothing is rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ctx::budget {

__extension__ using Amount = __int128;

/// Limits that keep every sum exact.
inline constexpr std::int64_t kMaxCacheTokens = std::int64_t{1} << 40;
inline constexpr std::int64_t kMaxCachePrice = std::int64_t{1} << 40;
inline constexpr std::int64_t kPartsPerMillion = 1'000'000;
inline constexpr std::size_t kMaxNextCalls = 8;
inline constexpr std::size_t kMaxPlannedEntries = 8;

struct PromptBlock {
  std::int64_t tokens_after = 0;  ///< tokens of the prompt up to this block, which is included
  std::int64_t position = 0;      ///< what the look-back counts; never decreases
  bool markable = true;           ///< may carry a breakpoint
  std::int32_t marker = -1;       ///< the lifetime of a breakpoint that is set already, or -1
};

/// One lifetime that can be asked for.
struct CacheLifetime {
  std::int64_t seconds = 0;
  std::int64_t write_price = 0;
};

struct BreakpointRules {
  std::size_t max_breakpoints = 4;
  std::int64_t min_tokens = 0;  ///< a shorter prefix is not stored
  std::int64_t look_back = 20;  ///< positions that a breakpoint reaches, its own included; >= 1
  std::vector<CacheLifetime> lifetimes;  ///< longest first: no breakpoint may outlive one before it
  std::int64_t input_price = 0;
  std::int64_t read_price = 0;
};

/// A prefix that is stored now.
struct CacheEntry {
  std::size_t block = 0;          ///< its last block
  std::int64_t seconds = 0;       ///< its lifetime, which a read starts again
  std::int64_t seconds_left = 0;  ///< until it is dropped unless it is read
};

/// One case of what comes next.
struct NextCall {
  std::size_t blocks = 0;  ///< how many blocks of this prompt it begins with
  std::int64_t parts_per_million = 0;
  std::int64_t gap_seconds = 0;
};

struct CacheBreakpoint {
  std::size_t block = 0;
  std::size_t lifetime = 0;  ///< index of BreakpointRules::lifetimes

  bool operator==(const CacheBreakpoint&) const = default;
};

struct CacheProblem {
  std::span<const PromptBlock> blocks;
  std::int64_t total_tokens = 0;  ///< those after the last block included
  const BreakpointRules* rules = nullptr;
  std::span<const CacheEntry> entries;
  std::int64_t entries_parts_per_million = kPartsPerMillion;  ///< that the entries are there
  std::span<const NextCall> next_calls;
};

struct CacheUse {
  std::int64_t read_tokens = 0;
  std::size_t read_blocks = 0;
  std::vector<std::int64_t> written_tokens;  ///< one per lifetime
  std::int64_t uncached_tokens = 0;
};

/// How many blocks two prompts begin with in common, from their chained digests: digest i stands
/// for all blocks up to i, so equal digests mean equal prefixes. O(log n).
std::size_t CommonBlocks(std::span<const std::uint64_t> left, std::span<const std::uint64_t> right);

/// What this call reads and writes with these breakpoints (ascending; those of a prefix below the
/// minimum have no effect). O(breakpoints x entries).
CacheUse PredictUse(const CacheProblem& problem, std::span<const CacheBreakpoint> breakpoints);

/// The expected cost that ChooseBreakpoints minimises, in price units x 10^12.
Amount ExpectedCost(const CacheProblem& problem, std::span<const CacheBreakpoint> breakpoints);

/// Throws ArgumentError when the problem is outside its domain, or when the markers that are set
/// are more than the provider takes or out of order. O(n).
void CheckMarkers(const CacheProblem& problem);

/// The breakpoints with the least expected cost, ascending; among equals the fewest. Markers that
/// are set stay. Of more than kMaxPlannedEntries entries the longest are considered. O(n) in
/// blocks; beyond that bounded by the limits above. Throws ArgumentError when the problem is
/// outside its domain, or when the markers that are set are more than the provider takes or out of
/// order.
std::vector<CacheBreakpoint> ChooseBreakpoints(const CacheProblem& problem);

}  // namespace ctx::budget
