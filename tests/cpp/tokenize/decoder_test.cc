#include "tokenize/decoder.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "common/error.h"
#include "doctest/doctest.h"
#include "tokenize/shipped.h"

namespace ctx::tokenize {
namespace {

using testing::Shipped;

TEST_CASE("ids become bytes, ordinary and special ones") {
  // tiktoken's README: "hello world" is 15339 1917 in cl100k_base.
  const Decoder decoder(Shipped("cl100k_base"));
  const std::vector<TokenId> ids = {15339, 1917, 100257};
  CHECK(decoder.Decode(ids) == "hello world<|endoftext|>");
  CHECK(decoder.Decode(ids, /*skip_special_tokens=*/true) == "hello world");
  CHECK(decoder.Decode({}).empty());
  CHECK(TokenBytes(Shipped("cl100k_base"), 1917) == " world");
  CHECK(TokenBytes(Shipped("cl100k_base"), 100276) == "<|endofprompt|>");
}

/// No byte more than was asked for.
struct TightMemory : TextMemory {
  std::span<char> Grow(std::size_t size_bytes) override {
    REQUIRE(size_bytes > text.size());
    text.resize(size_bytes);
    text.shrink_to_fit();
    ++num_times;
    return text;
  }
  std::string text;
  int num_times = 0;
};

TEST_CASE("memory grows with the text, few times, whatever the first tokens promise") {
  const Encoding& encoding = Shipped("cl100k_base");
  const Decoder decoder(encoding);
  const TokenId a = encoding.EncodeSingleToken("a");
  const TokenId spaces = encoding.EncodeSingleToken(std::string(81, ' '));
  const TokenId special = encoding.EncodeSingleToken("<|endofprompt|>");
  for (const TokenId id : {a, spaces, special}) {
    std::vector<TokenId> ids(100, a);
    ids.resize(30'000, id);
    ids.push_back(a);
    std::string expected(100, 'a');
    for (int i = 100; i < 30'000; ++i) expected += TokenBytes(encoding, id);
    expected += 'a';
    TightMemory memory;
    const Decoder::Text text = decoder.Write(ids, false, memory);
    CHECK(memory.text.substr(0, text.num_bytes) == expected);
    CHECK(text.is_ascii);
    CHECK(memory.num_times <= 13);
  }
}

TEST_CASE("every token decodes to its bytes, alone, at the end and before others") {
  for (const char* const name : {"r50k_base", "cl100k_base", "o200k_harmony", "qwen3"}) {
    const Encoding& encoding = Shipped(name);
    const Decoder decoder(encoding);
    std::vector<TokenId> ids;
    std::string expected;
    for (TokenId id = 0; id <= encoding.max_token_id(); ++id) {
      const SpecialToken* const special = encoding.FindSpecialToken(id);
      const std::string bytes(special ? special->spelling : encoding.vocabulary().Bytes(id));
      if (bytes.empty()) continue;
      const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
      TightMemory memory;
      const Decoder::Text text = decoder.Write({&id, 1}, false, memory);
      REQUIRE(memory.text.substr(0, text.num_bytes) == bytes);
      REQUIRE(text.is_ascii == std::all_of(bytes.begin(), bytes.end(), is_ascii));
      ids.push_back(id);
      expected += bytes;
    }
    CHECK(decoder.Decode(ids) == expected);
  }
}

TEST_CASE("a leading space is stripped once, of the first token that has text") {
  EncodingDefinition definition;
  definition.name = "tiny";
  definition.decoder = {.metaspace = true, .strip_leading_space = true};
  for (int byte = 0; byte < 256; ++byte) {
    definition.model.tokens.push_back({std::string(1, static_cast<char>(byte)), TokenId(byte)});
  }
  definition.model.tokens.push_back({"\u2581a", 256});
  definition.special_tokens = {{"<s>", 257}};
  const Encoding encoding(definition, /*allow_regex=*/false);
  const Decoder decoder(encoding);
  CHECK(decoder.Decode(std::vector<TokenId>{256, 256}) == "a a");
  CHECK(decoder.Decode(std::vector<TokenId>{'b', 256}) == "b a");
  CHECK(decoder.Decode(std::vector<TokenId>{257, 256}) == "<s> a");
  CHECK(decoder.Decode(std::vector<TokenId>{257, 256, 256}, true) == "a a");
}

TEST_CASE("unknown ids are named") {
  const Encoding& encoding = Shipped("cl100k_base");
  const Decoder decoder(encoding);
  // 100256 lies between the ordinary and the special tokens.
  CHECK_THROWS_WITH_AS(decoder.Decode(std::vector<TokenId>{15339, 100256}),
                       "encoding cl100k_base has no token 100256, at index 1", UnknownTokenError);
  CHECK_THROWS_AS(decoder.Decode(std::vector<TokenId>{kNoToken}), UnknownTokenError);
  CHECK_THROWS_WITH_AS(TokenBytes(encoding, 100277), "encoding cl100k_base has no token 100277",
                       UnknownTokenError);
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

}  // namespace
}  // namespace ctx::tokenize
