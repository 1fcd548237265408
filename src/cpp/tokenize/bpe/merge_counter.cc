#include "tokenize/bpe/merge_counter.h"

#include <array>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tokenize/bpe/block_merger.h"
#include "tokenize/bpe/merge.h"

namespace ctx::tokenize {

using internal::BlockMerger;
using internal::kBlockBytes;
using internal::WithBlockMerger;

struct MergeCounter::State {
  using Merger = std::variant<BlockMerger<false>, BlockMerger<true>>;

  explicit State(const Vocabulary& all)
      : vocabulary(all),
        merger(WithBlockMerger(all, {}, [](auto blocks) { return Merger(std::move(blocks)); })) {
    Restart();
  }

  void Restart() {
    bytes.clear();
    window.clear();
    merged_end = size_bytes = 0;
    num_dropped = 0;
    gave_up = false;
    std::visit([](auto& blocks) { blocks.Restart(); }, merger);
    SetBytes(0);
  }

  /// Merges block by block, until fewer than `num_left` bytes are left.
  void MergeUntil(std::size_t num_left) {
    std::visit(
        [&](auto& blocks) {
          while (!gave_up && bytes.size() - merged_end >= num_left) {
            gave_up =
                !blocks.MergeBlock(merged_end, window, 0, /*may_start_over=*/num_dropped == 0);
            if (!gave_up) blocks.Repeat(merged_end, window, 0, blocks.kWindowTokens);
            const auto dropped = blocks.CutWindow(window, merged_end);
            if (dropped.num_tokens == 0) continue;
            num_dropped += static_cast<std::int64_t>(dropped.num_tokens);
            bytes.erase(0, dropped.end);
            merged_end -= dropped.end;
            blocks.SetBytes(bytes, 0);
          }
        },
        merger);
  }

  void SetBytes(std::size_t num_new) {
    std::visit([&](auto& blocks) { blocks.SetBytes(bytes, num_new); }, merger);
  }

  const Vocabulary& vocabulary;
  Merger merger;
  std::string bytes;         // all, but for those of the ranks that were dropped at the front
  std::vector<Rank> window;  // what bytes [0, merged_end) give
  std::size_t merged_end = 0;
  std::int64_t num_dropped = 0;  // ranks before the window
  std::size_t size_bytes = 0;
  bool gave_up = false;
};

MergeCounter::MergeCounter(const Vocabulary& vocabulary)
    : state_(std::make_unique<State>(vocabulary)) {}

MergeCounter::~MergeCounter() = default;

void MergeCounter::Feed(std::string_view bytes) {
  State& state = *state_;
  state.size_bytes += bytes.size();
  if (state.gave_up) return;
  state.bytes.append(bytes);
  state.SetBytes(bytes.size());
  state.MergeUntil(kBlockBytes);
}

std::optional<std::int64_t> MergeCounter::Finish() {
  State& state = *state_;
  std::optional<std::int64_t> count;
  const bool may_be_token = state.size_bytes <= state.vocabulary.max_token_bytes();
  const bool has_all = !state.gave_up && state.num_dropped == 0;
  if (state.size_bytes == 0) {
    count = 0;
  } else if (may_be_token && has_all && state.vocabulary.Find(state.bytes) != kNoToken) {
    count = 1;
  } else if (state.size_bytes <= kShortBytes) {
    std::array<Rank, kShortBytes> merged;
    const char* const end = state.bytes.data() + state.bytes.size();
    count =
        static_cast<std::int64_t>(MergeShort(state.vocabulary, state.bytes, end, merged.data()));
  } else if (has_all || !may_be_token) {
    state.MergeUntil(1);
    if (!state.gave_up) count = state.num_dropped + std::ssize(state.window);
  }
  state.Restart();
  return count;
}

}  // namespace ctx::tokenize
