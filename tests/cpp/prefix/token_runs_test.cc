#include "prefix/token_runs.h"

#include <random>
#include <vector>

#include "doctest/doctest.h"
#include "prefix/cbor.h"
#include "prefix/pickle.h"

namespace ctx::prefix {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <typename Put>
Bytes Run(Put put, std::span<const TokenId> ids) {
  // Exactly the room that is asked for, so that a sanitizer sees what lies beyond.
  Bytes out(ids.size() * kMaxTokenBytes + kTokenSlack);
  out.resize(static_cast<std::size_t>(put(ids, out.data()) - out.data()));
  return out;
}

// The writers of single integers are the reference; which instructions run, CTXENGINE_ISA says.
TEST_CASE("runs of ids equal their integers") {
  std::mt19937 random(3);
  const std::uint32_t edges[] = {0, 1, 23, 24, 255, 256, 65535, 65536, 0x7FFFFFFF};
  for (std::size_t length = 0; length < 70; ++length) {
    for (int round = 0; round < 20; ++round) {
      std::vector<TokenId> ids(length);
      for (auto& id : ids) {
        id = random() % 2 == 0 ? edges[random() % std::size(edges)]
                               : static_cast<TokenId>(random() >> (1 + random() % 31));
      }
      CborWriter cbor;
      PickleWriter pickle;
      pickle.BeginInside(0);
      for (const TokenId id : ids) {
        cbor.Int(id);
        pickle.Int(id);
      }
      CHECK(Run(PutCborTokens, ids) == Bytes(cbor.bytes().begin(), cbor.bytes().end()));
      CHECK(Run(PutPickleTokens, ids) == Bytes(pickle.bytes().begin(), pickle.bytes().end()));
    }
  }
}

}  // namespace
}  // namespace ctx::prefix
