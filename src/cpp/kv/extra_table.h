// The identities of blocks (prefix::AppendFramed), each kept once and known by a small number, so
// that two blocks compare theirs as integers. Not thread-safe: its owner locks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "prefix/keyed128.h"

namespace ctx::kv {

using ExtraId = std::int32_t;
inline constexpr ExtraId kNoExtra = 0;        // nothing to say
inline constexpr ExtraId kUnknownExtra = -1;  // said by no block

class ExtraTable {
 public:
  ExtraTable();

  /// The number of an identity that is in use, else kUnknownExtra. Expected O(size).
  ExtraId Find(std::string_view framed) const noexcept;
  /// The same with a reference taken, and made when it was not in use.
  ExtraId Add(std::string_view framed);
  /// Add() for each; all or none.
  std::vector<ExtraId> AddAll(const std::vector<std::string>& framed);
  void AddRef(ExtraId extra) noexcept {
    if (extra != kNoExtra) ++entries_[static_cast<std::size_t>(extra)].num_refs;
  }
  void Release(ExtraId extra) noexcept {
    if (extra != kNoExtra && --entries_[static_cast<std::size_t>(extra)].num_refs == 0) Drop(extra);
  }
  std::int64_t num_refs(ExtraId extra) const noexcept {
    return entries_[static_cast<std::size_t>(extra)].num_refs;
  }
  /// Of numbers ever given out: 1 .. size() - 1.
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    const prefix::Keyed128* key;  // callers choose salts, so the hash must not be known to them
    std::size_t operator()(std::string_view text) const noexcept {
      return key->Block({}, {}, text).low;
    }
  };
  struct Entry {
    std::string_view text;  // of the key in ids_
    std::int64_t num_refs = 0;
  };
  void Drop(ExtraId extra) noexcept;

  std::unordered_map<std::string, ExtraId, Hash, std::equal_to<>> ids_;
  std::vector<Entry> entries_;
  std::vector<ExtraId> unused_;  // its capacity covers entries_
};

}  // namespace ctx::kv
