// A bounded table from content to its number of tokens, so that a message counted once is not
// tokenized again.
//
// Keys are whole byte strings, compared in full on a hit: a hash collision costs time, never a
// wrong count. The hash is keyed at random per table, so that text cannot be made to collide. When
// full, the least recently used entries go. Every member function may be called from any thread;
// one mutex is held for O(key) time. A process forked while another thread is in a call must
// neither use nor destroy its copy. A call that throws std::bad_alloc leaves the table as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "chat/sip_hash.h"

namespace ctx::chat {

class CountTable {
 public:
  struct Stats {
    std::int64_t hits;
    std::int64_t misses;
    std::int64_t evictions;
    std::int64_t num_entries;
    std::int64_t size_bytes;
    std::int64_t capacity_bytes;
  };

  /// Holds entries of at most `capacity_bytes` together, keys and bookkeeping; 0 stores nothing.
  explicit CountTable(std::size_t capacity_bytes);

  /// The count stored for `key`, which becomes the most recently used.
  std::optional<std::int64_t> Find(std::string_view key);

  /// Stores a count; a key that is there already keeps its count (the same one).
  void Insert(std::string_view key, std::int64_t num_tokens);

  void Clear() noexcept;
  Stats stats() const;

 private:
  struct Entry {
    std::string key;
    std::int64_t num_tokens;
  };
  struct Key {
    std::uint64_t hash;
    std::string_view bytes;
    bool operator==(const Key& other) const noexcept {
      return hash == other.hash && bytes == other.bytes;
    }
  };
  struct HashOf {
    std::size_t operator()(const Key& key) const noexcept { return key.hash; }
  };
  // What an entry takes beside its key: list node, map node, bucket.
  static constexpr std::size_t kEntryBytes = sizeof(Entry) + sizeof(Key) + 8 * sizeof(void*);

  void EvictOldest() noexcept;

  const std::size_t capacity_bytes_;
  const SipKey hash_key_;
  mutable std::mutex mutex_;
  std::list<Entry> by_use_;                                             // most recent first
  std::unordered_map<Key, std::list<Entry>::iterator, HashOf> by_key_;  // views into by_use_
  std::size_t size_bytes_ = 0;
  std::int64_t hits_ = 0;
  std::int64_t misses_ = 0;
  std::int64_t evictions_ = 0;
};

}  // namespace ctx::chat
