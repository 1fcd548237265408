#include "prefix/keyed128.h"

#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "doctest/doctest.h"
#include "prefix/identity.h"

namespace ctx::prefix {
namespace {

using Wide = unsigned __int128;

Keyed128 TestKey() {
  std::array<std::uint8_t, Keyed128::kSeedSize> seed;
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::uint8_t>(i);
  return Keyed128(seed);
}

// That the values are the defined ones is tested from Python, against the definition there.
TEST_CASE("digests are below the prime and differ in every argument") {
  const Keyed128 key = TestKey();
  std::mt19937 random(2);
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen;
  std::size_t num_hashed = 0;
  const auto add = [&](Digest128 digest) {
    CHECK(IsCanonical(digest));
    seen.insert({digest.high, digest.low});
    ++num_hashed;
    return digest;
  };
  Digest128 parent;
  for (std::size_t length : {0, 1, 2, 3, 15, 16, 17, 255, 256, 257, 600}) {
    std::vector<TokenId> tokens(length);
    add(key.Block({}, tokens, ""));                    // zeros of each length
    add(key.Block({}, tokens, std::string(1, '\0')));  // and one zero byte of identity
    add(key.Block({}, tokens, std::string(2, '\0')));
    for (auto& token : tokens) token = static_cast<TokenId>(random());
    parent = add(key.Block({}, tokens, "x"));
    add(key.Block(parent, tokens, "x"));
    add(key.Block(parent, tokens, std::string(2000, 'x')));
    for (std::size_t i = 0; i < tokens.size(); i += 7) {
      ++tokens[i];
      add(key.Block({}, tokens, "x"));
      --tokens[i];
    }
  }
  CHECK(seen.size() == num_hashed);
}

TEST_CASE("equal keys agree, other keys do not") {
  const TokenId tokens[] = {1, 2, 3};
  CHECK(TestKey().Block({}, tokens, "") == TestKey().Block({}, tokens, ""));
  CHECK(!(TestKey().Block({}, tokens, "") == Keyed128::Process().Block({}, tokens, "")));
  CHECK(!IsCanonical({0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF}));
  CHECK(IsCanonical({0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFE}));
}

TEST_CASE("low bits spread") {
  // Blocks that differ only in small numbers must not share buckets.
  const Keyed128 key = TestKey();
  std::vector<int> buckets(1024);
  for (TokenId i = 0; i < 64; ++i) {
    for (TokenId j = 0; j < 64; ++j) {
      const TokenId tokens[] = {i, 0, j};
      ++buckets[key.Block({}, tokens, "").low % buckets.size()];
    }
  }
  for (const int count : buckets) CHECK(count < 20);  // 4 expected
}

std::string Framed(const Identity& identity, bool first = true) {
  std::string out;
  AppendFramed(identity, 0, 16, first, MediaIn(identity, 0, 16, 0), &out);
  return out;
}

TEST_CASE("identities that look alike are framed apart") {
  std::set<std::string> seen;
  seen.insert(Framed({}));
  seen.insert(Framed({.cache_salt = "X", .lora = {}, .media = {}}));
  seen.insert(Framed({.cache_salt = {}, .lora = Lora{"X", ""}, .media = {}}));
  seen.insert(Framed({.cache_salt = {}, .lora = Lora{"", "X"}, .media = {}}));
  seen.insert(Framed({.cache_salt = {}, .lora = Lora{"ab", "c"}, .media = {}}));
  seen.insert(Framed({.cache_salt = {}, .lora = Lora{"a", "bc"}, .media = {}}));
  seen.insert(Framed({.cache_salt = {}, .lora = {}, .media = {{"X", 0, 1}}}));
  seen.insert(Framed({.cache_salt = {}, .lora = {}, .media = {{"X", 0, 2}}}));
  seen.insert(Framed({.cache_salt = {}, .lora = {}, .media = {{"X", 1, 1}}}));
  seen.insert(Framed({.cache_salt = {}, .lora = {}, .media = {{"X", -1, 2}}}));
  CHECK(seen.size() == 10);
  CHECK(Framed({}).empty());
  CHECK(Framed({.cache_salt = "X", .lora = {}, .media = {}}, false).empty());
}

}  // namespace
}  // namespace ctx::prefix
