#include "budget/cache_plan.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::budget {
namespace {

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
constexpr Amount kUnreachable = Amount{1} << 126;

void CheckRange(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw ArgumentError(StrCat(name, ": ", value, " is not within ", low, " and ", high));
  }
}

void CheckProblem(const CacheProblem& problem) {
  const BreakpointRules& rules = *problem.rules;
  CheckRange("total_tokens", problem.total_tokens, 0, kMaxCacheTokens);
  CheckRange("input price", rules.input_price, 0, kMaxCachePrice);
  CheckRange("read price", rules.read_price, 0, kMaxCachePrice);
  CheckRange("look_back", rules.look_back, 1, kMaxCacheTokens);
  CheckRange("max_breakpoints", static_cast<std::int64_t>(rules.max_breakpoints), 0, 16);
  CheckRange("number of lifetimes", static_cast<std::int64_t>(rules.lifetimes.size()), 1, 4);
  for (std::size_t i = 0; i < rules.lifetimes.size(); ++i) {
    CheckRange("write price", rules.lifetimes[i].write_price, 0, kMaxCachePrice);
    if (i > 0 && rules.lifetimes[i].seconds >= rules.lifetimes[i - 1].seconds) {
      throw ArgumentError("lifetimes: the longest must come first");
    }
  }
  CheckRange("probability of the entries", problem.entries_parts_per_million, 0, kPartsPerMillion);
  CheckRange("number of next calls", static_cast<std::int64_t>(problem.next_calls.size()), 0,
             static_cast<std::int64_t>(kMaxNextCalls));
  std::int64_t certain = 0;
  for (const NextCall& next : problem.next_calls) {
    CheckRange("probability of a next call", next.parts_per_million, 0, kPartsPerMillion);
    certain += next.parts_per_million;
    if (next.blocks > problem.blocks.size()) {
      throw ArgumentError(
          StrCat("a next call shares ", next.blocks, " of ", problem.blocks.size(), " blocks"));
    }
  }
  CheckRange("sum of the probabilities", certain, 0, kPartsPerMillion);
  std::int64_t before = 0;
  std::int64_t position = std::numeric_limits<std::int64_t>::min();
  for (const PromptBlock& block : problem.blocks) {
    if (block.tokens_after < before) throw ArgumentError("tokens of a block must not be negative");
    if (block.position < position) throw ArgumentError("positions must not decrease");
    if (block.marker >= static_cast<std::int32_t>(rules.lifetimes.size())) {
      throw ArgumentError("marker: no such lifetime");
    }
    before = block.tokens_after;
    position = block.position;
  }
  if (before > problem.total_tokens) throw ArgumentError("total_tokens: less than the blocks have");
  for (const CacheEntry& entry : problem.entries) {
    if (entry.block >= problem.blocks.size()) throw ArgumentError("entry: no such block");
  }
}

// The entry that a breakpoint at `block` reads: the longest within its look-back.
std::size_t Hit(const CacheProblem& problem, std::span<const CacheEntry> entries,
                std::size_t block) {
  std::size_t best = kNone;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::size_t at = entries[i].block;
    if (at > block ||
        problem.blocks[block].position - problem.blocks[at].position >= problem.rules->look_back) {
      continue;
    }
    if (best == kNone || at > entries[best].block) best = i;
  }
  return best;
}

bool Stored(const CacheProblem& problem, std::size_t block) {
  return problem.blocks[block].tokens_after >= problem.rules->min_tokens;
}

std::int64_t RewritePrice(const BreakpointRules& rules) {
  std::int64_t price = kMaxCachePrice;
  for (const CacheLifetime& lifetime : rules.lifetimes) {
    price = std::min(price, lifetime.write_price);
  }
  return price;
}

std::int64_t TokensOfBlocks(const CacheProblem& problem, std::size_t blocks) {
  return blocks == 0 ? 0 : problem.blocks[blocks - 1].tokens_after;
}

// What the shared part of a next call costs when its first `from` tokens are stored.
Amount SharedCost(const CacheProblem& problem, const NextCall& next, std::int64_t from,
                  std::int64_t rewrite_price) {
  return Amount{from} * problem.rules->read_price +
         Amount{TokensOfBlocks(problem, next.blocks) - from} * rewrite_price;
}

// The longest of the entries of today that a next call still finds, when today's call reads the
// first `read_blocks` blocks and so starts the lives of all entries within them again.
std::int64_t LeftFor(const CacheProblem& problem, std::span<const CacheEntry> entries,
                     const NextCall& next, std::size_t read_blocks) {
  std::int64_t tokens = 0;
  for (const CacheEntry& entry : entries) {
    const std::int64_t left = entry.block < read_blocks ? entry.seconds : entry.seconds_left;
    if (entry.block < next.blocks && left >= next.gap_seconds) {
      tokens = std::max(tokens, problem.blocks[entry.block].tokens_after);
    }
  }
  return tokens;
}

CacheUse Use(const CacheProblem& problem, std::span<const CacheEntry> entries,
             std::span<const CacheBreakpoint> breakpoints) {
  CacheUse use;
  use.written_tokens.resize(problem.rules->lifetimes.size());
  for (const CacheBreakpoint& at : breakpoints) {
    if (!Stored(problem, at.block)) continue;
    const std::size_t hit = Hit(problem, entries, at.block);
    if (hit != kNone) use.read_blocks = std::max(use.read_blocks, entries[hit].block + 1);
  }
  use.read_tokens = TokensOfBlocks(problem, use.read_blocks);
  std::int64_t covered = use.read_tokens;
  for (const CacheBreakpoint& at : breakpoints) {
    const std::int64_t end = problem.blocks[at.block].tokens_after;
    if (!Stored(problem, at.block) || end <= covered) continue;
    use.written_tokens[at.lifetime] += end - covered;
    covered = end;
  }
  use.uncached_tokens = problem.total_tokens - covered;
  return use;
}

// The cost of this call and the next when `entries` are certainly there.
Amount CostWith(const CacheProblem& problem, std::span<const CacheEntry> entries,
                std::span<const CacheBreakpoint> breakpoints) {
  const BreakpointRules& rules = *problem.rules;
  const CacheUse use = Use(problem, entries, breakpoints);
  Amount now =
      Amount{use.read_tokens} * rules.read_price + Amount{use.uncached_tokens} * rules.input_price;
  for (std::size_t i = 0; i < rules.lifetimes.size(); ++i) {
    now += Amount{use.written_tokens[i]} * rules.lifetimes[i].write_price;
  }
  Amount cost = now * kPartsPerMillion;
  for (const NextCall& next : problem.next_calls) {
    std::int64_t from = LeftFor(problem, entries, next, use.read_blocks);
    for (const CacheBreakpoint& at : breakpoints) {
      if (at.block >= use.read_blocks && at.block < next.blocks && Stored(problem, at.block) &&
          rules.lifetimes[at.lifetime].seconds >= next.gap_seconds) {
        from = std::max(from, problem.blocks[at.block].tokens_after);
      }
    }
    cost += SharedCost(problem, next, from, RewritePrice(rules)) * next.parts_per_million;
  }
  return cost;
}

// The blocks beside which something changes, as markable blocks that would be stored.
class Candidates {
 public:
  Candidates(const CacheProblem& problem, std::span<const CacheEntry> entries) {
    const std::size_t n = problem.blocks.size();
    if (n == 0) return;
    std::vector<std::size_t> last(n);  // the last usable block up to i, or kNone
    std::vector<std::size_t> first(n);
    std::size_t seen = kNone;
    for (std::size_t i = 0; i < n; ++i) {
      if (problem.blocks[i].markable && Stored(problem, i)) seen = i;
      last[i] = seen;
    }
    seen = kNone;
    for (std::size_t i = n; i-- > 0;) {
      if (problem.blocks[i].markable && Stored(problem, i)) seen = i;
      first[i] = seen;
    }
    const auto up_to = [&](std::size_t i) { Add(last[i]); };
    const auto from = [&](std::size_t i) {
      if (i < n) Add(first[i]);
    };
    from(0);
    for (const NextCall& next : problem.next_calls) {
      if (next.blocks == 0) continue;
      up_to(next.blocks - 1);
      from(next.blocks - 1);
    }
    for (const CacheEntry& entry : entries) {
      if (entry.block > 0) up_to(entry.block - 1);
      up_to(entry.block);
      from(entry.block);
      from(entry.block + 1);
      const std::int64_t reach = problem.blocks[entry.block].position + problem.rules->look_back;
      const auto end = std::partition_point(
          problem.blocks.begin() + static_cast<std::ptrdiff_t>(entry.block), problem.blocks.end(),
          [reach](const PromptBlock& block) { return block.position < reach; });
      const auto beyond = static_cast<std::size_t>(end - problem.blocks.begin());
      up_to(beyond - 1);
      from(beyond - 1);
      from(beyond);
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (problem.blocks[i].marker < 0 || !Stored(problem, i)) continue;
      Add(i);
      if (i > 0) up_to(i - 1);
      from(i + 1);
    }
    std::ranges::sort(blocks_);
    blocks_.erase(std::ranges::unique(blocks_).begin(), blocks_.end());
  }

  const std::vector<std::size_t>& blocks() const noexcept { return blocks_; }

 private:
  void Add(std::size_t block) {
    if (block != kNone) blocks_.push_back(block);
  }

  std::vector<std::size_t> blocks_;
};

// What the markers of prefixes that are too short to be stored leave to the others.
struct Remaining {
  std::size_t breakpoints = 0;
  std::size_t first_lifetime = 0;
};

// The programme for one outcome of the look-up: the longest entry that any breakpoint reaches is
// `read` (kNone: none is). A state is the last breakpoint chosen, its lifetime, how many there are,
// and whether one of them reaches `read` already.
class Programme {
 public:
  Programme(const CacheProblem& problem, std::span<const CacheEntry> entries,
            const std::vector<std::size_t>& candidates, const Remaining& remaining)
      : problem_(problem),
        rules_(*problem.rules),
        entries_(entries),
        candidates_(candidates),
        budget_(remaining.breakpoints),
        first_lifetime_(remaining.first_lifetime),
        num_lifetimes_(rules_.lifetimes.size()),
        rewrite_price_(RewritePrice(rules_)) {
    for (const std::size_t block : candidates_) {
      hits_.push_back(Hit(problem_, entries_, block));
      marker_.push_back(problem_.blocks[block].marker);
      tokens_.push_back(problem_.blocks[block].tokens_after);
    }
    for (const NextCall& next : problem_.next_calls) {
      std::int32_t longest = -1;  // the last lifetime that is long enough
      for (const CacheLifetime& lifetime : rules_.lifetimes) {
        if (lifetime.seconds >= next.gap_seconds) ++longest;
      }
      eligible_.push_back(longest);
    }
    states_.resize((budget_ + 1) * num_lifetimes_ * (candidates_.size() + 1) * 2);
  }

  // Leaves the best of all outcomes tried so far in best().
  void Try(std::size_t read) {
    read_ = read;
    read_block_ = read == kNone ? kNone : entries_[read].block;
    read_tokens_ = read == kNone ? 0 : problem_.blocks[read_block_].tokens_after;
    PrepareShared();
    std::ranges::fill(states_, State{});
    At(0, 0, candidates_.size(), read == kNone).cost =
        Warm(Amount{read_tokens_} * rules_.read_price);
    for (std::size_t to = 0; to < candidates_.size(); ++to) Reach(to);
    Finish();
  }

  const std::vector<CacheBreakpoint>& best() const noexcept { return best_; }

 private:
  struct State {
    Amount cost = kUnreachable;
    std::uint32_t from = 0;
  };

  // The start is the candidate behind the last one.
  std::size_t Index(std::size_t used, std::size_t lifetime, std::size_t last, bool covered) const {
    return ((used * num_lifetimes_ + lifetime) * (candidates_.size() + 1) + last) * 2 +
           static_cast<std::size_t>(covered);
  }
  State& At(std::size_t used, std::size_t lifetime, std::size_t last, bool covered) {
    return states_[Index(used, lifetime, last, covered)];
  }

  // By how likely the entries are there, and, for a next call, by how likely it comes.
  Amount Warm(Amount cost, std::int64_t likely = kPartsPerMillion) const {
    return cost * problem_.entries_parts_per_million * likely;
  }
  Amount Cold(Amount cost, std::int64_t likely = kPartsPerMillion) const {
    return cost * (kPartsPerMillion - problem_.entries_parts_per_million) * likely;
  }

  bool IsStart(std::size_t candidate) const { return candidate == candidates_.size(); }
  std::int64_t TokensOf(std::size_t candidate) const {
    return IsStart(candidate) ? 0 : tokens_[candidate];
  }
  bool Allowed(std::size_t candidate) const {
    const std::size_t hit = hits_[candidate];
    return hit == kNone || (read_ != kNone && entries_[hit].block <= read_block_);
  }
  bool Covers(std::size_t candidate) const {
    return read_ != kNone && hits_[candidate] != kNone &&
           entries_[hits_[candidate]].block == read_block_;
  }

  // shared_[candidate][next call]: its cost when this breakpoint is the last that it can use.
  void PrepareShared() {
    const std::size_t calls = problem_.next_calls.size();
    shared_.assign((candidates_.size() + 1) * calls, 0);
    for (std::size_t s = 0; s < calls; ++s) {
      const NextCall& next = problem_.next_calls[s];
      const std::int64_t left =
          LeftFor(problem_, entries_, next, read_ == kNone ? 0 : read_block_ + 1);
      for (std::size_t c = 0; c <= candidates_.size(); ++c) {
        if (!IsStart(c) && candidates_[c] >= next.blocks) continue;
        const bool written = !IsStart(c) && (read_ == kNone || candidates_[c] > read_block_);
        const std::int64_t warm = std::max(left, written ? TokensOf(c) : 0);
        shared_[c * calls + s] =
            Warm(SharedCost(problem_, next, warm, rewrite_price_), next.parts_per_million) +
            Cold(SharedCost(problem_, next, TokensOf(c), rewrite_price_), next.parts_per_million);
      }
    }
  }

  bool Usable(std::size_t candidate, std::size_t lifetime, std::size_t call) const {
    return IsStart(candidate) || (candidates_[candidate] < problem_.next_calls[call].blocks &&
                                  static_cast<std::int32_t>(lifetime) <= eligible_[call]);
  }

  // The next calls for which `from` is the last usable breakpoint if `to` follows (the start:
  // none).
  Amount Settle(std::size_t from, std::size_t from_lifetime, std::size_t to,
                std::size_t to_lifetime) const {
    Amount cost = 0;
    const std::size_t calls = problem_.next_calls.size();
    for (std::size_t s = 0; s < calls; ++s) {
      if (Usable(from, from_lifetime, s) && (IsStart(to) || !Usable(to, to_lifetime, s))) {
        cost += shared_[from * calls + s];
      }
    }
    return cost;
  }

  void Reach(std::size_t to) {
    if (!Allowed(to)) return;
    const bool covers = Covers(to);
    for (std::size_t lifetime = first_lifetime_; lifetime < num_lifetimes_; ++lifetime) {
      if (marker_[to] >= 0 && marker_[to] != static_cast<std::int32_t>(lifetime)) continue;
      const std::int64_t price = rules_.lifetimes[lifetime].write_price;
      for (std::size_t back = 0; back <= to; ++back) {
        const std::size_t from = back == to ? candidates_.size() : to - 1 - back;
        const Amount written = Warm(Amount{std::max<std::int64_t>(
                                        0, tokens_[to] - std::max(TokensOf(from), read_tokens_))} *
                                    price) +
                               Cold(Amount{tokens_[to] - TokensOf(from)} * price);
        for (std::size_t before = 0; before <= lifetime; ++before) {
          if (IsStart(from) && before > 0) break;
          const Amount step = written + Settle(from, before, to, lifetime);
          for (std::size_t used = 0; used < budget_; ++used) {
            for (const bool covered : {false, true}) {
              const std::size_t source = Index(used, before, from, covered);
              if (states_[source].cost == kUnreachable) continue;
              State& target = At(used + 1, lifetime, to, covered || covers);
              if (states_[source].cost + step < target.cost) {
                target = {states_[source].cost + step, static_cast<std::uint32_t>(source)};
              }
            }
          }
        }
        if (!IsStart(from) && marker_[from] >= 0) break;  // what is set stays
      }
    }
  }

  void Finish() {
    std::size_t found = kNone;
    Amount found_cost = best_cost_;
    for (std::size_t used = 0; used <= budget_; ++used) {
      for (std::size_t back = 0; back <= candidates_.size(); ++back) {
        const bool start = back == candidates_.size();
        const std::size_t last = start ? back : candidates_.size() - 1 - back;
        for (std::size_t lifetime = 0; lifetime < num_lifetimes_; ++lifetime) {
          const std::size_t source = Index(used, lifetime, last, true);
          if (states_[source].cost == kUnreachable) continue;
          const Amount rest =
              Warm(Amount{problem_.total_tokens - std::max(TokensOf(last), read_tokens_)} *
                   rules_.input_price) +
              Cold(Amount{problem_.total_tokens - TokensOf(last)} * rules_.input_price);
          const Amount cost =
              states_[source].cost + rest + Settle(last, lifetime, candidates_.size(), 0);
          if (cost < found_cost || (cost == found_cost && found == kNone && used < best_.size())) {
            found_cost = cost;
            found = source;
          }
        }
        if (!start && marker_[last] >= 0) break;
      }
    }
    if (found == kNone) return;
    best_cost_ = found_cost;
    best_.clear();
    while (true) {
      const std::size_t place = found / 2;
      const std::size_t last = place % (candidates_.size() + 1);
      if (IsStart(last)) break;
      best_.push_back({candidates_[last], place / (candidates_.size() + 1) % num_lifetimes_});
      found = states_[found].from;
    }
    std::ranges::reverse(best_);
  }

  const CacheProblem& problem_;
  const BreakpointRules& rules_;
  std::span<const CacheEntry> entries_;
  const std::vector<std::size_t>& candidates_;
  std::size_t budget_;
  std::size_t first_lifetime_;
  std::size_t num_lifetimes_;
  std::int64_t rewrite_price_;
  std::vector<std::size_t> hits_;
  std::vector<std::int32_t> marker_;
  std::vector<std::int64_t> tokens_;
  std::vector<std::int32_t> eligible_;
  std::vector<Amount> shared_;
  std::vector<State> states_;
  std::size_t read_ = kNone;
  std::size_t read_block_ = kNone;
  std::int64_t read_tokens_ = 0;
  std::vector<CacheBreakpoint> best_;
  Amount best_cost_ = kUnreachable;
};

// The longest entries first, one for each block: of those that end together it lives as long as
// any.
std::vector<CacheEntry> LongestEntries(std::span<const CacheEntry> entries) {
  std::vector<CacheEntry> sorted(entries.begin(), entries.end());
  std::ranges::sort(sorted, std::ranges::greater{}, &CacheEntry::block);
  std::vector<CacheEntry> merged;
  for (const CacheEntry& entry : sorted) {
    if (merged.empty() || merged.back().block != entry.block) {
      merged.push_back(entry);
      continue;
    }
    merged.back().seconds = std::max(merged.back().seconds, entry.seconds);
    merged.back().seconds_left = std::max(merged.back().seconds_left, entry.seconds_left);
  }
  return merged;
}

Remaining BesideShortMarkers(const CacheProblem& problem) {
  std::size_t set = 0;
  Remaining remaining{problem.rules->max_breakpoints};
  std::int32_t before = 0;
  for (std::size_t i = 0; i < problem.blocks.size(); ++i) {
    const std::int32_t marker = problem.blocks[i].marker;
    if (marker < 0) continue;
    ++set;
    if (marker < before) {
      throw ArgumentError("a breakpoint that is set lives longer than one before it");
    }
    before = marker;
    if (Stored(problem, i) || remaining.breakpoints == 0) continue;
    --remaining.breakpoints;
    remaining.first_lifetime = static_cast<std::size_t>(marker);
  }
  if (set > problem.rules->max_breakpoints) {
    throw ArgumentError(StrCat(set, " breakpoints are set, the provider takes at most ",
                               problem.rules->max_breakpoints));
  }
  return remaining;
}

}  // namespace

std::size_t CommonBlocks(std::span<const std::uint64_t> left,
                         std::span<const std::uint64_t> right) {
  std::size_t low = 0;
  std::size_t high = std::min(left.size(), right.size());
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (left[middle] == right[middle]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

CacheUse PredictUse(const CacheProblem& problem, std::span<const CacheBreakpoint> breakpoints) {
  return Use(problem, problem.entries, breakpoints);
}

Amount ExpectedCost(const CacheProblem& problem, std::span<const CacheBreakpoint> breakpoints) {
  const Amount warm = CostWith(problem, problem.entries, breakpoints);
  const Amount cold = CostWith(problem, {}, breakpoints);
  return warm * problem.entries_parts_per_million +
         cold * (kPartsPerMillion - problem.entries_parts_per_million);
}

void CheckMarkers(const CacheProblem& problem) {
  CheckProblem(problem);
  BesideShortMarkers(problem);
}

std::vector<CacheBreakpoint> ChooseBreakpoints(const CacheProblem& problem) {
  CheckProblem(problem);
  const Remaining remaining = BesideShortMarkers(problem);
  std::vector<CacheEntry> entries = LongestEntries(problem.entries);
  if (entries.size() > kMaxPlannedEntries) entries.resize(kMaxPlannedEntries);
  const Candidates candidates(problem, entries);
  Programme programme(problem, entries, candidates.blocks(), remaining);
  programme.Try(kNone);
  for (std::size_t i = 0; i < entries.size(); ++i) programme.Try(i);
  return programme.best();
}

}  // namespace ctx::budget
