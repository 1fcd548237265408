// CacheBlocks and the cache planner over them.
#include <pybind11/stl.h>

#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/cache_blocks.h"
#include "budget/cache_plan.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

using Lifetime = std::pair<std::int64_t, std::int64_t>;             // seconds, write price
using Entry = std::tuple<std::size_t, std::int64_t, std::int64_t>;  // block, seconds, left
using Next = std::tuple<std::size_t, std::int64_t, std::int64_t>;   // blocks, ppm, gap
using Chosen = std::vector<std::pair<std::size_t, std::size_t>>;    // block, lifetime
using Use = std::tuple<Chosen, std::int64_t, std::size_t, std::vector<std::int64_t>, std::int64_t>;

std::int32_t LifetimeOf(std::int32_t marker_seconds, const budget::BreakpointRules& rules,
                        std::int64_t default_seconds) {
  if (marker_seconds == CacheBlocks::kNotSet) return -1;
  const std::int64_t seconds = marker_seconds == 0 ? default_seconds : marker_seconds;
  for (std::size_t i = 0; i < rules.lifetimes.size(); ++i) {
    if (rules.lifetimes[i].seconds == seconds) return static_cast<std::int32_t>(i);
  }
  throw ArgumentError(
      StrCat("a breakpoint is set to live ", seconds, " seconds, which the rules do not offer"));
}

Use PlanBlocks(const CacheBlocks& request, std::size_t max_breakpoints, std::int64_t min_tokens,
               std::int64_t look_back, const std::vector<Lifetime>& lifetimes,
               std::int64_t default_seconds, std::int64_t input_price, std::int64_t read_price,
               const std::vector<Entry>& entries, std::int64_t entries_ppm,
               const std::vector<Next>& next_calls, int first_section, bool place,
               bool implicit_tail) {
  budget::BreakpointRules rules{max_breakpoints, min_tokens, look_back, {},
                                input_price,     read_price};
  for (const auto& [seconds, price] : lifetimes) rules.lifetimes.push_back({seconds, price});
  std::vector<budget::PromptBlock> blocks;
  blocks.reserve(request.size());
  std::vector<budget::CacheBreakpoint> chosen;
  for (std::size_t i = 0; i < request.size(); ++i) {
    const CacheBlocks::Block& block = request.blocks()[i];
    std::int32_t marker_seconds = block.marker_seconds;
    if (implicit_tail && i + 1 == request.size() && marker_seconds == CacheBlocks::kNotSet)
      marker_seconds = 0;
    const std::int32_t marker = LifetimeOf(marker_seconds, rules, default_seconds);
    blocks.push_back({block.tokens_after, block.position,
                      block.markable && block.section >= first_section, marker});
    if (marker >= 0) chosen.push_back({i, static_cast<std::size_t>(marker)});
  }
  std::vector<budget::CacheEntry> stored;
  for (const auto& [block, seconds, left] : entries) stored.push_back({block, seconds, left});
  std::vector<budget::NextCall> next;
  for (const auto& [shared, ppm, gap] : next_calls) next.push_back({shared, ppm, gap});
  const budget::CacheProblem problem{blocks, request.total_tokens(), &rules, stored, entries_ppm,
                                     next};
  if (place) {
    chosen = budget::ChooseBreakpoints(problem);
  } else {
    budget::CheckMarkers(problem);
  }
  // What may be there is planned for; what is not known to be there is not predicted.
  budget::CacheProblem known = problem;
  if (entries_ppm != budget::kPartsPerMillion) known.entries = {};
  const budget::CacheUse use = budget::PredictUse(known, chosen);
  Chosen pairs;
  for (const budget::CacheBreakpoint& at : chosen) pairs.emplace_back(at.block, at.lifetime);
  return {std::move(pairs), use.read_tokens, use.read_blocks, use.written_tokens,
          use.uncached_tokens};
}

}  // namespace

void RegisterCachePlan(py::module_& module) {
  py::class_<CacheBlocks>(module, "CacheBlocks")
      .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&>(),
           py::arg("tools"), py::arg("system"), py::arg("messages"), py::arg("head"),
           py::arg("middle"), py::pos_only())
      .def_static("from_counts", &CacheBlocks::FromCounts, py::arg("counts"), py::pos_only())
      .def("__len__", &CacheBlocks::size)
      .def_property_readonly("total_tokens", &CacheBlocks::total_tokens)
      .def_property_readonly("digests", &CacheBlocks::Digests)
      .def_property_readonly("landmarks", &CacheBlocks::Landmarks)
      .def_property_readonly("marked", &CacheBlocks::Marked)
      .def("common", &CacheBlocks::Common, py::arg("digests"), py::pos_only())
      .def(
          "place",
          [](const CacheBlocks& self, std::size_t block) {
            const CacheBlocks::Block& of = self.At(block);
            return py::make_tuple(static_cast<int>(of.section), of.item, static_cast<int>(of.part),
                                  of.index);
          },
          py::arg("block"), py::pos_only())
      .def(
          "tokens_after",
          [](const CacheBlocks& self, std::size_t block) { return self.At(block).tokens_after; },
          py::arg("block"), py::pos_only())
      .def(
          "marker_seconds",
          [](const CacheBlocks& self, std::size_t block) { return self.At(block).marker_seconds; },
          py::arg("block"), py::pos_only())
      .def(
          "markable",
          [](const CacheBlocks& self, std::size_t block) { return self.At(block).markable; },
          py::arg("block"), py::pos_only())
      .def(
          "position",
          [](const CacheBlocks& self, std::size_t block) { return self.At(block).position; },
          py::arg("block"), py::pos_only())
      .def("allot", &CacheBlocks::Allot, py::arg("tools"), py::arg("system"), py::arg("messages"),
           py::arg("tail_tokens"), py::pos_only())
      .def("plan", &PlanBlocks, py::arg("max_breakpoints"), py::arg("min_tokens"),
           py::arg("look_back"), py::arg("lifetimes"), py::arg("default_seconds"),
           py::arg("input_price"), py::arg("read_price"), py::arg("entries"),
           py::arg("entries_ppm"), py::arg("next_calls"), py::arg("first_section"),
           py::arg("place"), py::arg("implicit_tail"), py::pos_only());
}

}  // namespace ctx::bindings
