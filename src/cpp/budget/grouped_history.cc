#include "budget/grouped_history.h"

#include <cstddef>

namespace ctx::budget {

PlaceTokens TokensByPlace(const chat::MessageGroups& groups, std::span<const std::int64_t> measured,
                          std::span<const std::int64_t> shown, const std::vector<bool>& stays) {
  const auto places = groups.places();
  const auto sum = [&groups](std::span<const std::int64_t> tokens, std::size_t group) {
    std::int64_t total = 0;
    for (std::size_t i = groups.begin_of(group); i < groups.begin_of(group + 1); ++i) {
      total += tokens[i];
    }
    return total;
  };
  PlaceTokens result;
  result.measure.reserve(places.size());
  result.tokens.reserve(places.size());
  result.carried.reserve(places.size());
  for (std::size_t p = 0; p < places.size(); ++p) {
    const std::size_t end = p + 1 < places.size() ? places[p + 1] : groups.size();
    std::int64_t measure = 0;
    std::int64_t tokens = 0;
    for (std::size_t group = places[p]; group < end; ++group) {
      measure += sum(measured, group);
      if (!stays[group]) tokens += sum(shown, group);
    }
    const std::size_t head = groups.heads()[places[p]];
    const bool carries = head != chat::MessageGroups::kNone && head < places[p] && !stays[head];
    result.measure.push_back(measure);
    result.tokens.push_back(tokens);
    result.carried.push_back(carries ? sum(shown, head) : 0);
  }
  return result;
}

}  // namespace ctx::budget
