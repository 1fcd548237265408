#include "prefix/xxh3.h"

#include <vector>

#include "doctest/doctest.h"

namespace ctx::prefix {
namespace {

// Values that Dynamo's tests have: XXH3-64 with the seed 1337 over ids.
TEST_CASE("blocks of ids") {
  std::vector<TokenId> ids(12);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i + 1);
  std::uint64_t hashes[3];
  Xxh3Blocks(ids, 4, 1337, hashes);
  CHECK(hashes[0] == 14643705804678351452U);
  CHECK(hashes[1] == 16777012769546811212U);
  CHECK(hashes[2] == 483935686894639516U);
}

TEST_CASE("the common block size is no special case") {
  std::vector<TokenId> ids(48, 7);
  ids[20] = 70000;
  std::uint64_t hashes[3];
  Xxh3Blocks(ids, 16, 5, hashes);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(hashes[i] == Xxh3({reinterpret_cast<const std::uint8_t*>(&ids[16 * i]), 64}, 5));
  }
  CHECK(hashes[0] == hashes[2]);
  CHECK(hashes[0] != hashes[1]);
}

}  // namespace
}  // namespace ctx::prefix
