// An entry is one piece of memory:
//
//     | Entry | fingerprint | (size * 2 + trusted, bytes) of each segment | pad | ids |
//
// It is in the chain of its bucket, of which there are as many as entries or more, and in the list
// of its shard, ordered by use.
#include "chat/count_table.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <random>

namespace ctx::chat {
namespace {

constexpr std::size_t kMaxShards = 8;
constexpr std::size_t kMinShardBytes = 1 << 20;

FoldKey RandomKey() {
  std::random_device device;
  FoldKey key;
  for (std::uint64_t& word : key) {
    const std::uint64_t high = device();
    word = high << 32 | device();
  }
  return key;
}

std::size_t NumShards(std::size_t capacity_bytes) {
  std::size_t num_shards = 1;
  while (num_shards < kMaxShards && capacity_bytes / (2 * num_shards) >= kMinShardBytes) {
    num_shards *= 2;
  }
  return num_shards;
}

std::uint64_t FrameOf(const tokenize::Segment& segment) noexcept {
  return static_cast<std::uint64_t>(segment.text.size()) * 2 + (segment.trusted ? 1 : 0);
}

}  // namespace

struct CountTable::Entry {
  Entry* next_in_bucket;
  Entry* newer;
  Entry* older;
  std::uint64_t hash;
  std::int64_t num_tokens;
  std::size_t key_bytes;
  bool has_ids;

  static std::size_t OffsetOfIds(std::size_t key_bytes) noexcept {
    return sizeof(Entry) + (key_bytes + sizeof(TokenId) - 1) / sizeof(TokenId) * sizeof(TokenId);
  }
  static std::size_t SizeBytes(std::size_t key_bytes, std::size_t num_ids) noexcept {
    // A bucket may stand for it, or two when there is room to grow.
    return OffsetOfIds(key_bytes) + num_ids * sizeof(TokenId) + 2 * sizeof(Entry*);
  }
  std::size_t SizeBytes() const noexcept {
    return SizeBytes(key_bytes, has_ids ? static_cast<std::size_t>(num_tokens) : 0);
  }
  const char* key() const noexcept { return reinterpret_cast<const char*>(this + 1); }
  const TokenId* ids() const noexcept {
    return reinterpret_cast<const TokenId*>(reinterpret_cast<const char*>(this) +
                                            OffsetOfIds(key_bytes));
  }

  bool IsOf(const Key& key) const noexcept {
    if (hash != key.hash_ || key_bytes != key.size_bytes_) return false;
    const char* at = this->key();
    // Sizes are equal together and compared one by one before their bytes: nothing is read past the
    // end.
    if (std::memcmp(at, key.fingerprint_.data(), key.fingerprint_.size()) != 0) return false;
    at += key.fingerprint_.size();
    for (const tokenize::Segment& segment : key.segments_) {
      const std::uint64_t frame = FrameOf(segment);
      if (std::memcmp(at, &frame, sizeof frame) != 0) return false;
      at += sizeof frame;
      if (!segment.text.empty() && std::memcmp(at, segment.text.data(), segment.text.size()) != 0) {
        return false;
      }
      at += segment.text.size();
    }
    return true;
  }

  static Entry* Make(const Key& key, std::int64_t num_tokens, const TokenId* ids) {
    const std::size_t num_ids = ids == nullptr ? 0 : static_cast<std::size_t>(num_tokens);
    const std::size_t offset = OffsetOfIds(key.size_bytes_);
    void* const memory = ::operator new(offset + num_ids * sizeof(TokenId));
    auto* const entry = new (memory)
        Entry{nullptr, nullptr, nullptr, key.hash_, num_tokens, key.size_bytes_, ids != nullptr};
    char* at = reinterpret_cast<char*>(entry + 1);
    const auto write = [&at](const void* from, std::size_t size) {
      if (size != 0) std::memcpy(at, from, size);
      at += size;
    };
    write(key.fingerprint_.data(), key.fingerprint_.size());
    for (const tokenize::Segment& segment : key.segments_) {
      const std::uint64_t frame = FrameOf(segment);
      write(&frame, sizeof frame);
      write(segment.text.data(), segment.text.size());
    }
    at = static_cast<char*>(memory) + offset;
    write(ids, num_ids * sizeof(TokenId));
    return entry;
  }
  static void Free(Entry* entry) noexcept { ::operator delete(entry); }
};

struct alignas(64) CountTable::Shard {
  mutable std::mutex mutex;
  std::vector<Entry*> buckets;  // a power of two of them, or none
  Entry* newest = nullptr;
  Entry* oldest = nullptr;
  std::size_t num_entries = 0;
  std::size_t size_bytes = 0;
  std::int64_t hits = 0;
  std::int64_t misses = 0;
  std::int64_t evictions = 0;

  ~Shard() { Clear(); }

  Entry** BucketOf(std::uint64_t hash) noexcept { return &buckets[hash & (buckets.size() - 1)]; }

  Entry* Find(const Key& key) noexcept {
    if (buckets.empty()) return nullptr;
    Entry* entry = *BucketOf(key.hash_);
    while (entry != nullptr && !entry->IsOf(key)) entry = entry->next_in_bucket;
    return entry;
  }

  void LinkNewest(Entry* entry) noexcept {
    entry->newer = nullptr;
    entry->older = newest;
    (newest == nullptr ? oldest : newest->newer) = entry;
    newest = entry;
  }
  void UnlinkUse(Entry* entry) noexcept {
    (entry->newer == nullptr ? newest : entry->newer->older) = entry->older;
    (entry->older == nullptr ? oldest : entry->older->newer) = entry->newer;
  }
  void Touch(Entry* entry) noexcept {
    if (entry == newest) return;
    UnlinkUse(entry);
    LinkNewest(entry);
  }

  void Remove(Entry* entry) noexcept {
    Entry** link = BucketOf(entry->hash);
    while (*link != entry) link = &(*link)->next_in_bucket;
    *link = entry->next_in_bucket;
    UnlinkUse(entry);
    --num_entries;
    size_bytes -= entry->SizeBytes();
    Entry::Free(entry);
  }

  /// Makes room for one more bucket's worth; on std::bad_alloc nothing has changed.
  void Grow() {
    if (num_entries < buckets.size()) return;
    std::vector<Entry*> old(std::max<std::size_t>(16, 2 * buckets.size()));
    old.swap(buckets);
    for (Entry* entry = newest; entry != nullptr; entry = entry->older) {
      Entry** const bucket = BucketOf(entry->hash);
      entry->next_in_bucket = *bucket;
      *bucket = entry;
    }
  }

  void Clear() noexcept {
    while (newest != nullptr) {
      Entry* const entry = newest;
      newest = entry->older;
      Entry::Free(entry);
    }
    oldest = nullptr;
    std::ranges::fill(buckets, nullptr);
    num_entries = size_bytes = 0;
  }
};

CountTable::CountTable(std::size_t capacity_bytes)
    : capacity_bytes_(capacity_bytes),
      hash_key_(RandomKey()),
      num_shards_(NumShards(capacity_bytes)),
      shards_(std::make_unique<Shard[]>(num_shards_)) {}

CountTable::~CountTable() = default;

CountTable::Key CountTable::MakeKey(std::string_view fingerprint,
                                    std::span<const tokenize::Segment> segments) const noexcept {
  Key key;
  key.fingerprint_ = fingerprint;
  key.segments_ = segments;
  key.hash_ = FoldHash(hash_key_, segments.size(), fingerprint);
  key.size_bytes_ = fingerprint.size();
  for (const tokenize::Segment& segment : segments) {
    key.hash_ = FoldHash(hash_key_, key.hash_ ^ (segment.trusted ? 1 : 0), segment.text);
    key.size_bytes_ += sizeof(std::uint64_t) + segment.text.size();
  }
  return key;
}

// Higher bits choose the shard, the lowest the bucket.
CountTable::Shard& CountTable::ShardOf(const Key& key) const noexcept {
  return shards_[(key.hash_ >> 32) & (num_shards_ - 1)];
}

std::optional<std::int64_t> CountTable::Find(const Key& key) noexcept {
  Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mutex);
  Entry* const entry = shard.Find(key);
  if (entry == nullptr) {
    ++shard.misses;
    return std::nullopt;
  }
  ++shard.hits;
  shard.Touch(entry);
  return entry->num_tokens;
}

bool CountTable::FindIds(const Key& key, std::vector<TokenId>& ids) {
  Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mutex);
  Entry* const entry = shard.Find(key);
  if (entry == nullptr || !entry->has_ids) {
    ++shard.misses;
    return false;
  }
  ids.insert(ids.end(), entry->ids(), entry->ids() + entry->num_tokens);
  ++shard.hits;
  shard.Touch(entry);
  return true;
}

void CountTable::Insert(const Key& key, std::int64_t num_tokens) {
  Store(key, num_tokens, nullptr);
}

void CountTable::Insert(const Key& key, std::span<const TokenId> ids) {
  static constexpr TokenId kNone{};
  Store(key, static_cast<std::int64_t>(ids.size()), ids.empty() ? &kNone : ids.data());
}

void CountTable::Store(const Key& key, std::int64_t num_tokens, const TokenId* ids) {
  const std::size_t entry_bytes =
      Entry::SizeBytes(key.size_bytes_, ids == nullptr ? 0 : static_cast<std::size_t>(num_tokens));
  const std::size_t shard_bytes = capacity_bytes_ / num_shards_;
  if (entry_bytes > shard_bytes) return;
  // Made outside the lock, and freed there if it is not wanted.
  std::unique_ptr<Entry, void (*)(Entry*)> owner(Entry::Make(key, num_tokens, ids), &Entry::Free);
  Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mutex);
  Entry* const there = shard.Find(key);
  if (there != nullptr && (ids == nullptr || there->has_ids)) return;
  shard.Grow();
  if (there != nullptr) shard.Remove(there);
  Entry* const made = owner.release();
  Entry** const bucket = shard.BucketOf(made->hash);
  made->next_in_bucket = *bucket;
  *bucket = made;
  shard.LinkNewest(made);
  ++shard.num_entries;
  shard.size_bytes += entry_bytes;
  while (shard.size_bytes > shard_bytes) {
    shard.Remove(shard.oldest);
    ++shard.evictions;
  }
}

void CountTable::Clear() noexcept {
  for (std::size_t i = 0; i < num_shards_; ++i) {
    const std::lock_guard lock(shards_[i].mutex);
    shards_[i].Clear();
  }
}

CountTable::Stats CountTable::stats() const {
  Stats stats{0, 0, 0, 0, 0, static_cast<std::int64_t>(capacity_bytes_)};
  for (std::size_t i = 0; i < num_shards_; ++i) {
    const Shard& shard = shards_[i];
    const std::lock_guard lock(shard.mutex);
    stats.hits += shard.hits;
    stats.misses += shard.misses;
    stats.evictions += shard.evictions;
    stats.num_entries += static_cast<std::int64_t>(shard.num_entries);
    stats.size_bytes += static_cast<std::int64_t>(shard.size_bytes);
  }
  return stats;
}

}  // namespace ctx::chat
