// Random calls to a KVCacheManager, and a device that does what it says: every slot holds a stamp
// of the tokens up to the one whose KV was written there. Before a pass all that it would read is
// compared with what it has to be. Nothing is known here of how the manager works.
//
//     kv_device SEED NUM_STEPS     exits with 1, saying what was wrong
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "common/error.h"
#include "kv/manager.h"

using namespace ctx;      // NOLINT
using namespace ctx::kv;  // NOLINT

namespace {

using Ints = std::vector<std::int64_t>;

std::int64_t g_step = 0;

void Require(bool holds, const char* what) {
  if (holds) return;
  std::printf("step %lld: %s\n", static_cast<long long>(g_step), what);
  std::exit(1);
}

std::uint64_t Mixed(std::uint64_t a, std::uint64_t b) {
  a = (a ^ b) * 0x9E3779B97F4A7C15u;
  return a ^ (a >> 29);
}

// A sequence as its scheduler knows it.
struct Sequence {
  RowId row;
  std::string salt;
  std::vector<TokenId> tokens;       // accepted, or waiting to be computed
  std::int64_t num_told;             // tokens that the manager was told
  std::int64_t num_computed;         // settled
  std::deque<std::int64_t> pending;  // sizes of the passes that are out
  bool is_loading = false;
  std::int64_t num_reserved() const {
    std::int64_t sum = num_computed;
    for (const std::int64_t count : pending) sum += count;
    return sum;
  }
};

class Run {
 public:
  Run(std::uint64_t seed, const Options& options)
      : options_(options),
        rng_(seed),
        manager_(options),
        columns_(manager_.max_row_blocks()),
        stamps_(static_cast<std::size_t>(options.num_blocks * options.block_size)),
        table_(options.groups.size() * static_cast<std::size_t>(options.max_rows * columns_), -1) {}

  void Steps(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i, ++g_step) {
      switch (Random(16)) {
        case 0:
        case 1:
          Acquire();
          break;
        case 2:
          Fork();
          break;
        case 3:
          Truncate();
          break;
        case 4:
          Free();
          break;
        case 5:
          Evict();
          break;
        case 6:
          WrongCalls();
          break;
        case 7:
          BeginLoad();
          break;
        case 8:
          EndLoad();
          break;
        case 9:
          PassFence();
          break;
        case 10:
        case 11:
        case 12:
          Reserve();
          break;
        default:
          Settle();
      }
      CheckManager();
    }
    while (!sequences_.empty()) FreeAt(sequences_.size() - 1);
    fence_ += 4;
    PassFence();
    const Stats stats = manager_.GetStats();
    Require(stats.num_free + stats.num_idle == options_.num_blocks, "blocks were lost");
    CheckManager();
    totals_ = {stats.num_hit_tokens, stats.num_evicted, stats.num_copied, stats.num_duplicates,
               num_short_};
  }

  // Hit tokens, evictions, copies, duplicates, shortfalls: none may be 0 in a whole run.
  const std::array<std::int64_t, 5>& totals() const { return totals_; }

  // What the calls answered, for the comparison with a second run.
  std::uint64_t digest() const { return digest_; }

 private:
  std::int64_t Random(std::int64_t below) {
    return static_cast<std::int64_t>(rng_() % static_cast<std::uint64_t>(below));
  }
  std::size_t Which() { return static_cast<std::size_t>(Random(Count())); }
  std::int64_t Count() const { return static_cast<std::int64_t>(sequences_.size()); }
  void Note(std::int64_t value) { digest_ = Mixed(digest_, static_cast<std::uint64_t>(value)); }

  void CheckManager() {
    try {
      manager_.Check();
    } catch (const Error& error) {
      Require(false, error.what());
    }
  }

  static prefix::Identity IdentityOf(const std::string& salt) {
    prefix::Identity identity;
    if (!salt.empty()) identity.cache_salt = salt;
    return identity;
  }

  // Stamps of a sequence's tokens, from the first on.
  static std::vector<std::uint64_t> Chain(const Sequence& sequence) {
    std::uint64_t chain = sequence.salt.empty() ? 1 : static_cast<std::uint64_t>(sequence.salt[0]);
    std::vector<std::uint64_t> stamps;
    for (const TokenId token : sequence.tokens) stamps.push_back(chain = Mixed(chain, token + 7));
    return stamps;
  }

  BlockId& Entry(std::size_t group, RowId row, std::int64_t column) {
    const auto index = (static_cast<std::int64_t>(group) * options_.max_rows + row) * columns_;
    return table_[static_cast<std::size_t>(index + column)];
  }

  void Acquire() {
    // Mostly what somebody else begins with, so that there are hits; few tokens, so that ends meet.
    std::vector<TokenId> tokens;
    std::string salt;
    if (!known_.empty() && Random(4) != 0) {
      const Sequence& other = known_[static_cast<std::size_t>(Random(std::ssize(known_)))];
      salt = other.salt;
      tokens = other.tokens;
      tokens.resize(static_cast<std::size_t>(Random(std::ssize(tokens) + 1)));
    }
    if (Random(4) == 0) salt = std::string(static_cast<std::size_t>(Random(2)), 'x');
    for (std::int64_t i = Random(2 * options_.block_size + 2); i > 0; --i) {
      tokens.push_back(static_cast<TokenId>(Random(2)));
    }
    if (tokens.empty()) tokens.push_back(0);
    if (std::ssize(tokens) > columns_ * options_.block_size) return;
    const Snapshot before = manager_.GetSnapshot();
    const prefix::Identity identity = IdentityOf(salt);
    const std::int64_t expected = manager_.Lookup(tokens, identity).num_tokens;
    std::optional<Acquired> acquired;
    try {
      acquired = manager_.Acquire(tokens, identity);
    } catch (const CapacityError&) {
    }
    if (!acquired) {
      Require(manager_.GetSnapshot() == before, "a prompt that was not admitted changed something");
      return;
    }
    const std::int64_t hit = acquired->num_cached_tokens;
    const std::int64_t more = options_.partial_hits ? options_.block_size : 1;
    Require(expected <= hit && hit < expected + more, "lookup and acquire differ");
    Require(expected % options_.block_size == 0, "part of a block was looked up");
    Require(hit < std::ssize(tokens), "all of a prompt came from the cache");
    Note(acquired->row);
    Note(hit);
    sequences_.push_back({acquired->row, salt, tokens, std::ssize(tokens), hit, {}});
    Remember(sequences_.back());
  }

  void Remember(const Sequence& sequence) {
    known_.push_back(sequence);
    if (known_.size() > 8) known_.erase(known_.begin());
  }

  void Fork() {
    if (sequences_.empty()) return;
    const Sequence parent = sequences_[Which()];
    if (parent.is_loading || !parent.pending.empty() ||
        parent.num_computed != std::ssize(parent.tokens) || parent.num_told < parent.num_computed) {
      return;
    }
    const std::optional<RowId> row = manager_.Fork(parent.row);
    if (!row) return;
    Note(*row);
    sequences_.push_back(parent);
    sequences_.back().row = *row;
  }

  void Truncate() {
    if (sequences_.empty() || options_.groups.size() > 1) return;
    Sequence& sequence = sequences_[Which()];
    if (!sequence.pending.empty() || sequence.num_told < sequence.num_computed) return;
    const std::int64_t length = Random(std::ssize(sequence.tokens) + 1);
    manager_.Truncate(sequence.row, length);
    sequence.tokens.resize(static_cast<std::size_t>(length));
    sequence.num_told = length;
    sequence.num_computed = std::min(sequence.num_computed, length);
  }

  // Half of the rows go while a pass that is out may still use their blocks.
  void FreeAt(std::size_t index) {
    const Sequence& sequence = sequences_[index];
    if (Random(2) == 0) {
      manager_.Free(Ints{sequence.row});
    } else {
      const std::int64_t fence = fence_ + 1 + Random(3);
      for (std::int64_t group = 0; group < std::ssize(options_.groups); ++group) {
        const BlockId* columns =
            manager_.block_tables() + (group * options_.max_rows + sequence.row) * columns_;
        for (std::int64_t column = 0; column < columns_; ++column) {
          if (columns[column] != kNoBlock) fenced_.emplace_back(fence, columns[column]);
        }
      }
      manager_.Free(Ints{sequence.row}, fence);
    }
    Remember(sequences_[index]);
    sequences_.erase(sequences_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void PassFence() {
    manager_.AdvanceFence(++fence_);
    std::erase_if(fenced_, [&](const auto& entry) { return entry.first <= fence_; });
  }

  void RequireUnfenced(BlockId block) {
    for (const auto& [fence, fenced] : fenced_) {
      Require(fenced != block, "a block is written before the pass that uses it is over");
    }
  }

  void Free() {
    if (!sequences_.empty()) FreeAt(Which());
  }

  void Evict() {
    if (Random(4) != 0) return;
    const std::int64_t wanted = Random(4);
    const Snapshot before = manager_.GetSnapshot();
    const std::vector<BlockId> evicted = manager_.Evict(wanted);
    const auto count = std::min(static_cast<std::size_t>(wanted), before.idle.size());
    Require(std::equal(evicted.begin(), evicted.end(), before.idle.begin(),
                       before.idle.begin() + static_cast<std::ptrdiff_t>(count)),
            "what was evicted are not the oldest idle blocks");
    for (const BlockId block : evicted) Spoil(block);
  }

  void Spoil(BlockId block) {
    std::fill_n(stamps_.begin() + block * options_.block_size, options_.block_size, 0);
  }

  // Calls that have to be refused, and to change nothing.
  void WrongCalls() {
    const Snapshot before = manager_.GetSnapshot();
    const auto refused = [&](auto call) {
      try {
        call();
      } catch (const ArgumentError&) {
        return true;
      }
      return false;
    };
    std::int64_t unused = 0;
    const auto is_used = [&](std::int64_t row) {
      return std::any_of(sequences_.begin(), sequences_.end(),
                         [&](const Sequence& sequence) { return sequence.row == row; });
    };
    while (is_used(unused)) ++unused;
    Require(refused([&] { manager_.Free(Ints{unused}); }), "a free row was freed again");
    if (!sequences_.empty()) {
      const std::int64_t row = sequences_[Which()].row;
      Require(refused([&] { manager_.Free(Ints{row, row}); }), "a row was freed twice at once");
      Require(refused([&] { manager_.Free(Ints{row, unused}); }), "a free row was freed");
    }
    Require(manager_.GetSnapshot() == before, "a refused call changed something");
  }

  void FollowPatch(const Step& step) {
    for (const TableEntry& entry : step.table_patch) {
      Entry(static_cast<std::size_t>(entry.group), entry.row, entry.column) = entry.block;
    }
    for (const BlockCopy& copy : step.copies) {
      for (const BlockCopy& other : step.copies) {
        Require(copy.source != other.target, "a block is copied from that is copied to");
      }
      RequireUnfenced(copy.target);
      std::copy_n(stamps_.begin() + copy.source * options_.block_size, options_.block_size,
                  stamps_.begin() + copy.target * options_.block_size);
    }
  }

  // The prompt's KV, or some of it, comes from elsewhere.
  void BeginLoad() {
    if (sequences_.empty()) return;
    Sequence& sequence = sequences_[Which()];
    const std::int64_t most = sequence.num_told - sequence.num_computed - 1;
    if (sequence.is_loading || !sequence.pending.empty() || most < 1) return;
    const std::int64_t count = 1 + Random(most);
    const Snapshot before = manager_.GetSnapshot();
    const Step step = manager_.BeginLoad(sequence.row, count);
    if (step.oom_row != kNoRow) {
      Require(manager_.GetSnapshot() == before, "a load that was not served changed something");
      return;
    }
    FollowPatch(step);
    sequence.is_loading = true;
    sequence.pending.push_back(count);
    loads_[static_cast<std::size_t>(sequence.row)].assign(step.slots.get(),
                                                          step.slots.get() + step.num_slots);
  }

  void EndLoad() {
    if (sequences_.empty()) return;
    Sequence& sequence = sequences_[Which()];
    if (!sequence.is_loading) return;
    const std::int64_t count = sequence.pending.front();
    const std::int64_t loaded = Random(2) == 0 ? count : Random(count + 1);
    const std::vector<Slot>& slots = loads_[static_cast<std::size_t>(sequence.row)];
    const std::vector<std::uint64_t> chain = Chain(sequence);
    for (std::size_t group = 0; group < options_.groups.size(); ++group) {
      for (std::int64_t i = 0; i < loaded; ++i) {
        const auto p = static_cast<std::size_t>(sequence.num_computed + i);
        Write(slots[group * static_cast<std::size_t>(count) + static_cast<std::size_t>(i)],
              Mixed(chain[p], group));
      }
    }
    if (loaded == count) {
      manager_.FinishLoad(sequence.row);
    } else {
      manager_.FailLoad(sequence.row, loaded);
    }
    sequence.pending.pop_front();
    sequence.is_loading = false;
    sequence.num_computed += loaded;
  }

  void Write(Slot slot, std::uint64_t stamp) {
    if (slot == kNoSlot) return;
    RequireUnfenced(static_cast<BlockId>(slot / options_.block_size));
    stamps_[static_cast<std::size_t>(slot)] = stamp;
  }

  void Reserve() {
    Ints rows, counts;
    std::vector<Sequence*> batch;
    for (Sequence& sequence : sequences_) {
      const std::int64_t begin = sequence.num_reserved();
      if (Random(3) == 0 || sequence.pending.size() > 1 || sequence.is_loading) continue;
      // What waits, or one to three tokens that a model guessed.
      const std::int64_t waiting = std::ssize(sequence.tokens) - begin;
      const std::int64_t count = 1 + Random(waiting > 0 ? waiting : 3);
      if (begin + count > columns_ * options_.block_size) continue;
      rows.push_back(sequence.row);
      counts.push_back(count);
      batch.push_back(&sequence);
    }
    const Snapshot before = manager_.GetSnapshot();
    Step step;
    try {
      step = manager_.Reserve(rows, counts);
    } catch (const CapacityError&) {
      step.oom_row = 0;
    }
    if (step.oom_row != kNoRow) {
      Require(manager_.GetSnapshot() == before, "a step that was not served changed something");
      ++num_short_;
      return;
    }
    FollowPatch(step);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      Sequence& sequence = *batch[i];
      const std::int64_t end = sequence.num_reserved() + counts[i];
      while (std::ssize(sequence.tokens) < end) {
        sequence.tokens.push_back(static_cast<TokenId>(Random(2)));
      }
    }
    // All writes first: nobody else's KV may be among them.
    std::size_t next = 0;
    for (std::size_t group = 0; group < options_.groups.size(); ++group) {
      for (std::size_t i = 0; i < batch.size(); ++i) {
        const std::vector<std::uint64_t> chain = Chain(*batch[i]);
        const std::int64_t begin = batch[i]->num_reserved();
        for (std::int64_t p = begin; p < begin + counts[i]; ++p) {
          const Slot slot = step.slots[next++];
          Note(slot);
          Write(slot, Mixed(chain[static_cast<std::size_t>(p)], group));
        }
      }
    }
    Require(next == step.num_slots, "there are more slots than tokens");
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i]->pending.push_back(counts[i]);
    for (const Sequence& sequence : sequences_) VerifyReads(sequence);
  }

  // The first token that the token at `position` attends to.
  static std::int64_t FirstRead(const Group& group, std::int64_t position) {
    if (group.kind == GroupKind::kFull) return 0;
    if (group.kind == GroupKind::kChunkedLocal) return position - position % group.window;
    return std::max<std::int64_t>(0, position + 1 - group.window);
  }

  // Everything that a pass of this sequence reads is what it should be.
  void VerifyReads(const Sequence& sequence) {
    if (sequence.pending.empty() || sequence.is_loading)
      return;  // its part of the table may not have been sent yet
    const std::vector<std::uint64_t> chain = Chain(sequence);
    for (std::size_t group = 0; group < options_.groups.size(); ++group) {
      const std::int64_t end = sequence.num_reserved();
      for (std::int64_t p = FirstRead(options_.groups[group], sequence.num_computed); p < end;
           ++p) {
        const BlockId block = Entry(group, sequence.row, p / options_.block_size);
        Require(block >= 0, "the table has no block for a token");
        const auto slot =
            static_cast<std::size_t>(block * options_.block_size + p % options_.block_size);
        Require(stamps_[slot] == Mixed(chain[static_cast<std::size_t>(p)], group),
                "a slot does not hold the KV of its token");
      }
    }
  }

  void Settle() {
    Ints rows, counts;
    std::vector<TokenId> told;
    const bool late = Random(3) == 0;
    for (Sequence& sequence : sequences_) {
      if (sequence.pending.empty() || sequence.is_loading || Random(3) == 0) continue;
      const std::int64_t reserved = sequence.pending.front();
      const bool last = sequence.pending.size() == 1;
      // Tokens of a prompt are never given up; guesses are, if nothing was built upon them.
      const std::int64_t least =
          std::clamp<std::int64_t>(sequence.num_told - sequence.num_computed, 0, reserved);
      const std::int64_t accepted = last ? least + Random(reserved - least + 1) : reserved;
      rows.push_back(sequence.row);
      counts.push_back(accepted);
      sequence.pending.pop_front();
      sequence.num_computed += accepted;
      if (!late) Tell(sequence, &told);
      if (last) {
        sequence.tokens.resize(
            static_cast<std::size_t>(std::max(sequence.num_told, sequence.num_computed)));
      }
    }
    if (!late) {
      manager_.Settle(rows, counts, told, {});
      return;
    }
    manager_.SettleLate(rows, counts);
    rows.clear();
    for (Sequence& sequence : sequences_) {
      if (sequence.is_loading || Random(2) == 0) continue;
      rows.push_back(sequence.row);
      Tell(sequence, &told);
    }
    manager_.Tell(rows, told, {});
  }

  static void Tell(Sequence& sequence, std::vector<TokenId>* told) {
    for (; sequence.num_told < sequence.num_computed; ++sequence.num_told) {
      told->push_back(sequence.tokens[static_cast<std::size_t>(sequence.num_told)]);
    }
  }

  Options options_;
  std::mt19937_64 rng_;
  KVCacheManager manager_;
  std::int64_t columns_;
  std::vector<std::uint64_t> stamps_;  // by slot
  std::vector<BlockId> table_;         // by group, row, column: made of the patches alone
  std::vector<Sequence> sequences_;
  std::int64_t fence_ = 0;
  std::vector<std::pair<std::int64_t, BlockId>> fenced_;  // until a fence is passed
  std::vector<std::vector<Slot>> loads_{static_cast<std::size_t>(options_.max_rows)};  // by row
  std::vector<Sequence> known_;  // whose tokens prompts may begin with
  std::uint64_t digest_ = 0;
  std::int64_t num_short_ = 0;
  std::array<std::int64_t, 5> totals_{};
};

}  // namespace

int main(int argc, char** argv) {
  Require(argc == 3, "usage: kv_device SEED NUM_STEPS");
  const std::uint64_t seed = std::strtoull(argv[1], nullptr, 10);
  const std::int64_t num_steps = std::strtoll(argv[2], nullptr, 10);
  const std::vector<std::vector<Group>> kinds = {
      {{}},
      {{}, {GroupKind::kSlidingWindow, 5}},
      {{}, {GroupKind::kSlidingWindow, 8}, {GroupKind::kChunkedLocal, 6}},
  };
  std::array<std::int64_t, 5> totals{};
  for (std::int64_t round = 0; round < num_steps / 500 + 1; ++round) {
    for (const auto& groups : kinds) {
      Options options{.num_blocks = 8 + round % 40, .block_size = 1 + round % 4, .max_rows = 5};
      options.groups = groups;
      options.hash_bits = round % 2 == 0 ? 128 : 4;
      options.partial_hits = groups.size() == 1 && round % 3 != 0;
      std::uint64_t digests[2];
      for (std::uint64_t& digest : digests) {
        Run run(seed + static_cast<std::uint64_t>(round), options);
        run.Steps(500);
        digest = run.digest();
        for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += run.totals()[i];
        if (round % 8 != 0) break;  // now and then twice
        if (&digest == &digests[1]) Require(digests[0] == digests[1], "equal calls, other answers");
      }
    }
  }
  for (const std::int64_t total : totals) {
    std::printf("%lld ", static_cast<long long>(total));
    Require(total > 0, "something never happened");
  }
  return 0;
}
