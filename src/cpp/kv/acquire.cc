// How a prompt finds its prefix and gets its row.
#include <algorithm>
#include <limits>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "kv/manager.h"

namespace ctx::kv {

// A prompt as the calls get it, and what can be prepared of it without the mutex.
struct KVCacheManager::Prompt {
  std::span<const TokenId> token_ids;  // from `begin` on
  const Match* resume;
  std::int64_t begin;       // tokens that `resume` stands for
  std::int64_t num_tokens;  // of the whole prompt
  std::shared_ptr<const prefix::Identity> identity;
  std::vector<std::string> framed;  // identities of the leading blocks; the others have none
};

KVCacheManager::Prompt KVCacheManager::Prepare(std::span<const TokenId> token_ids,
                                               const prefix::Identity& identity,
                                               const Match* resume) const {
  const std::int64_t begin = resume == nullptr ? 0 : resume->num_tokens;
  if (begin < 0 || begin > kMaxPoolTokens) {
    throw ArgumentError(StrCat("resume.num_tokens is ", begin));
  }
  const auto num_tokens = begin + static_cast<std::int64_t>(token_ids.size());
  if (num_tokens == 0) throw ArgumentError("token_ids is empty; a prompt has at least one token");
  if (!identity.media.empty() &&
      (identity.media.front().offset < 0 ||
       identity.media.back().offset + identity.media.back().length > num_tokens)) {
    throw ArgumentError(StrCat("media must lie within the ", num_tokens, " tokens of the prompt"));
  }
  Prompt prompt{token_ids, resume, begin, num_tokens, nullptr, {}};
  if (identity.empty()) return prompt;
  prompt.identity = std::make_shared<const prefix::Identity>(identity);
  prompt.framed = FramedOf(identity);
  return prompt;
}

/// The identities of the leading blocks; the others have none.
std::vector<std::string> KVCacheManager::FramedOf(const prefix::Identity& identity) const {
  const std::int64_t end =
      identity.media.empty() ? 1 : identity.media.back().offset + identity.media.back().length;
  std::vector<std::string> framed(static_cast<std::size_t>(BlocksFor(end)));
  prefix::MediaRange media{0, 0};
  for (std::int64_t column = 0; column < BlocksFor(end); ++column) {
    const std::int64_t first = column * block_size_;
    media = prefix::MediaIn(identity, first, first + block_size_, media.first);
    prefix::AppendFramed(identity, first, block_size_, column == 0, media,
                         &framed[static_cast<std::size_t>(column)]);
  }
  return framed;
}

/// Throws unless the matched prefix is still there and has the identity of the prompt. All of it
/// is looked at when `all`; else what can be without walking up the tree, since what is wrong
/// then is the caller's idea of the prefix, never the prefix that is found.
void KVCacheManager::CheckResume(const Prompt& prompt, bool all) const {
  const Match& resume = *prompt.resume;
  const auto last = static_cast<NodeId>(resume.node);
  if (!tree_.IsCurrent(resume.node, resume.chain) ||
      tree_.depth(last) * block_size_ != resume.num_tokens) {
    throw StaleMatchError("the matched prefix is gone; match the whole prompt again");
  }
  const auto check = [&](std::int64_t column, ExtraId extra) {
    const auto index = static_cast<std::size_t>(column);
    if (extra != (index < prompt.framed.size() ? extras_.Find(prompt.framed[index]) : kNoExtra)) {
      throw ArgumentError(StrCat("block ", column, " of the matched prefix has another cache_salt ",
                                 "or other extra_keys than this call"));
    }
  };
  if (last != kRoot) check(0, tree_.first_extra(last));
  if (!all) return;
  for (NodeId node = last; node != kRoot; node = tree_.parent(node)) {
    check(tree_.depth(node) - 1, tree_.extra(node));
  }
}

/// The nodes of the prompt's known prefix go to path_, from the right as far to the left as
/// was asked for. The answer is the number of tokens that all groups can go on from: each group in
/// turn takes back what it cannot use, until none does.
std::int64_t KVCacheManager::FindHits(const Prompt& prompt, bool whole_path) const {
  const std::int64_t begin = prompt.begin / block_size_;
  const NodeId from = prompt.resume == nullptr ? kRoot : static_cast<NodeId>(prompt.resume->node);
  std::int64_t path_begin = begin;
  const auto fill_path_from = [&](std::int64_t column) {
    while (path_begin > column) {
      const NodeId node = path_begin == begin ? from : tree_.parent(path_[path_begin]);
      path_[--path_begin] = node;
    }
  };
  if (begin > 0) fill_path_from(whole_path ? 0 : begin - 1);

  std::vector<ExtraId> extras;
  for (auto i = static_cast<std::size_t>(begin); i < prompt.framed.size(); ++i) {
    extras.push_back(extras_.Find(prompt.framed[i]));
  }
  // The block of the last token is always computed anew: it gives the first logits.
  const std::int64_t max_tokens = prompt.num_tokens - 1;
  const std::int64_t max_columns = std::min(max_tokens / block_size_, num_columns_);
  std::int64_t num_nodes = begin;
  if (max_columns > begin) {
    num_nodes +=
        tree_.Walk(from, prompt.token_ids, extras, max_columns - begin, path_.get() + begin);
  }
  std::int64_t num_tokens = num_nodes < max_columns
                                ? num_nodes * block_size_
                                : std::min(max_tokens, num_columns_ * block_size_);
  for (std::int64_t before = -1; before != num_tokens;) {
    before = num_tokens;
    for (std::int64_t group = 0; group < num_groups(); ++group) {
      const Group& rules = groups_[static_cast<std::size_t>(group)];
      const auto has_block = [&](std::int64_t column) {
        fill_path_from(column);
        return pool_.Find(path_[column], group) != kNoBlock;
      };
      // In a full group what is before a published block is published too.
      std::int64_t first = 0;
      if (rules.kind == GroupKind::kFull && begin > 0 && begin * block_size_ <= before &&
          has_block(begin - 1)) {
        first = begin;
      }
      const std::int64_t num_columns = LongestHit(rules, num_tokens, block_size_, first, has_block);
      num_tokens = std::min(num_tokens, num_columns * block_size_);
    }
  }
  if (num_tokens > 0) fill_path_from(num_tokens / block_size_ - 1);
  return num_tokens;
}

Match KVCacheManager::Lookup(std::span<const TokenId> token_ids, const prefix::Identity& identity,
                             const Match* resume) const {
  const Prompt prompt = Prepare(token_ids, identity, resume);
  const std::lock_guard lock(mutex_);
  if (resume != nullptr) CheckResume(prompt, false);
  const std::int64_t num_cached = FindHits(prompt, false);
  const std::int64_t column = num_cached / block_size_;
  const NodeId node = column == 0 ? kRoot : path_[column - 1];
  return {num_cached, node, tree_.chain(node)};
}

/// A published block that begins as the prompt goes on behind its cached blocks: its node, and how
/// many tokens are alike.
NodeId KVCacheManager::PartialHit(const Prompt& prompt, std::int64_t num_cached,
                                  std::int64_t* length) const noexcept {
  const std::int64_t begin = num_cached - prompt.begin;
  if (!partial_hits_ || begin < 0) return kNoNode;
  const auto column = static_cast<std::size_t>(num_cached / block_size_);
  const auto max_length = std::min(prompt.num_tokens - 1 - num_cached, block_size_ - 1);
  const NodeId node = tree_.LongestChild(
      column == 0 ? kRoot : path_[static_cast<std::int64_t>(column) - 1],
      prompt.token_ids.subspan(static_cast<std::size_t>(begin),
                               static_cast<std::size_t>(max_length)),
      column < prompt.framed.size() ? extras_.Find(prompt.framed[column]) : kNoExtra, length);
  for (std::int64_t group = 0; group < num_groups() && *length > 0; ++group) {
    if (pool_.Find(node, group) == kNoBlock) *length = 0;
  }
  return node;
}

/// Blocks to keep available: none for a prompt that is alone.
std::int64_t KVCacheManager::Watermark() const noexcept {
  return free_rows_.size() == rows_.size() ? 0 : watermark_blocks_;
}

std::optional<Acquired> KVCacheManager::Acquire(std::span<const TokenId> token_ids,
                                                const prefix::Identity& identity,
                                                const Match* resume) {
  Prompt prompt = Prepare(token_ids, identity, resume);
  CheckRowFits(prompt.num_tokens, "a prompt");
  const std::int64_t num_columns = BlocksFor(prompt.num_tokens);
  const std::lock_guard lock(mutex_);
  if (resume != nullptr) CheckResume(prompt, true);
  if (!EnsureFreeRow()) return std::nullopt;

  const std::int64_t num_cached = FindHits(prompt, true);
  const std::int64_t num_hits = num_cached / block_size_;
  // Hits that are idle now stop being available once they are pinned.
  std::int64_t num_idle_hits = 0;
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    for (std::int64_t column = FirstNeeded(group, num_cached); column < num_hits; ++column) {
      num_idle_hits += pool_[pool_.Find(path_[column], group)].state == BlockState::kIdle;
    }
  }
  std::int64_t partial_length = 0;
  const NodeId partial = PartialHit(prompt, num_cached, &partial_length);
  for (std::int64_t group = 0; group < num_groups() && partial_length > 0; ++group) {
    num_idle_hits += pool_[pool_.Find(partial, group)].state == BlockState::kIdle;
  }
  if (NumNeeded(num_columns - num_hits) + Watermark() > pool_.num_available() - num_idle_hits) {
    return std::nullopt;
  }

  // Everything that can fail comes before the first change.
  TokenQueue tail;
  tail.Reserve(prompt.num_tokens - num_cached);
  for (std::int64_t column = num_hits; column < prompt.begin / block_size_; ++column) {
    tail.Append(tree_.tokens(path_[column]));
  }
  tail.Append(prompt.token_ids.subspan(
      static_cast<std::size_t>(std::max<std::int64_t>(num_cached - prompt.begin, 0))));
  std::vector<ExtraId> extras = extras_.AddAll(prompt.framed);

  const RowId row_id = TakeRow();
  Row& row = rows_[static_cast<std::size_t>(row_id)];
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    BlockId* columns = Columns(group, row_id);
    RowGroup& at = At(group, row_id);
    at.begin = static_cast<std::int32_t>(std::min(FirstNeeded(group, num_cached), num_hits));
    at.end = static_cast<std::int32_t>(num_hits);
    for (std::int64_t column = at.begin; column < num_hits; ++column) {
      columns[column] = pool_.Find(path_[column], group);
      pool_.AddRef(columns[column]);
    }
    if (partial_length > 0) {  // copied when the row writes behind what it shares
      columns[at.end] = pool_.Find(partial, group);
      pool_.AddRef(columns[at.end++]);
    }
  }
  for (std::int64_t group = 0; group < num_groups(); ++group) {
    if (groups_[static_cast<std::size_t>(group)].kind != GroupKind::kFull) continue;
    BlockId* columns = Columns(group, row_id);
    RowGroup& at = At(group, row_id);
    while (at.end < num_columns) columns[at.end++] = pool_.Allocate();
  }
  row.num_tokens = prompt.num_tokens;
  row.num_computed = row.num_reserved = num_cached + partial_length;
  row.tail = std::move(tail);
  row.identity = std::move(prompt.identity);
  row.extras = std::move(extras);
  SetTip(row, num_hits == 0 ? kRoot : path_[num_hits - 1]);
  num_queried_tokens_ += row.num_tokens;
  num_hit_tokens_ += row.num_computed;
  return Acquired{row_id, row.num_computed};
}

bool KVCacheManager::CanAdmit(std::int64_t num_tokens) const {
  if (num_tokens < 1)
    throw ArgumentError(StrCat("num_tokens is ", num_tokens, "; it must be 1 or more"));
  CheckRowFits(num_tokens, "a prompt");
  const std::lock_guard lock(mutex_);
  const bool row_free = !free_rows_.empty() || static_cast<std::int64_t>(rows_.size()) < max_rows_;
  return row_free && NumNeeded(BlocksFor(num_tokens)) + Watermark() <= pool_.num_available();
}

}  // namespace ctx::kv
