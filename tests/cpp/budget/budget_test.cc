#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "budget/history_cut.h"
#include "budget/planner.h"
#include "budget/select_items.h"
#include "budget/water_fill.h"
#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"

namespace ctx::budget {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
using Tokens = std::vector<std::int64_t>;

SectionBounds Wants(std::int64_t demand, double weight = 1, std::int64_t priority = 0) {
  return {0, kMax, demand, weight, priority};
}

TEST_CASE("water-filling serves small demands in full and shares the rest by weight") {
  const std::vector<SectionBounds> sections = {Wants(10), Wants(100), Wants(100, 3)};
  CHECK(WaterFill(90, sections) == Tokens{10, 20, 60});
  CHECK(WaterFill(1000, sections) == Tokens{10, 100, 100});
  CHECK(WaterFill(0, sections) == Tokens{0, 0, 0});
  CHECK(WaterFill(5, {}).empty());
}

TEST_CASE("minimums come first, then higher priorities") {
  const std::vector<SectionBounds> sections = {{5, kMax, 100, 1, 0}, Wants(20, 1, 7)};
  CHECK(WaterFill(15, sections) == Tokens{5, 10});
  CHECK(WaterFill(30, sections) == Tokens{10, 20});
  CHECK(WaterFill(3, sections) == Tokens{3, 0});
}

TEST_CASE("whole tokens go to the largest remainder, ties to the earlier section") {
  CHECK(WaterFill(10, std::vector{Wants(9), Wants(9), Wants(9)}) == Tokens{4, 3, 3});
  CHECK(WaterFill(4, std::vector{Wants(9, 1), Wants(9, 2)}) == Tokens{1, 3});
}

TEST_CASE("water-filling is exact at the end of the range") {
  const std::vector<SectionBounds> sections = {Wants(kMax), Wants(kMax), Wants(kMax)};
  const Tokens shares = WaterFill(kMax, sections);
  CHECK(shares == Tokens{kMax / 3 + 1, kMax / 3, kMax / 3});
  CHECK(WaterFill(kMax, std::vector{Wants(kMax, 1e308), Wants(kMax, 1e-308)})[1] >= 0);
}

TEST_CASE("bounds outside their domain are refused") {
  CHECK_THROWS_AS(WaterFill(-1, {}), ArgumentError);
  CHECK_THROWS_AS(WaterFill(1, std::vector{Wants(-1)}), ArgumentError);
  for (const double weight : {0.0, -1.0, kNan, kInf}) {
    CHECK_THROWS_AS(WaterFill(1, std::vector{Wants(1, weight)}), ArgumentError);
  }
  CHECK_THROWS_AS(WaterFill(1, std::vector{SectionBounds{2, 1, 1, 1, 0}}), ArgumentError);
}

TEST_CASE("a tight cut keeps the newest turns that fit") {
  const Tokens turns = {50, 30, 20};
  CHECK(TightCut(turns, 100).first_kept == 0);
  CHECK(TightCut(turns, 99).first_kept == 1);
  CHECK(TightCut(turns, 49).kept_tokens == 20);
  CHECK(TightCut(turns, 19).first_kept == 3);
  CHECK(TightCut({}, 0).first_kept == 0);
}

TEST_CASE("a grid cut stands at a multiple of the step, moved up to a turn") {
  const Tokens turns = {10, 10, 10, 10, 10, 10};  // turns begin at 0, 10, 20, ...
  CHECK(GridCut(turns, 60, 25).first_kept == 0);
  CHECK(GridCut(turns, 59, 25).first_kept == 3);  // 1 too many: 25, moved up to 30
  CHECK(GridCut(turns, 35, 25).first_kept == 3);
  CHECK(GridCut(turns, 30, 25).first_kept == 3);
  CHECK(GridCut(turns, 29, 25).first_kept == 5);  // 50
  CHECK(GridCut(turns, 0, 25).first_kept == 6);   // 75 is beyond the end
  CHECK(GridCut(turns, 5, kMax).first_kept == 6);
}

TEST_CASE("appending turns never moves a grid cut backwards") {
  Tokens turns;
  std::size_t last = 0;
  std::size_t moves = 0;
  for (int i = 0; i < 500; ++i) {
    turns.push_back(1 + i * 37 % 50);
    const HistoryCut cut = GridCut(turns, 400, 100);
    CHECK(cut.kept_tokens <= 400);
    CHECK(cut.first_kept >= last);
    moves += cut.first_kept != last;
    last = cut.first_kept;
  }
  CHECK(moves <= 500 * 25 / 100 + 1);  // one move per step of tokens
}

TEST_CASE("turns outside their domain are refused") {
  CHECK_THROWS_AS(TightCut(Tokens{-1}, 5), ArgumentError);
  CHECK_THROWS_AS(TightCut(Tokens{1}, -1), ArgumentError);
  CHECK_THROWS_AS(TightCut(Tokens{kMax, 1}, 5), ArgumentError);
  CHECK_THROWS_AS(GridCut(Tokens{1}, 5, 0), ArgumentError);
  CHECK(TightCut(Tokens{kMax}, kMax).kept_tokens == kMax);
  CHECK(GridCut(Tokens{kMax}, 1, 2).first_kept == 1);
}

TEST_CASE("items are taken by utility per token") {
  const std::vector<ItemCost> items = {{60, 6, -1}, {50, 10, -1}, {40, 1, -1}};
  CHECK(SelectItems(items, 110).taken == std::vector<bool>{true, true, false});
  CHECK(SelectItems(items, 100).taken == std::vector<bool>{false, true, true});
  CHECK(SelectItems(items, 49).taken == std::vector<bool>{false, false, true});
}

TEST_CASE("one large item beats many small ones when it is worth more") {
  const std::vector<ItemCost> items = {{1, 2, -1}, {100, 100, -1}};
  const Selection selection = SelectItems(items, 100);
  CHECK(selection.taken == std::vector<bool>{false, true});
  CHECK(selection.utility == 100);
}

TEST_CASE("groups are taken whole") {
  const std::vector<ItemCost> items = {{10, 1, 0}, {10, 1, -1}, {10, 9, 0}};
  CHECK(SelectItems(items, 20).taken == std::vector<bool>{true, false, true});
  CHECK(SelectItems(items, 19).taken == std::vector<bool>{false, true, false});
}

TEST_CASE("items outside their domain are refused") {
  for (const double utility : {-1.0, kNan, kInf}) {
    CHECK_THROWS_AS(SelectItems(std::vector<ItemCost>{{1, utility, -1}}, 5), ArgumentError);
  }
  CHECK_THROWS_AS(SelectItems(std::vector<ItemCost>{{-1, 1, -1}}, 5), ArgumentError);
  CHECK_THROWS_AS(SelectItems(std::vector<ItemCost>{{kMax, 1, -1}, {1, 1, -1}}, 5), ArgumentError);
  CHECK_THROWS_AS(SelectItems({}, -1), ArgumentError);
}

TEST_CASE("the plan never takes more than the room and hands on what is left over") {
  const Tokens turns = {40, 40, 40};
  const std::vector<ItemCost> items = {{30, 3, -1}, {30, 2, -1}, {30, 1, -1}};
  for (std::int64_t room = 0; room <= 250; ++room) {
    for (const std::int64_t step : {0, 20}) {
      const HistoryRequest history{turns, {0, 100, 0, 1, 1}, step};
      const std::vector<ItemsRequest> sections = {{items, {0, kMax, 0, 1, 0}}};
      const Decision decision = Decide(room, history, sections);
      CHECK(decision.history.kept_tokens + decision.items[0].tokens <= room);
      if (room >= 80) CHECK(decision.history.first_kept == 1);
      // 80 for the history, so every further 30 tokens are one more item.
      if (room >= 80)
        CHECK(decision.items[0].tokens == std::min<std::int64_t>(90, (room - 80) / 30 * 30));
    }
  }
}

TEST_CASE("every failing allocation leaves nothing behind") {
  const Tokens turns = {40, 40, 40};
  const std::vector<ItemCost> items = {{30, 3, 1}, {30, 2, -1}, {30, 1, 1}};
  const HistoryRequest history{turns, {0, 100, 0, 1, 1}, 20};
  const std::vector<ItemsRequest> sections = {{items, {0, kMax, 0, 1, 0}}};
  const std::int64_t failures =
      testing::FailEveryAllocation([&] { Decide(150, history, sections); }, [] {});
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::budget
