#include <cstdint>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/check_definition.h"
#include "tokenize/load/base64.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using load::LoadRankFile;
using load::RankFileOptions;
using testing::Base64;
using testing::LoadErrorOf;
using testing::RankLine;
using testing::TinyRankFile;

const RankFileOptions kOptions = {.pattern = R"(\p{L}+)", .special_tokens = std::nullopt};

std::string ErrorOf(const std::string& bytes, const RankFileOptions& options = kOptions) {
  return LoadErrorOf([&] { CheckDefinition(LoadRankFile(bytes, "v.tiktoken", options)); });
}

TEST_CASE("base64: the test vectors of RFC 4648 and nothing but the canonical form") {
  // Section 10 of the RFC.
  const std::vector<std::pair<std::string, std::string>> vectors = {{"", ""},
                                                                    {"f", "Zg=="},
                                                                    {"fo", "Zm8="},
                                                                    {"foo", "Zm9v"},
                                                                    {"foob", "Zm9vYg=="},
                                                                    {"fooba", "Zm9vYmE="},
                                                                    {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) CHECK(load::DecodeBase64(text) == bytes);
  CHECK(load::DecodeBase64("//79") == "\xFF\xFE\xFD");
  for (const char* const text : {"Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zh==", "Zm9=", "Zm9v=",
                                 "Zm 9", "Zm9\n", "Zm-_", "Zg==Zg==", "Z=g="}) {
    CAPTURE(text);
    CHECK(!load::DecodeBase64(text).has_value());
  }
}

TEST_CASE("rank file: tokens in order of rank, the pattern as given") {
  const EncodingDefinition definition = LoadRankFile(TinyRankFile(), "dir/v.tiktoken", kOptions);
  CHECK(definition.name == "v");
  REQUIRE(definition.model.tokens.size() == 258);
  CHECK(definition.model.tokens[97] == TokenDefinition{"a", 97});
  CHECK(definition.model.tokens[257] == TokenDefinition{"abc", 257});
  CHECK(definition.model.merge_rule == ModelDefinition::MergeRule::kRanks);
  CHECK(definition.model.symbols == ModelDefinition::Symbols::kBytes);
  CHECK(definition.model.whole_first);
  REQUIRE(definition.pre_tokenizer.size() == 1);
  CHECK(definition.pre_tokenizer[0].pattern == R"(\p{L}+)");
  CHECK(definition.special_tokens.empty());
}

TEST_CASE("rank file: lines may come in any order") {
  const std::string file = RankLine("abc", 257) + RankLine("ab", 256);
  const std::string bytes = TinyRankFile().substr(0, TinyRankFile().size() - file.size());
  CHECK(LoadRankFile(file + bytes, "v.tiktoken", kOptions).model ==
        LoadRankFile(TinyRankFile(), "v.tiktoken", kOptions).model);
}

TEST_CASE("rank file: a special token may fill a hole, nothing else") {
  const std::string file = TinyRankFile() + RankLine("abcd", 259);
  CHECK(ErrorOf(file) == "v.tiktoken: has the rank 259, but no token has the rank 258");
  RankFileOptions options = kOptions;
  options.special_tokens = {{.spelling = "<e>", .id = 258}};
  CHECK(LoadRankFile(file, "v", options).special_tokens.size() == 1);
  options.special_tokens = {{.spelling = "<e>", .id = 259}};
  CHECK(ErrorOf(TinyRankFile() + RankLine("abcd", 258) + RankLine("abcde", 259), options) ==
        "special token \"<e>\": id 259 is also that of an ordinary token");
}

TEST_CASE("rank file: what is no rank file is refused with its line") {
  const std::string good = TinyRankFile();
  const auto with = [&good](const std::string& line) { return good + line; };
  struct Case {
    std::string file;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"", "v.tiktoken: is empty"},
      {"\n", "v.tiktoken:1: must be base64, one space, a rank"},
      {good.substr(0, good.size() - 1), "v.tiktoken:258: the file is cut"},
      {good.substr(0, good.size() - 3), "v.tiktoken:258: the file is cut"},
      {with("\n"), "v.tiktoken:259: must be base64"},
      {with("YWJjZA==\n"), "v.tiktoken:259: must be base64"},
      {with("YWJjZA== 258\r\n"), "v.tiktoken:259: no decimal number below 2^31: \"258\\x0D\""},
      {with("YWJjZA==  258\n"), "v.tiktoken:259: no decimal number below 2^31: \" 258\""},
      {with("YWJjZA== 258 \n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== +258\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== -258\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== 2_58\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== 0258\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== 258.0\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== 0x102\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== \u0662\u0665\u0668\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA== \n"), "v.tiktoken:259: no decimal number below 2^31: \"\""},
      {with("YWJjZA== 2147483648\n"), "v.tiktoken:259: no decimal number below 2^31"},
      {with("YWJjZA== 18446744073709551874\n"), "v.tiktoken:259: no decimal number"},
      {with("YWJjZA= 258\n"), "v.tiktoken:259: no canonical base64: \"YWJjZA=\""},
      {with("YWJjZB== 258\n"), "v.tiktoken:259: no canonical base64"},
      {with("YWJj-_== 258\n"), "v.tiktoken:259: no canonical base64"},
      {with("YWJjZA==\t258\n"), "v.tiktoken:259: must be base64"},
      {with(" 258\n"), "v.tiktoken:259: an empty token"},
      {with("\xEF\xBB\xBFYWJjZA== 258\n"), "v.tiktoken:259: no canonical base64"},
      {with(RankLine("ab", 258)), "v.tiktoken:259: the same token as in line 257"},
      {with(RankLine("abcd", 97)), "v.tiktoken:259: the same rank as in line 98"},
      {with(RankLine("abcd", 260)), "v.tiktoken: has the rank 260, but no token has the rank 258"},
      {with(RankLine(std::string(65536, 'x'), 258)),
       "v.tiktoken:259: a token longer than 65535 bytes"},
      {good.substr(7), "v.tiktoken: has the rank 1, but no token has the rank 0"},
      {RankLine("a", 0), "there is no token for the single byte \"\\x00\""},
      {"{\"a\": 1}\n", "v.tiktoken:1: no canonical base64"},
  };
  for (const Case& bad : cases) {
    CAPTURE(bad.message);
    CHECK(ErrorOf(bad.file).substr(0, bad.message.size()) == bad.message);
  }
  CHECK(ErrorOf(good, {}) == "v.tiktoken: is no rank file whose pattern is known: pass pattern=");
}

}  // namespace
}  // namespace ctx::tokenize
