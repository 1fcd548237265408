// A bounded table from content to its tokens, so that a message tokenized once is not tokenized
// again.
//
// Keys are segments and the fingerprint of the encoding. They are hashed once, looked up where they
// lie, and compared in full on a hit: a collision costs time, never a wrong count. The hash is
// keyed at random per table. Entries are spread over shards, each with a mutex of its own, which is
// held for O(key) time; of a full shard the least recently used entries go.
//
// Every member function may be called from any thread. A process forked while another thread is in
// a call must neither use nor destroy its copy. A call that throws std::bad_alloc leaves the table
// as it was.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "chat/fold_hash.h"
#include "common/ids.h"
#include "tokenize/encoding.h"

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

  /// What is looked up, hashed: views that the caller keeps alive.
  class Key {
   public:
    std::size_t size_bytes() const noexcept { return size_bytes_; }

   private:
    friend class CountTable;
    std::string_view fingerprint_;
    std::span<const tokenize::Segment> segments_;
    std::uint64_t hash_ = 0;
    std::size_t size_bytes_ = 0;  // as entries store it
  };

  /// Holds entries of at most `capacity_bytes` together, keys, ids and bookkeeping; 0 stores
  /// nothing, and neither is stored what is larger than a shard (an eighth of a table of
  /// megabytes).
  explicit CountTable(std::size_t capacity_bytes);
  ~CountTable();
  CountTable(const CountTable&) = delete;
  CountTable& operator=(const CountTable&) = delete;

  Key MakeKey(std::string_view fingerprint,
              std::span<const tokenize::Segment> segments) const noexcept;

  /// The count stored for `key`, which becomes the most recently used.
  std::optional<std::int64_t> Find(const Key& key) noexcept;

  /// Likewise; appends the ids. False, and a miss, where only a count is stored.
  bool FindIds(const Key& key, std::vector<TokenId>& ids);

  /// Stores a count; a key that is there already keeps its entry (of the same count).
  void Insert(const Key& key, std::int64_t num_tokens);
  /// Stores ids, and so their number; an entry without ids gets them.
  void Insert(const Key& key, std::span<const TokenId> ids);

  void Clear() noexcept;
  /// Shard after shard: calls that run meanwhile may be in or not.
  Stats stats() const;

 private:
  struct Entry;
  struct Shard;

  Shard& ShardOf(const Key& key) const noexcept;
  void Store(const Key& key, std::int64_t num_tokens, const TokenId* ids);

  const std::size_t capacity_bytes_;
  const FoldKey hash_key_;
  const std::size_t num_shards_;  // a power of two
  const std::unique_ptr<Shard[]> shards_;
};

}  // namespace ctx::chat
