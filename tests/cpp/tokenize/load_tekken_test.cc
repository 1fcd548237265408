#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/check_definition.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using load::LoadTekken;
using testing::LoadErrorOf;
using testing::TinyTekken;

std::string ErrorOf(const std::string& bytes) {
  return LoadErrorOf([&] { CheckDefinition(LoadTekken(bytes, "tekken.json")); });
}

std::string Config(const std::string& vocab_size, const std::string& num_special,
                   const std::string& version = "v11") {
  return R"({"pattern": "x", "num_vocab_tokens": 259, "default_vocab_size": )" + vocab_size +
         R"(, "default_num_special_tokens": )" + num_special + R"(, "version": ")" + version +
         R"("})";
}

TEST_CASE("tekken: special tokens first, then the ranks; rows behind the size are cut off") {
  const EncodingDefinition definition = LoadTekken(TinyTekken(), "m/tekken.json");
  CHECK(definition.name == "tekken");
  REQUIRE(definition.model.tokens.size() == 258);
  CHECK(definition.model.tokens[0] == TokenDefinition{std::string(1, '\0'), 2});
  CHECK(definition.model.tokens[257] == TokenDefinition{"abc", 259});
  CHECK(definition.special_tokens ==
        std::vector<SpecialTokenDefinition>{{.spelling = "<s>", .id = 0},
                                            {.spelling = "</s>", .id = 1}});
  CHECK(definition.pre_tokenizer[0].pattern == R"(\p{L}+)");
  CHECK(definition.model.whole_first);
}

// mistral_common, tokens/tokenizers/tekken.py: DEPRECATED_SPECIAL_TOKENS, SPECIAL_TOKEN_TEMPLATE.
TEST_CASE("tekken: special tokens that the file does not name") {
  const EncodingDefinition filled = LoadTekken(TinyTekken(Config("262", "4")), "tekken.json");
  REQUIRE(filled.special_tokens.size() == 4);
  CHECK(filled.special_tokens[1].spelling == "</s>");
  CHECK(filled.special_tokens[3] == SpecialTokenDefinition{.spelling = "<SPECIAL_3>", .id = 3});
  CHECK(filled.model.tokens[0].id == 4);

  const EncodingDefinition old =
      LoadTekken(TinyTekken(Config("280", "22", "v3"), "null"), "tekken.json");
  REQUIRE(old.special_tokens.size() == 22);
  CHECK(old.special_tokens[9].spelling == "[TOOL_CALLS]");
  CHECK(old.special_tokens[19].spelling == "[TOOL_CONTENT]");
  CHECK(old.special_tokens[20].spelling == "<SPECIAL_20>");
}

// Tekkenizer.decode leaves out every id below num_special_tokens, whatever is_control says.
TEST_CASE("tekken: a special token that is not \"control\" is left out of text too") {
  const EncodingDefinition definition =
      LoadTekken(TinyTekken(Config("260", "2"), R"([{"rank": 0, "token_str": "<s>",
          "is_control": false}])"),
                 "tekken.json");
  CHECK(definition.special_tokens[0].special);
}

TEST_CASE("tekken: bad files are refused with the field") {
  const std::string good = TinyTekken();
  const auto changed = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    REQUIRE(at != text.npos);
    return text.replace(at, from.size(), to);
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{}", "tekken.json: has no \"config\""},
      {changed("\"config\"", "\"konfig\""), "tekken.json: konfig: is not supported"},
      {changed("\"v11\"", "\"v99\""), "tekken.json: config.version: unknown version \"v99\""},
      {changed("\"default_vocab_size\": 260", "\"default_vocab_size\": 262"),
       "tekken.json: vocab: has fewer rows than config.default_vocab_size needs"},
      {changed("\"default_vocab_size\": 260", "\"default_vocab_size\": 1"),
       "tekken.json: config.default_vocab_size: must be at least default_num_special_tokens"},
      {changed("\"default_vocab_size\": 260", "\"default_vocab_size\": 2.6e2"),
       "tekken.json: config.default_vocab_size: must be an integer"},
      {changed("\"default_vocab_size\": 260", "\"default_vocab_size\": 257"),
       "there is no token for the single byte \"\\xFF\""},
      {TinyTekken(Config("2147483647", "2147483647")),
       "tekken.json: config.default_num_special_tokens: must be at most 1048576"},
      {changed("\"rank\": 5,", "\"rank\": 6,"), "tekken.json: vocab[5].rank: must be 5, its place"},
      {changed("\"AA==\"", "\"AA=\""), "tekken.json: vocab[0].token_bytes: is no canonical base64"},
      {changed("\"AA==\"", "\"AQ==\""),
       "tekken.json: vocab[0].token_bytes: must be the single byte 0"},
      {changed("\"YWI=\"", "\"\""),
       "tekken.json: vocab[256].token_bytes: must have 1 to 65535 bytes"},
      {changed("\"YWI=\"", "\"YWJj\""), "tokens 258 and 259 are both \"abc\""},
      {changed("\"rank\": 1, \"token_str\"", "\"rank\": 0, \"token_str\""),
       "tekken.json: special_tokens[1].rank: must be 1, its place"},
      {changed("\"</s>\"", "\"<s>\""), "special token \"<s>\" is there twice"},
      {changed("\"is_control\": true", "\"is_control\": 1"),
       "tekken.json: special_tokens[0].is_control: must be true or false"},
      {TinyTekken(Config("259", "1")),
       "tekken.json: special_tokens: has more than config.default_num_special_tokens entries"},
      {TinyTekken(Config("280", "22"), "null"),
       "tekken.json: config.version: files of version \"v11\" must have special_tokens"},
  };
  for (const auto& [text, message] : cases) CHECK(ErrorOf(text) == message);
}

}  // namespace
}  // namespace ctx::tokenize
