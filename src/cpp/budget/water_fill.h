// Sharing tokens among sections: demand-capped, weighted water-filling.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ctx::budget {

/// What a section may take and wants. 0 <= min_tokens <= max_tokens, 0 <= demand, weight finite and
/// positive.
struct SectionBounds {
  std::int64_t min_tokens = 0;
  std::int64_t max_tokens = 0;
  std::int64_t demand = 0;
  double weight = 1.0;
  std::int64_t priority = 0;
};

/// Throws ArgumentError when the bounds are not what SectionBounds says.
void ValidateBounds(const SectionBounds& bounds);

/// Tokens granted to each section; together at most `room`, and exactly min(room, what the sections
/// can take). First the minimums (as far as the demands reach), then level by level from the
/// highest priority: within a level, section i gets clamp(t * weight_i, min_i, min(max_i,
/// demand_i)) for the one water level t that uses the room up. Whole tokens by largest remainder,
/// ties to the earlier section.
///
/// Exact for all values up to 2^63 - 1: weights are taken as integers relative to the largest of
/// the level (2^-40 of it being the finest step), all else is integer arithmetic over sorted break
/// points. O(n log n) for n sections. Throws ArgumentError for a negative room or bad bounds.
std::vector<std::int64_t> WaterFill(std::int64_t room, std::span<const SectionBounds> sections);

}  // namespace ctx::budget
