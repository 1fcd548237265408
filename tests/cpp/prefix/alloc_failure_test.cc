#include "support/alloc_failure.h"

#include <vector>

#include "doctest/doctest.h"
#include "prefix/block_hasher.h"

namespace ctx::prefix {
namespace {

TEST_CASE("a hasher survives every failing allocation") {
  const Identity identity{.cache_salt = std::string(50, 's'),
                          .lora = Lora{std::string(50, 'n'), std::string(50, 'p')},
                          .media = {{std::string(50, 'm'), 3, 90}}};
  const std::vector<TokenId> tokens(100, 70000);
  for (const Scheme scheme : {Scheme::kVllmSha256Cbor, Scheme::kKeyed128}) {
    const BlockHasher hasher(16, scheme, identity, Root());
    const auto want = hasher.Hash(tokens, std::nullopt);
    std::vector<std::uint8_t> got;
    const auto failed = testing::FailEveryAllocation(
        [&] { got = BlockHasher(16, scheme, identity, Root()).Hash(tokens, std::nullopt); },
        [&] { CHECK(hasher.Hash(tokens, std::nullopt) == want); });
    CHECK(failed > 5);
    CHECK(got == want);
  }
}

}  // namespace
}  // namespace ctx::prefix
