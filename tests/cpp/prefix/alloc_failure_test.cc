#include "support/alloc_failure.h"

#include <vector>

#include "doctest/doctest.h"
#include "prefix/block_hasher.h"

namespace ctx::prefix {
namespace {

Identity FullIdentity(Scheme scheme) {
  const SchemeFacts& facts = FactsOf(scheme);
  Identity identity;
  if (facts.takes_salt) identity.cache_salt = std::string(50, 's');
  if (facts.takes_lora) identity.lora = Lora{std::string(50, 'n'), std::string(50, 'p')};
  if (facts.takes_media) identity.media = {{std::string(64, 'a'), 3, 90}};
  if (facts.takes_embeds) identity.prompt_embeds.emplace(2);
  return identity;
}

Root RootOf(Scheme scheme) {
  return FactsOf(scheme).name.starts_with("vllm") ? Root(std::string(40, '0')) : Root();
}

TEST_CASE("a hasher survives every failing allocation") {
  const std::vector<TokenId> tokens(100, 70000);
  const std::vector<TokenId> many(30'000, 70000);  // a pickle in several frames
  for (int i = 0; i <= static_cast<int>(Scheme::kKeyed128); ++i) {
    const auto scheme = static_cast<Scheme>(i);
    CAPTURE(FactsOf(scheme).name);
    const auto hashed = [](const BlockHasher& hasher, std::span<const TokenId> ids) {
      const Run run{ids, std::nullopt, 0};
      std::vector<std::uint8_t> digests(2 * hasher.NumBlocks(run) * hasher.digest_size());
      std::uint8_t* const second = digests.data() + digests.size() / 2;
      hasher.HashTwo({run, run}, {digests.data(), second});
      hasher.Hash(run, second);
      return digests;
    };
    for (const std::int64_t block_size : {16, 15'000}) {
      const std::span<const TokenId> ids = block_size == 16 ? tokens : many;
      const BlockHasher hasher(block_size, scheme, FullIdentity(scheme), RootOf(scheme));
      const auto want = hashed(hasher, ids);
      std::vector<std::uint8_t> got;
      const auto failed = testing::FailEveryAllocation(
          [&] {
            got =
                hashed(BlockHasher(block_size, scheme, FullIdentity(scheme), RootOf(scheme)), ids);
          },
          [&] { CHECK(hashed(hasher, ids) == want); });
      CHECK(failed > 1);
      CHECK(got == want);
      CHECK(std::equal(want.begin(), want.begin() + static_cast<std::ptrdiff_t>(want.size() / 2),
                       want.begin() + static_cast<std::ptrdiff_t>(want.size() / 2)));
    }
  }
}

}  // namespace
}  // namespace ctx::prefix
