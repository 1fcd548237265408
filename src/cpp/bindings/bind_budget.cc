// The planner's numeric core. Lists of plain numbers in, plain numbers out.
#include <pybind11/stl.h>

#include <array>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "budget/planner.h"
#include "common/error.h"

namespace ctx::bindings {
namespace {

namespace py = pybind11;

using Bounds =
    std::tuple<std::int64_t, std::int64_t, double, std::int64_t>;  // min max weight level
using Item = std::tuple<std::int64_t, double, std::int64_t>;       // tokens, utility, group

budget::SectionBounds BoundsFrom(const Bounds& bounds, std::int64_t demand = 0) {
  const auto& [min_tokens, max_tokens, weight, priority] = bounds;
  return {min_tokens, max_tokens, demand, weight, priority};
}

std::vector<budget::ItemCost> ItemsFrom(const std::vector<Item>& items) {
  std::vector<budget::ItemCost> costs;
  costs.reserve(items.size());
  for (const auto& [tokens, utility, group] : items) costs.push_back({tokens, utility, group});
  return costs;
}

std::vector<std::int64_t> WaterFill(std::int64_t room,
                                    const std::vector<std::pair<Bounds, std::int64_t>>& sections) {
  std::vector<budget::SectionBounds> bounds;
  for (const auto& [section, demand] : sections) bounds.push_back(BoundsFrom(section, demand));
  return budget::WaterFill(room, bounds);
}

std::pair<std::size_t, std::int64_t> HistoryCut(const std::vector<std::int64_t>& turn_tokens,
                                                std::int64_t limit, std::int64_t grid_step) {
  const budget::HistoryCut cut = grid_step == 0 ? budget::TightCut(turn_tokens, limit)
                                                : budget::GridCut(turn_tokens, limit, grid_step);
  return {cut.first_kept, cut.kept_tokens};
}

std::vector<bool> SelectItems(const std::vector<Item>& items, std::int64_t capacity) {
  return budget::SelectItems(ItemsFrom(items), capacity).taken;
}

std::pair<std::size_t, std::vector<std::vector<bool>>> Decide(
    std::int64_t room, const std::vector<std::int64_t>& turn_tokens, const Bounds& history_bounds,
    std::int64_t grid_step,
    const std::vector<std::pair<Bounds, std::vector<Item>>>& item_sections) {
  std::vector<std::vector<budget::ItemCost>> costs;
  std::vector<budget::ItemsRequest> requests;
  costs.reserve(item_sections.size());
  for (const auto& [bounds, items] : item_sections) {
    requests.push_back({costs.emplace_back(ItemsFrom(items)), BoundsFrom(bounds)});
  }
  const budget::Decision decision =
      budget::Decide(room, {turn_tokens, BoundsFrom(history_bounds), grid_step}, requests);
  std::vector<std::vector<bool>> taken;
  for (const budget::Selection& selection : decision.items) taken.push_back(selection.taken);
  return {decision.history.first_kept, std::move(taken)};
}

}  // namespace

void RegisterBudget(py::module_& module) {
  module.def("water_fill", WaterFill, py::arg("room"), py::arg("sections"), py::pos_only());
  module.def("history_cut", HistoryCut, py::arg("turn_tokens"), py::arg("limit"),
             py::arg("grid_step"), py::pos_only());
  module.def("select_items", SelectItems, py::arg("items"), py::arg("capacity"), py::pos_only());
  module.def("decide_plan", Decide, py::arg("room"), py::arg("turn_tokens"),
             py::arg("history_bounds"), py::arg("grid_step"), py::arg("item_sections"),
             py::pos_only());
}

}  // namespace ctx::bindings
