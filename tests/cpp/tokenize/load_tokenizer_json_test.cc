#include <string>
#include <utility>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using load::LoadTokenizerJson;
using testing::LoadErrorOf;
using Tiny = testing::TinyTokenizerJson;
using Behavior = PreTokenizerStep::Behavior;

EncodingDefinition Load(const Tiny& file) { return LoadTokenizerJson(file.Text(), "t.json"); }

/// Without the file's name.
std::string ErrorOf(const Tiny& file) {
  const std::string error = LoadErrorOf([&] { Load(file); });
  return error.starts_with("t.json: ") ? error.substr(8) : error;
}

/// A model with byte fallback: "a", "b", "ab" (3 to 5) behind the 256 bytes (6 to 261).
Tiny Fallback() {
  Tiny file;
  file.added_tokens = Tiny::AddedToken("<unk>", 0) + ", " + Tiny::AddedToken("<s>", 1);
  file.pre_tokenizer = "null";
  file.decoder = "null";
  file.model_settings =
      R"("type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true)";
  file.vocab = R"("<unk>": 0, "<s>": 1, "a": 3, "b": 4, "ab": 5)";
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    file.vocab += std::string(", \"<0x") + kHex[byte >> 4] + kHex[byte & 15] +
                  ">\": " + std::to_string(6 + byte);
  }
  file.merges = R"(["a", "b"])";
  return file;
}

TEST_CASE("tokenizer.json: a byte-level model") {
  const EncodingDefinition definition = Load(Tiny());
  CHECK(definition.name == "t");
  CHECK(definition.normalizer.empty());
  REQUIRE(definition.pre_tokenizer.size() == 1);
  CHECK(definition.pre_tokenizer[0].flavor == PreTokenizerStep::Flavor::kHuggingFace);
  CHECK(definition.pre_tokenizer[0].behavior == Behavior::kIsolated);
  const ModelDefinition& model = definition.model;
  CHECK(model.merge_rule == ModelDefinition::MergeRule::kPairs);
  CHECK(model.symbols == ModelDefinition::Symbols::kBytes);
  CHECK(!model.whole_first);
  REQUIRE(model.tokens.size() == 258);  // without <s>
  CHECK(model.tokens[0] == TokenDefinition{std::string(1, '\0'), 0});
  CHECK(model.tokens[32] == TokenDefinition{" ", 32});
  CHECK(model.tokens[255] == TokenDefinition{"\xFF", 255});
  CHECK(model.tokens[257] == TokenDefinition{"abc", 257});
  CHECK(model.merges == std::vector<std::pair<TokenId, TokenId>>{{97, 98}, {256, 99}});
  CHECK(definition.special_tokens ==
        std::vector<SpecialTokenDefinition>{{.spelling = "<s>", .id = 258},
                                            {.spelling = "<x>", .id = 259}});
  CHECK(definition.decoder == DecoderDefinition{});
  CHECK(definition.post_processor == PostProcessorDefinition{});
}

TEST_CASE("tokenizer.json: a model with byte fallback") {
  const EncodingDefinition definition = Load(Fallback());
  const ModelDefinition& model = definition.model;
  CHECK(model.symbols == ModelDefinition::Symbols::kCharacters);
  CHECK(model.tokens == std::vector<TokenDefinition>{{"a", 3}, {"b", 4}, {"ab", 5}});
  REQUIRE(model.byte_ids.size() == 256);
  CHECK(model.byte_ids[255] == 261);
  CHECK(model.merges == std::vector<std::pair<TokenId, TokenId>>{{3, 4}});
}

TEST_CASE("tokenizer.json: truncation and padding would change ids") {
  CHECK(ErrorOf({.truncation = R"({"max_length": 8})"}) ==
        "truncation: must be null: it would change the ids of every text");
  CHECK(ErrorOf({.padding = "{}"}) ==
        "padding: must be null: it would change the ids of every text");
}

}  // namespace
}  // namespace ctx::tokenize
