#include "budget/cache_plan.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "budget/content_digest.h"
#include "common/error.h"
#include "doctest/doctest.h"

namespace ctx::budget {
namespace {

using Breakpoints = std::vector<CacheBreakpoint>;

// A 5 minute and a 1 hour lifetime at the multiples 1.25 and 2 of an input price of 100.
BreakpointRules Rules() {
  BreakpointRules rules;
  rules.lifetimes = {{3600, 200}, {300, 125}};
  rules.input_price = 100;
  rules.read_price = 10;
  return rules;
}

std::vector<PromptBlock> Blocks(std::initializer_list<std::int64_t> tokens) {
  std::vector<PromptBlock> blocks;
  std::int64_t sum = 0;
  for (const std::int64_t count : tokens) {
    sum += count;
    blocks.push_back({sum, static_cast<std::int64_t>(blocks.size())});
  }
  return blocks;
}

struct Case {
  std::vector<PromptBlock> blocks;
  BreakpointRules rules = Rules();
  std::vector<CacheEntry> entries{};
  std::vector<NextCall> next_calls{};
  std::int64_t likely = kPartsPerMillion;
  std::int64_t tail_tokens = 0;

  CacheProblem problem() const {
    return {blocks, (blocks.empty() ? 0 : blocks.back().tokens_after) + tail_tokens,
            &rules, entries,
            likely, next_calls};
  }
  Breakpoints Choose() const { return ChooseBreakpoints(problem()); }
  CacheUse Predict(const Breakpoints& at) const { return PredictUse(problem(), at); }
};

// Every set of at most max_breakpoints markable blocks that keeps the markers, with every order of
// lifetimes that the provider takes.
void ForEveryChoice(const Case& of, std::size_t from, Breakpoints& chosen,
                    const std::function<void(const Breakpoints&)>& visit) {
  if (from == of.blocks.size()) {
    visit(chosen);
    return;
  }
  const PromptBlock& block = of.blocks[from];
  const std::size_t before = chosen.empty() ? 0 : chosen.back().lifetime;
  if (block.marker < 0) ForEveryChoice(of, from + 1, chosen, visit);
  if (block.marker < 0 && !block.markable) return;
  if (chosen.size() == of.rules.max_breakpoints) return;
  for (std::size_t lifetime = before; lifetime < of.rules.lifetimes.size(); ++lifetime) {
    if (block.marker >= 0 && lifetime != static_cast<std::size_t>(block.marker)) continue;
    chosen.push_back({from, lifetime});
    ForEveryChoice(of, from + 1, chosen, visit);
    chosen.pop_back();
  }
}

Amount LeastCost(const Case& of) {
  Amount least = Amount{1} << 126;
  Breakpoints chosen;
  ForEveryChoice(of, 0, chosen, [&](const Breakpoints& at) {
    least = std::min(least, ExpectedCost(of.problem(), at));
  });
  return least;
}

TEST_CASE("a conversation that goes on is written to its end") {
  Case of{Blocks({2000, 1000, 50})};
  of.next_calls = {{3, kPartsPerMillion, 60}};
  CHECK(of.Choose() == Breakpoints{{2, 1}});
  const CacheUse use = of.Predict(of.Choose());
  CHECK(use.read_tokens == 0);
  CHECK(use.written_tokens == std::vector<std::int64_t>{0, 3050});
  CHECK(use.uncached_tokens == 0);
}

TEST_CASE("nothing is written when nobody comes back, or when it is too little") {
  Case of{Blocks({2000, 1000, 50})};
  CHECK(of.Choose().empty());
  of.next_calls = {{3, kPartsPerMillion, 60}};
  of.rules.min_tokens = 4096;
  CHECK(of.Choose().empty());
  of.rules.min_tokens = 3050;
  CHECK(of.Choose() == Breakpoints{{2, 1}});
}

TEST_CASE("a gap beyond the short life is bridged by the long one where that pays") {
  Case of{Blocks({2000, 1000})};
  of.next_calls = {{2, kPartsPerMillion, 1800}};
  // 1 hour: 2 x now and 0.1 x later; unwritten: 1 x now and 1.25 x later.
  CHECK(of.Choose() == Breakpoints{{1, 0}});
  of.next_calls[0].parts_per_million = 500'000;  // 1.9 x against 1.625 x
  CHECK(of.Choose().empty());
  of.next_calls[0].gap_seconds = 7200;
  of.next_calls[0].parts_per_million = kPartsPerMillion;
  CHECK(of.Choose().empty());
}

TEST_CASE("what is stored is read through the look-back, and only the rest is written") {
  Case of{Blocks({3000, 10, 10, 10})};
  of.entries = {{0, 300, 200}};
  of.next_calls = {{4, kPartsPerMillion, 60}};
  CHECK(of.Choose() == Breakpoints{{3, 1}});
  CacheUse use = of.Predict({{3, 1}});
  CHECK(use.read_tokens == 3000);
  CHECK(use.written_tokens == std::vector<std::int64_t>{0, 30});
  SUBCASE("an entry that the look-back does not reach is marked itself") {
    of.rules.look_back = 3;
    use = of.Predict({{3, 1}});
    CHECK(use.read_tokens == 0);
    const Breakpoints chosen = of.Choose();
    CHECK(of.Predict(chosen).read_tokens == 3000);
    CHECK(chosen.back() == CacheBreakpoint{3, 1});
  }
  SUBCASE("a run that the provider counts once is one position") {
    of.rules.look_back = 2;
    for (std::size_t i = 1; i < 4; ++i) of.blocks[i].position = 1;
    CHECK(of.Predict({{3, 1}}).read_tokens == 3000);
  }
}

TEST_CASE("two lifetimes: the part up to the last long one is charged at its price") {
  const Case of{Blocks({1000, 500, 200, 50})};
  const CacheUse use = of.Predict({{0, 0}, {1, 0}, {2, 1}});
  CHECK(use.written_tokens == std::vector<std::int64_t>{1500, 200});
  CHECK(use.uncached_tokens == 50);
}

TEST_CASE("a breakpoint that is set stays, and bad ones are refused") {
  Case of{Blocks({2000, 1000, 50})};
  of.blocks[0].marker = 0;
  CHECK(of.Choose() == Breakpoints{{0, 0}});
  of.blocks[1].marker = 1;
  of.blocks[2].marker = 0;
  CHECK_THROWS_AS(of.Choose(), ArgumentError);  // the long one behind the short one
  of.blocks[2].marker = 1;
  of.rules.max_breakpoints = 2;
  CHECK_THROWS_AS(of.Choose(), ArgumentError);
}

TEST_CASE("a problem outside its domain is refused") {
  const Case good{Blocks({10, 20}), Rules(), {{1, 300, 10}}, {{2, 1000, 60}}};
  CHECK_NOTHROW(good.Choose());
  Case bad = good;
  bad.entries[0].block = 2;
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);
  bad = good;
  bad.next_calls[0].blocks = 3;
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);
  bad = good;
  bad.next_calls.resize(kMaxNextCalls + 1);
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);
  bad = good;
  bad.next_calls.push_back({0, kPartsPerMillion, 0});
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);  // the probabilities are more than 1
  bad = good;
  std::ranges::reverse(bad.rules.lifetimes);
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);
  bad = good;
  bad.rules.read_price = kMaxCachePrice + 1;
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);
  bad = good;
  bad.blocks[1].tokens_after = 5;
  CHECK_THROWS_AS(bad.Choose(), ArgumentError);
  CHECK(Case{}.Choose().empty());
}

TEST_CASE("the choice costs no more than any other") {
  std::mt19937_64 random(5);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  std::size_t with_breakpoints = 0;
  std::size_t with_two_lifetimes = 0;
  std::size_t with_reads = 0;
  for (int round = 0; round < 3000; ++round) {
    CAPTURE(round);
    Case of;
    const std::int64_t n = 1 + below(7);
    std::int64_t sum = 0;
    std::int64_t position = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      sum += below(4) == 0 ? 0 : below(3000);
      position += below(4) == 0 ? 0 : 1;
      of.blocks.push_back({sum, position, below(5) != 0});
    }
    of.tail_tokens = below(100);
    of.rules.max_breakpoints = static_cast<std::size_t>(below(5));
    of.rules.min_tokens = below(2) == 0 ? 0 : below(3000);
    of.rules.look_back = 1 + below(5);
    if (below(3) == 0) of.rules.lifetimes = {{1800, 125}};
    if (below(4) == 0) of.rules.lifetimes = {{3600, 200}, {1800, 150}, {300, 125}};
    if (below(6) == 0) of.rules.read_price = below(120);
    const std::int64_t most = static_cast<std::int64_t>(of.rules.lifetimes.size());
    std::int32_t before = 0;
    std::size_t set = 0;
    for (PromptBlock& block : of.blocks) {
      if (below(8) != 0 || set == of.rules.max_breakpoints || !block.markable) continue;
      before = static_cast<std::int32_t>(before + below(most - before));
      block.marker = before;
      ++set;
    }
    for (std::int64_t i = below(5); i-- > 0;) {
      const std::size_t block = static_cast<std::size_t>(below(n));
      if (of.blocks[block].tokens_after < of.rules.min_tokens) continue;
      const std::int64_t seconds = below(2) == 0 ? 300 : 3600;
      of.entries.push_back({block, seconds, below(seconds)});
    }
    of.likely = below(3) == 0 ? below(kPartsPerMillion) : kPartsPerMillion;
    const std::int64_t calls = below(5);
    for (std::int64_t i = 0; i < calls; ++i) {
      of.next_calls.push_back({static_cast<std::size_t>(below(n + 1)),
                               below(kPartsPerMillion / calls), below(2) == 0 ? 60 : below(4000)});
    }
    const Breakpoints chosen = of.Choose();
    REQUIRE(chosen.size() <= of.rules.max_breakpoints);
    for (std::size_t i = 1; i < chosen.size(); ++i) {
      REQUIRE(chosen[i - 1].block < chosen[i].block);
      REQUIRE(chosen[i - 1].lifetime <= chosen[i].lifetime);
    }
    for (const CacheBreakpoint& at : chosen) {
      REQUIRE((of.blocks[at.block].markable));
      const std::int32_t marker = of.blocks[at.block].marker;
      REQUIRE((marker < 0 || marker == static_cast<std::int32_t>(at.lifetime)));
    }
    REQUIRE((ExpectedCost(of.problem(), chosen) == LeastCost(of)));
    const CacheUse use = of.Predict(chosen);
    std::int64_t all = use.read_tokens + use.uncached_tokens;
    for (const std::int64_t tokens : use.written_tokens) all += tokens;
    REQUIRE(all == sum + of.tail_tokens);
    if (!chosen.empty()) ++with_breakpoints;
    if (chosen.size() > 1 && chosen.front().lifetime != chosen.back().lifetime) {
      ++with_two_lifetimes;
    }
    if (use.read_tokens > 0) ++with_reads;
  }
  CHECK(with_breakpoints > 1000);
  CHECK(with_two_lifetimes > 20);
  CHECK(with_reads > 300);
}

TEST_CASE("what two prompts have in common is found by their chained digests") {
  const std::vector<std::uint64_t> left = {1, 2, 3, 4};
  const std::vector<std::uint64_t> right = {1, 2, 9, 8, 7};
  CHECK(CommonBlocks(left, right) == 2);
  CHECK(CommonBlocks(left, left) == 4);
  CHECK(CommonBlocks(left, {}) == 0);
}

TEST_CASE("a digest tells texts apart by every byte, their length, order and kind") {
  std::vector<std::uint64_t> seen;
  std::string text(150, 'a');
  for (std::size_t length = 0; length <= text.size(); ++length) {
    seen.push_back(DigestOf(std::string_view(text).substr(0, length), 0));
    seen.push_back(DigestOf(std::string_view(text).substr(0, length), 1));
  }
  for (char& byte : text) {
    for (const char other : {'b', '\0'}) {
      const char kept = byte;
      byte = other;
      seen.push_back(DigestOf(text, 0));
      byte = kept;
    }
  }
  for (std::size_t i = 0; i + 8 < text.size(); i += 8) {  // words that change places
    std::string moved(text.size(), 'c');
    moved.replace(i, 8, "swapped!");
    seen.push_back(DigestOf(moved, 0));
  }
  seen.push_back(JoinDigests(1, 2));
  seen.push_back(JoinDigests(2, 1));
  std::ranges::sort(seen);
  CHECK(std::ranges::adjacent_find(seen) == seen.end());
}

}  // namespace
}  // namespace ctx::budget
