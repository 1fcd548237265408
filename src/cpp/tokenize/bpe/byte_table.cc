#include "tokenize/bpe/byte_table.h"

#include <array>

namespace ctx::tokenize {

std::size_t ByteTable::Insert(std::span<const Key> keys) noexcept {
  // First what is touched is brought near, for all of them. (No array of probes: compilers copy
  // what they make on the stack in larger words than they wrote, and the CPU waits for that.)
  std::array<std::uint64_t, kMaxInserted> heads;
  std::array<std::uint64_t, kMaxInserted> hashes;
  const ByteTable table = *this;  // of which the compiler knows that no write changes it
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto [bytes, length, id] = keys[i];
    const Probe probe = table.MakeProbe(bytes, length, bytes + length + kReadableBytes);
    __builtin_prefetch(&table.slots_[table.FirstSlot(probe)], 1);
    __builtin_prefetch(&table.filter_[table.FilterBit(probe) / 64], 1);
    heads[i] = probe.head;
    hashes[i] = probe.hash;
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto [bytes, length, id] = keys[i];
    const Probe probe = {heads[i], hashes[i], length};
    std::size_t at = table.FirstSlot(probe);
    for (; table.slots_[at].length != 0; at = table.Next(at)) {
      if (Matches(table.slots_[at], probe, bytes)) return i;
    }
    const bool is_long = length > sizeof probe.head;
    table.slots_[at] = {is_long ? reinterpret_cast<std::uintptr_t>(bytes) : probe.head, id,
                        static_cast<std::uint16_t>(length), probe.tag()};
    const std::size_t bit = table.FilterBit(probe);
    table.filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
  }
  return keys.size();
}

}  // namespace ctx::tokenize
