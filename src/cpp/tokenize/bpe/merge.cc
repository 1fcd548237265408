#include "tokenize/bpe/merge.h"

#include <array>

#include "tokenize/bpe/block_merger.h"

namespace ctx::tokenize {

using internal::WithBlockMerger;

std::size_t MergeMore(const Vocabulary& vocabulary, std::string_view bytes,
                      std::size_t num_merged_bytes, std::vector<Rank>& ranks, std::size_t first) {
  return WithBlockMerger(vocabulary, bytes,
                         [&](auto merger) { return merger.Merge(num_merged_bytes, ranks, first); });
}

void MergeLong(const Vocabulary& vocabulary, std::string_view bytes, std::vector<Rank>& ranks) {
  MergeMore(vocabulary, bytes, 0, ranks, ranks.size());
}

std::int64_t CountMerged(const Vocabulary& vocabulary, std::string_view bytes) {
  return WithBlockMerger(vocabulary, bytes, [](auto merger) { return merger.Count(); });
}

void Merge(const Vocabulary& vocabulary, std::string_view bytes, std::vector<Rank>& ranks) {
  if (bytes.empty()) return;
  if (bytes.size() > kShortBytes) return MergeLong(vocabulary, bytes, ranks);
  std::array<Rank, kShortBytes> merged;
  const std::size_t num_ranks =
      MergeShort(vocabulary, bytes, bytes.data() + bytes.size(), merged.data());
  ranks.insert(ranks.end(), merged.begin(), merged.begin() + num_ranks);
}

}  // namespace ctx::tokenize
