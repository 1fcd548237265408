#include "budget/water_fill.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

// Products of tokens (< 2^63) and integer weights (<= 2^40) need 103 bits, and their sums a few
// more.
__extension__ using Wide = __int128;

constexpr int kWeightBits = 40;

// One section within one level: its share lies between `low` and `high`.
struct Vessel {
  std::int64_t low;
  std::int64_t high;
  std::int64_t weight;
};

// The water level low / weight where a vessel begins to rise, or high / weight where it is full.
struct BreakPoint {
  std::int64_t tokens;
  std::int64_t weight;
  std::size_t vessel;
  bool rises;
};

bool IsLower(const BreakPoint& a, const BreakPoint& b) {
  return Wide{a.tokens} * b.weight < Wide{b.tokens} * a.weight;
}

void AssignIntegerWeights(std::span<const SectionBounds> sections,
                          std::span<const std::size_t> members, std::span<Vessel> vessels) {
  double largest = 0;
  for (const std::size_t i : members) largest = std::max(largest, sections[i].weight);
  int exponent = 0;
  std::frexp(largest, &exponent);
  for (std::size_t k = 0; k < members.size(); ++k) {
    const double scaled = std::ldexp(sections[members[k]].weight, kWeightBits - exponent);
    vessels[k].weight = std::max<std::int64_t>(1, std::llround(scaled));
  }
}

// Shares of `total`, which lies between the sum of all lows and the sum of all highs.
std::vector<std::int64_t> Fill(std::int64_t total, std::span<const Vessel> vessels) {
  std::vector<BreakPoint> points;
  points.reserve(2 * vessels.size());
  Wide still = 0;  // tokens of vessels that do not move: not yet rising, or full
  for (std::size_t i = 0; i < vessels.size(); ++i) {
    points.push_back({vessels[i].low, vessels[i].weight, i, true});
    points.push_back({vessels[i].high, vessels[i].weight, i, false});
    still += vessels[i].low;
  }
  std::stable_sort(points.begin(), points.end(), IsLower);

  Wide rising_weight = 0;
  std::vector<bool> is_rising(vessels.size());
  std::vector<std::int64_t> shares(vessels.size());
  for (std::size_t i = 0; i < vessels.size(); ++i) shares[i] = vessels[i].low;
  for (const BreakPoint& point : points) {
    // Content at this level: still + rising_weight * tokens / weight.
    if (still * point.weight + rising_weight * point.tokens >= Wide{total} * point.weight) break;
    const Vessel& vessel = vessels[point.vessel];
    if (point.rises) {
      still -= vessel.low;
      rising_weight += vessel.weight;
    } else {
      still += vessel.high;
      rising_weight -= vessel.weight;
      shares[point.vessel] = vessel.high;
    }
    is_rising[point.vessel] = point.rises;
  }
  if (rising_weight == 0) return shares;

  const Wide poured = Wide{total} - still;
  std::vector<std::size_t> by_remainder;
  std::vector<Wide> remainder(vessels.size());
  Wide left = poured;
  for (std::size_t i = 0; i < vessels.size(); ++i) {
    if (!is_rising[i]) continue;
    shares[i] = static_cast<std::int64_t>(poured * vessels[i].weight / rising_weight);
    remainder[i] = poured * vessels[i].weight % rising_weight;
    left -= shares[i];
    by_remainder.push_back(i);
  }
  // A vessel with a remainder is below its high, and at least `left` vessels have one.
  std::ranges::stable_sort(by_remainder, std::greater<>{},
                           [&](std::size_t i) { return remainder[i]; });
  for (std::size_t k = 0; left > 0; ++k, --left) ++shares[by_remainder[k]];
  return shares;
}

}  // namespace

void ValidateBounds(const SectionBounds& bounds) {
  if (bounds.min_tokens < 0 || bounds.max_tokens < 0 || bounds.demand < 0) {
    throw ArgumentError("section bounds: token numbers must not be negative");
  }
  if (bounds.min_tokens > bounds.max_tokens) {
    throw ArgumentError(StrCat("section bounds: min_tokens ", bounds.min_tokens,
                               " is larger than max_tokens ", bounds.max_tokens));
  }
  if (!std::isfinite(bounds.weight) || bounds.weight <= 0) {
    throw ArgumentError(
        StrCat("section bounds: weight must be finite and positive, not ", bounds.weight));
  }
}

std::vector<std::int64_t> WaterFill(std::int64_t room, std::span<const SectionBounds> sections) {
  if (room < 0) throw ArgumentError(StrCat("room must not be negative: ", room));
  for (const SectionBounds& bounds : sections) ValidateBounds(bounds);

  std::vector<std::size_t> order(sections.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>{},
                           [&](std::size_t i) { return sections[i].priority; });
  std::vector<std::int64_t> granted(sections.size());
  std::int64_t remaining = room;

  // Pours what remains, level by level, up to `limit` of each section.
  const auto pour = [&](const auto& limit) {
    for (std::size_t begin = 0; begin < order.size();) {
      std::size_t end = begin;
      while (end < order.size() &&
             sections[order[end]].priority == sections[order[begin]].priority) {
        ++end;
      }
      const auto members = std::span(order).subspan(begin, end - begin);
      std::vector<Vessel> vessels;
      Wide wanted = 0;
      Wide held = 0;
      for (const std::size_t i : members) {
        vessels.push_back({granted[i], limit(sections[i]), 1});
        held += granted[i];
        wanted += limit(sections[i]) - granted[i];
      }
      AssignIntegerWeights(sections, members, vessels);
      const auto poured = static_cast<std::int64_t>(std::min(Wide{remaining}, wanted));
      const auto shares = Fill(static_cast<std::int64_t>(held + poured), vessels);
      for (std::size_t k = 0; k < members.size(); ++k) granted[members[k]] = shares[k];
      remaining -= poured;
      begin = end;
    }
  };
  pour([](const SectionBounds& s) { return std::min({s.min_tokens, s.max_tokens, s.demand}); });
  pour([](const SectionBounds& s) { return std::min(s.max_tokens, s.demand); });
  return granted;
}

}  // namespace ctx::budget
