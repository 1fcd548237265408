#include "tokenize/decoder.h"

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/shipped.h"

namespace ctx::tokenize {
namespace {

using testing::Shipped;

TEST_CASE("ids become bytes, ordinary and special ones") {
  // tiktoken's README: "hello world" is 15339 1917 in cl100k_base.
  std::string bytes = "> ";
  DecodeBytes(Shipped("cl100k_base"), std::vector<TokenId>{15339, 1917, 100257}, bytes);
  CHECK(bytes == "> hello world<|endoftext|>");
  CHECK(TokenBytes(Shipped("cl100k_base"), 1917) == " world");
  CHECK(TokenBytes(Shipped("cl100k_base"), 100276) == "<|endofprompt|>");
}

TEST_CASE("unknown ids are named and nothing is appended") {
  const Encoding& encoding = Shipped("cl100k_base");
  std::string bytes = "kept";
  // 100256 lies between the ordinary and the special tokens.
  CHECK_THROWS_WITH_AS(DecodeBytes(encoding, std::vector<TokenId>{15339, 100256}, bytes),
                       "encoding cl100k_base has no token 100256, at index 1", UnknownTokenError);
  CHECK_THROWS_AS(DecodeBytes(encoding, std::vector<TokenId>{kNoToken}, bytes), UnknownTokenError);
  CHECK_THROWS_WITH_AS(TokenBytes(encoding, 100277), "encoding cl100k_base has no token 100277",
                       UnknownTokenError);
  CHECK(bytes == "kept");
}

TEST_CASE("two spellings of one id decode to the one that sorts first") {
  // Harmony's 200018 has a name and a placeholder.
  CHECK(TokenBytes(Shipped("o200k_harmony"), 200018) == "<|endofprompt|>");
}

TEST_CASE("sorted token bytes are all tokens, in order") {
  const std::vector<std::string_view> tokens = SortedTokenBytes(Shipped("r50k_base"));
  CHECK(tokens.size() == 50256);
  for (std::size_t i = 1; i < tokens.size(); ++i) REQUIRE(tokens[i - 1] < tokens[i]);
}

TEST_CASE("decoding survives failing allocations") {
  const Encoding& encoding = Shipped("r50k_base");
  const std::vector<TokenId> ids(1000, 31373);
  std::string bytes = "kept";
  const auto failures = ctx::testing::FailEveryAllocation(
      [&] { DecodeBytes(encoding, ids, bytes); }, [&] { CHECK(bytes == "kept"); });
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::tokenize
