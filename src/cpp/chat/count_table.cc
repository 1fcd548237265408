#include "chat/count_table.h"

#include <random>
#include <utility>

namespace ctx::chat {
namespace {

SipKey RandomKey() {
  std::random_device device;
  const auto word = [&] {
    return static_cast<std::uint64_t>(device()) << 32 | static_cast<std::uint64_t>(device());
  };
  const std::uint64_t k0 = word();
  return {k0, word()};
}

}  // namespace

CountTable::CountTable(std::size_t capacity_bytes)
    : capacity_bytes_(capacity_bytes), hash_key_(RandomKey()) {}

std::optional<std::int64_t> CountTable::Find(std::string_view key) {
  const Key lookup{SipHash13(hash_key_, key), key};
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(lookup);
  if (found == by_key_.end()) {
    ++misses_;
    return std::nullopt;
  }
  ++hits_;
  by_use_.splice(by_use_.begin(), by_use_, found->second);
  return found->second->num_tokens;
}

void CountTable::Insert(std::string_view key, std::int64_t num_tokens) {
  const std::size_t entry_bytes = key.size() + kEntryBytes;
  if (entry_bytes > capacity_bytes_) return;
  // The entry is made outside the lock; a list of one is spliced in without allocating.
  std::list<Entry> made;
  made.push_front({std::string(key), num_tokens});
  const Key stored{SipHash13(hash_key_, key), made.front().key};
  const std::lock_guard lock(mutex_);
  if (!by_key_.try_emplace(stored, made.begin()).second) return;
  by_use_.splice(by_use_.begin(), made);
  size_bytes_ += entry_bytes;
  while (size_bytes_ > capacity_bytes_) EvictOldest();
}

void CountTable::EvictOldest() noexcept {
  const Entry& oldest = by_use_.back();
  by_key_.erase(Key{SipHash13(hash_key_, oldest.key), oldest.key});
  size_bytes_ -= oldest.key.size() + kEntryBytes;
  by_use_.pop_back();
  ++evictions_;
}

void CountTable::Clear() noexcept {
  const std::lock_guard lock(mutex_);
  by_key_.clear();
  by_use_.clear();
  size_bytes_ = 0;
}

CountTable::Stats CountTable::stats() const {
  const std::lock_guard lock(mutex_);
  return {hits_,
          misses_,
          evictions_,
          static_cast<std::int64_t>(by_use_.size()),
          static_cast<std::int64_t>(size_bytes_),
          static_cast<std::int64_t>(capacity_bytes_)};
}

}  // namespace ctx::chat
