// The planner's numeric core. Lists of plain numbers in, plain numbers out.
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "budget/planner.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

namespace py = pybind11;

using Numbers = std::vector<std::int64_t>;
using Bounds =
    std::tuple<std::int64_t, std::int64_t, double, std::int64_t>;  // min max weight level
using Item = std::tuple<std::int64_t, double, std::int64_t>;       // tokens, utility, group
// measure, tokens, carried, cap, rule, the step of "grid" or the first group of "keep_last"
using History =
    std::tuple<py::object, py::object, py::object, std::int64_t, std::string, std::int64_t>;
using ItemSection = std::tuple<Bounds, std::int64_t, bool, std::vector<Item>>;  // overhead, newest

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

budget::ItemRule ItemRuleFrom(bool newest) {
  return newest ? budget::ItemRule::kNewest : budget::ItemRule::kBest;
}

// Of an array("q", ...), or any sequence.
Numbers NumbersFrom(const py::object& numbers) {
  if (PyObject_CheckBuffer(numbers.ptr()) == 0) return py::cast<Numbers>(numbers);
  const py::buffer_info info = py::reinterpret_borrow<py::buffer>(numbers).request();
  if (!info.item_type_is_equivalent_to<std::int64_t>() || info.ndim != 1 ||
      info.strides.front() != sizeof(std::int64_t)) {
    throw py::type_error("numbers: an array of another type than int64");
  }
  const auto* const first = static_cast<const std::int64_t*>(info.ptr);
  return Numbers(first, first + info.size);
}

// What a history views.
struct HistoryNumbers {
  explicit HistoryNumbers(const History& history)
      : measure(NumbersFrom(std::get<0>(history))),
        tokens(NumbersFrom(std::get<1>(history))),
        carried(NumbersFrom(std::get<2>(history))) {}
  Numbers measure;
  Numbers tokens;
  Numbers carried;
};

budget::History HistoryFrom(const History& history, const HistoryNumbers& numbers) {
  const std::int64_t cap = std::get<3>(history);
  const std::string& rule = std::get<4>(history);
  const std::int64_t amount = std::get<5>(history);
  budget::History from{numbers.measure, numbers.tokens, numbers.carried, cap};
  if (rule == "grid") {
    from.rule = budget::CutRule::kGrid;
    from.step = amount;
  } else if (rule == "keep_last") {
    if (amount < 0) throw ArgumentError(StrCat("first group must not be negative: ", amount));
    from.rule = budget::CutRule::kKeepLast;
    from.keep_from = static_cast<std::size_t>(amount);
  } else if (rule != "tight") {
    throw ArgumentError(StrCat("unknown cut '", rule, "'"));
  }
  return from;
}

std::tuple<std::size_t, std::int64_t, std::size_t> CutOf(const budget::HistoryCut& cut) {
  return {cut.first_kept, cut.kept_tokens, cut.first_kept_alone};
}

std::vector<std::int64_t> WaterFill(std::int64_t room,
                                    const std::vector<std::pair<Bounds, std::int64_t>>& sections) {
  std::vector<budget::SectionBounds> bounds;
  for (const auto& [section, demand] : sections) bounds.push_back(BoundsFrom(section, demand));
  return budget::WaterFill(room, bounds);
}

auto CutHistory(const History& history, std::int64_t room) {
  const HistoryNumbers numbers(history);
  return CutOf(budget::CutHistory(HistoryFrom(history, numbers), room));
}

std::vector<bool> SelectItems(const std::vector<Item>& items, std::int64_t capacity, bool newest) {
  return budget::SelectItems(ItemsFrom(items), capacity, ItemRuleFrom(newest)).taken;
}

auto Decide(std::int64_t room, const History& history, const Bounds& history_bounds,
            const std::vector<ItemSection>& item_sections) {
  std::vector<std::vector<budget::ItemCost>> costs;
  std::vector<budget::ItemsRequest> requests;
  costs.reserve(item_sections.size());
  for (const auto& [bounds, overhead, newest, items] : item_sections) {
    requests.push_back(
        {costs.emplace_back(ItemsFrom(items)), BoundsFrom(bounds), overhead, ItemRuleFrom(newest)});
  }
  const HistoryNumbers numbers(history);
  const budget::Decision decision =
      budget::Decide(room, {HistoryFrom(history, numbers), BoundsFrom(history_bounds)}, requests);
  std::vector<std::vector<bool>> taken;
  for (const budget::Selection& selection : decision.items) taken.push_back(selection.taken);
  return std::pair(CutOf(decision.history), std::move(taken));
}

}  // namespace

void RegisterBudget(py::module_& module) {
  module.def("water_fill", WaterFill, py::arg("room"), py::arg("sections"), py::pos_only());
  module.def("cut_history", CutHistory, py::arg("history"), py::arg("room"), py::pos_only());
  module.def("select_items", SelectItems, py::arg("items"), py::arg("capacity"), py::arg("newest"),
             py::pos_only());
  module.def("decide_plan", Decide, py::arg("room"), py::arg("history"), py::arg("history_bounds"),
             py::arg("item_sections"), py::pos_only());
}

}  // namespace ctx::bindings
