#include "tokenize/bpe/byte_table.h"

#include <algorithm>
#include <array>

namespace ctx::tokenize {

std::size_t ByteTable::Insert(std::span<const Key> keys) noexcept {
  const bool all_short =
      std::all_of(keys.begin(), keys.end(), [](const Key& key) { return key.length <= 8; });
  return all_short ? InsertKeys<true>(keys) : InsertKeys<false>(keys);
}

template <bool all_short>
std::size_t ByteTable::InsertKeys(std::span<const Key> keys) noexcept {
  const ByteTable table = *this;  // of which the compiler knows that no write changes it
  Slot* const begin = table.slots_.data();
  Slot* const end = begin + table.slots_.size();
  // First what is touched is brought near, for all of them. (No array of probes: compilers copy
  // what they make on the stack in larger words than they wrote, and the CPU waits for that.)
  std::array<std::uint64_t, kMaxInserted> heads;
  std::array<std::uint64_t, kMaxInserted> hashes;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto& [bytes, length, id] = keys[i];
    if constexpr (all_short) {
      heads[i] = Load8(bytes) & ~std::uint64_t{0} >> (64 - 8 * length);
      hashes[i] = table.hash_key_.Mix(heads[i] ^ length);
    } else {
      const Probe probe = table.MakeProbe(bytes, length, bytes + length + kReadableBytes);
      heads[i] = probe.head;
      hashes[i] = probe.hash;
    }
    const Probe probe = {heads[i], hashes[i], length};
    __builtin_prefetch(begin + table.FirstSlot(probe), 1);
    __builtin_prefetch(&table.filter_[table.FilterBit(probe) / 64], 1);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto& [bytes, length, id] = keys[i];
    const Probe probe = {heads[i], hashes[i], length};
    Slot* slot = begin + table.FirstSlot(probe);
    while (slot->length != 0) {
      if (Matches(*slot, probe, bytes)) return i;
      if (++slot == end) slot = begin;
    }
    const bool has_address = !all_short && length > sizeof probe.head;
    *slot = {has_address ? reinterpret_cast<std::uintptr_t>(bytes) : probe.head, id,
             static_cast<std::uint16_t>(length), probe.tag()};
    const std::size_t bit = table.FilterBit(probe);
    table.filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
  }
  return keys.size();
}

}  // namespace ctx::tokenize
