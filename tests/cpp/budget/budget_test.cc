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

const Tokens kNoCarry(512);

// A history whose groups take what they measure, but for the newest, which is kept anyway.
HistoryCut Cut(const Tokens& groups, std::int64_t cap, CutRule rule, std::int64_t amount = 0,
               std::int64_t room = kMax) {
  Tokens tokens = groups;
  if (!tokens.empty()) tokens.back() = 0;
  History history{groups, tokens, std::span(kNoCarry).first(groups.size()), cap, rule};
  history.step = amount;
  history.keep_from = static_cast<std::size_t>(amount);
  return CutHistory(history, room);
}

std::size_t GridCut(const Tokens& groups, std::int64_t cap, std::int64_t step) {
  return Cut(groups, cap, CutRule::kGrid, step).first_kept;
}

TEST_CASE("a tight cut keeps the newest groups that fit the cap and the room") {
  const Tokens groups = {50, 30, 20, 10};
  CHECK(Cut(groups, 110, CutRule::kTight).first_kept == 0);
  CHECK(Cut(groups, 109, CutRule::kTight).first_kept == 1);
  CHECK(Cut(groups, 30, CutRule::kTight).kept_tokens == 20);
  CHECK(Cut(groups, 29, CutRule::kTight).first_kept == 3);
  CHECK(Cut(groups, 0, CutRule::kTight).first_kept == 3);  // the newest stays
  CHECK(Cut({}, 0, CutRule::kTight).first_kept == 0);
  CHECK(Cut(groups, 110, CutRule::kTight, 0, 100).first_kept == 0);  // the newest needs no room
  const HistoryCut pressed = Cut(groups, 60, CutRule::kTight, 0, 49);
  CHECK(pressed.first_kept_alone == 1);
  CHECK(pressed.first_kept == 2);
  CHECK(pressed.kept_tokens == 20);
}

TEST_CASE("a grid cut stands at a multiple of the step, moved up to a group") {
  const Tokens groups = {10, 10, 10, 10, 10, 10};  // they begin at 0, 10, 20, ...
  CHECK(GridCut(groups, 60, 25) == 0);
  CHECK(GridCut(groups, 59, 25) == 3);  // 1 too many: 25, moved up to 30
  CHECK(GridCut(groups, 30, 25) == 3);
  CHECK(GridCut(groups, 29, 25) == 5);  // 50
  CHECK(GridCut(groups, 0, 25) == 5);   // the newest stays
  CHECK(GridCut(groups, 59, kMax) == 5);
  CHECK(Cut(groups, 60, CutRule::kGrid, 25, 49).first_kept == 3);  // 40 to be kept would fit
  CHECK(Cut(groups, 60, CutRule::kGrid, 25, 49).kept_tokens == 20);
  CHECK(Cut(groups, 60, CutRule::kGrid, 25, 49).first_kept_alone == 0);
  CHECK(Cut(groups, 60, CutRule::kGrid, 25, 0).first_kept == 5);
}

TEST_CASE("a grid place is the first group at or after its multiple") {
  const Tokens groups = {99, 1, 0, 100, 50, 50, 7};  // 0, 99, 100, 100, 200, 250, 300
  CHECK(GridCut(groups, 307, 100) == 0);
  CHECK(GridCut(groups, 306, 100) == 2);
  CHECK(GridCut(groups, 206, 100) == 4);
  CHECK(GridCut(groups, 106, 100) == 6);
}

TEST_CASE("keep_last cuts no earlier than told, and later where the cap or the room demand it") {
  const Tokens groups = {10, 10, 10, 10};
  CHECK(Cut(groups, kMax, CutRule::kKeepLast, 2).first_kept == 2);
  CHECK(Cut(groups, kMax, CutRule::kKeepLast, 9).first_kept == 3);
  CHECK(Cut(groups, 15, CutRule::kKeepLast, 1).first_kept_alone == 3);
  CHECK(Cut(groups, kMax, CutRule::kKeepLast, 1, 19).first_kept == 2);
  CHECK(Cut(groups, kMax, CutRule::kKeepLast, 1, 19).first_kept_alone == 1);
}

TEST_CASE("what a cut carries along counts against the room") {
  const Tokens measure = {40, 10, 10, 10};
  const Tokens tokens = {40, 10, 10, 0};
  const Tokens carried = {0, 40, 40, 0};
  const History history{measure, tokens, carried, 1000};
  CHECK(CutHistory(history, 59).first_kept == 2);
  CHECK(CutHistory(history, 59).kept_tokens == 50);
  CHECK(CutHistory(history, 49).first_kept == 3);
}

TEST_CASE("appending groups never moves a grid cut backwards") {
  Tokens groups;
  std::size_t last = 0;
  std::int64_t moves = 0;
  std::int64_t total = 0;
  for (int i = 0; i < 500; ++i) {
    groups.push_back(1 + i * 37 % 50);
    total += groups.back();
    const std::size_t first = GridCut(groups, 400, 100);
    CHECK(first >= last);
    moves += first != last;
    CHECK(moves <= total / 100);
    last = first;
  }
  CHECK(moves > 100);
}

TEST_CASE("histories outside their domain are refused") {
  CHECK_THROWS_AS(Cut({-1}, 5, CutRule::kTight), ArgumentError);
  CHECK_THROWS_AS(Cut({1}, -1, CutRule::kTight), ArgumentError);
  CHECK_THROWS_AS(Cut({1}, 1, CutRule::kTight, 0, -1), ArgumentError);
  CHECK_THROWS_AS(Cut({kMax, 1}, 5, CutRule::kTight), ArgumentError);
  CHECK_THROWS_AS(GridCut({1}, 5, 0), ArgumentError);
  CHECK(Cut({kMax}, kMax, CutRule::kTight).first_kept == 0);
  CHECK(GridCut({kMax, 0}, 1, 2) == 1);
  const Tokens one = {1};
  const Tokens two = {1, 1};
  CHECK_THROWS_AS(CutHistory({one, two, one, 1}, 1), ArgumentError);
  CHECK_THROWS_AS(CutHistory({one, one, two, 1}, 1), ArgumentError);
  CHECK_THROWS_AS(CutHistory({one, Tokens{kMax}, one, 1}, 1), ArgumentError);
}

TEST_CASE("the best items are taken, not the densest") {
  const std::vector<ItemCost> items = {{60, 6, -1}, {50, 10, -1}, {40, 1, -1}};
  CHECK(SelectItems(items, 110).taken == std::vector<bool>{true, true, false});
  CHECK(SelectItems(items, 100).taken == std::vector<bool>{false, true, true});
  CHECK(SelectItems(items, 49).taken == std::vector<bool>{false, false, true});
  // By density the first and the third, worth 17; the optimum is the other two.
  const std::vector<ItemCost> tricky = {{51, 11, -1}, {50, 10, -1}, {49, 6, -1}, {50, 10, -1}};
  CHECK(SelectItems(tricky, 100).utility == 20);
  CHECK(SelectItems(tricky, 100).taken == std::vector<bool>{false, true, false, true});
}

TEST_CASE("one large item beats many small ones when it is worth more") {
  const std::vector<ItemCost> items = {{1, 2, -1}, {100, 100, -1}};
  const Selection selection = SelectItems(items, 100);
  CHECK(selection.taken == std::vector<bool>{false, true});
  CHECK(selection.utility == 100);
}

TEST_CASE("a search without an end is cut off and still no worse than greedy") {
  // Even tokens, odd capacity: no choice fills it, so the bound hardly ever prunes.
  std::vector<ItemCost> items;
  for (std::int64_t i = 0; i < 2000; ++i) {
    const std::int64_t tokens = 1000 + i % 7 * 2;
    items.push_back({tokens, static_cast<double>(tokens), -1});
  }
  const Selection selection = SelectItems(items, 500'001);
  CHECK(selection.tokens <= 500'001);
  CHECK(selection.utility >= 499'000);
}

TEST_CASE("utilities beyond a double's sum do no harm") {
  const std::vector<ItemCost> items(50, {10, std::numeric_limits<double>::max(), -1});
  CHECK(SelectItems(items, 95).tokens == 90);
}

TEST_CASE("items without utility come last, free ones always") {
  const std::vector<ItemCost> items = {{10, 0, -1}, {0, 1, -1}, {20, 1, -1}, {0, 0, -1}};
  CHECK(SelectItems(items, 20).taken == std::vector<bool>{false, true, true, true});
  CHECK(SelectItems(items, 15).taken == std::vector<bool>{true, true, false, true});
}

TEST_CASE("the newest are taken up to the first that does not fit") {
  const std::vector<ItemCost> items = {
      {10, 9, 1}, {10, 9, -1}, {30, 0, -1}, {10, 1, 1}, {5, 0, -1}};
  const auto newest = [&](std::int64_t capacity) {
    return SelectItems(items, capacity, ItemRule::kNewest).taken;
  };
  CHECK(newest(25) == std::vector<bool>{true, false, false, true, true});
  CHECK(newest(24) == std::vector<bool>{false, false, false, false, true});
  CHECK(newest(54) == newest(25));
  CHECK(newest(55) == std::vector<bool>{true, false, true, true, true});
  CHECK(newest(65) == std::vector<bool>(5, true));
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
  const Tokens groups = {40, 40, 40, 5};
  const Tokens tokens = {40, 40, 40, 0};
  const std::vector<ItemCost> items = {{30, 3, -1}, {30, 2, -1}, {30, 1, -1}};
  for (std::int64_t room = 0; room <= 250; ++room) {
    for (const CutRule rule : {CutRule::kTight, CutRule::kGrid}) {
      HistoryRequest request{{groups, tokens, std::span(kNoCarry).first(4), 100, rule},
                             {0, kMax, 0, 1, 1}};
      request.history.step = 20;
      const std::vector<ItemsRequest> sections = {{items, {0, kMax, 0, 1, 0}, 7}};
      const Decision decision = Decide(room, request, sections);
      const std::int64_t item_tokens = decision.items[0].tokens;
      CHECK(decision.history.kept_tokens + item_tokens <= room);
      CHECK((item_tokens == 0 || item_tokens % 30 == 7));
      if (room < 80) continue;
      // 80 for the history; what is left holds the overhead and then 30 tokens an item.
      CHECK(decision.history.first_kept == 1);
      CHECK(item_tokens ==
            (room < 117 ? 0 : std::min<std::int64_t>(90, (room - 87) / 30 * 30) + 7));
    }
  }
}

TEST_CASE("a stable cut does not give way to items, a tight one does") {
  const Tokens groups = {40, 40, 40, 5};
  const Tokens tokens = {40, 40, 40, 0};
  const std::vector<ItemCost> items = {{90, 3, -1}};
  HistoryRequest request{{groups, tokens, std::span(kNoCarry).first(4), 1000, CutRule::kGrid, 20},
                         {0, kMax, 0, 1, 0}};
  const std::vector<ItemsRequest> sections = {{items, {90, kMax, 0, 9, 5}}};
  CHECK(Decide(130, request, sections).history.first_kept == 0);
  request.history.rule = CutRule::kKeepLast;
  CHECK(Decide(130, request, sections).history.first_kept == 0);
  request.history.rule = CutRule::kTight;
  CHECK(Decide(130, request, sections).history.first_kept == 2);
  CHECK(Decide(130, request, sections).items[0].tokens == 90);
}

TEST_CASE("every failing allocation leaves nothing behind") {
  const Tokens groups = {40, 40, 40};
  const std::vector<ItemCost> items = {{30, 3, 1}, {30, 2, -1}, {31, 1, 1}};
  const HistoryRequest history{{groups, groups, std::span(kNoCarry).first(3), 1000},
                               {0, 100, 0, 1, 1}};
  const std::vector<ItemsRequest> sections = {{items, {0, 60, 0, 1, 0}}};
  const std::int64_t failures =
      testing::FailEveryAllocation([&] { Decide(150, history, sections); }, [] {});
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::budget
