#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/check_definition.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

namespace fs = std::filesystem;
using testing::LoadErrorOf;
using testing::TinyRankFile;
using testing::TinySentencePiece;
using testing::TinyTekken;
using testing::TinyTokenizerJson;

/// A new directory with these files, removed in the end.
class Directory {
 public:
  explicit Directory(const std::map<std::string, std::string>& files) {
    std::string pattern = (fs::temp_directory_path() / "ctxengine-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    root_ = pattern;
    fs::create_directory(path());
    for (const auto& [name, text] : files) std::ofstream(path(name), std::ios::binary) << text;
  }
  ~Directory() { fs::remove_all(root_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  std::string path() const { return root_ + "/model"; }
  std::string path(const std::string& name) const { return path() + '/' + name; }

 private:
  std::string root_;
};

/// The error of loading a directory, without its path.
std::string ErrorOf(const std::map<std::string, std::string>& files) {
  const Directory directory(files);
  std::string error =
      LoadErrorOf([&] { CheckDefinition(load::Load(directory.path()).definition); });
  const std::string path = directory.path();
  for (std::size_t at; (at = error.find(path)) != error.npos;) error.replace(at, path.size(), "");
  return error;
}

std::string TokenConfig(const std::string& members) { return "{" + members + "}"; }

TEST_CASE("load: a file by what it holds, whatever its name") {
  const Directory directory({{"a", TinyRankFile()},
                             {"b", TinyTekken()},
                             {"c", TinyTokenizerJson().Text()},
                             {"d", TinySentencePiece().Bytes()},
                             {"e", ""}});
  const load::RankFileOptions options = {.pattern = "x", .special_tokens = std::nullopt};
  CHECK(load::Load(directory.path("a"), options).definition ==
        load::LoadRankFile(TinyRankFile(), "a", options));
  CHECK(load::Load(directory.path("b")).definition == load::LoadTekken(TinyTekken(), "b"));
  CHECK(load::Load(directory.path("c")).definition ==
        load::LoadTokenizerJson(TinyTokenizerJson().Text(), "c"));
  CHECK(load::Load(directory.path("d")).definition ==
        load::LoadSentencePiece(TinySentencePiece().Bytes(), "d"));
  const auto error = [&](const char* name, const load::RankFileOptions& with) {
    return LoadErrorOf([&] { load::Load(directory.path(name), with); });
  };
  CHECK(error("c", options) == directory.path("c") +
                                   ": brings its own pattern and special tokens: pattern= and "
                                   "special_tokens= are for rank files");
  CHECK(error("e", {}) == directory.path("e") + ": is empty");
  CHECK(error("f", {}) == directory.path("f") + ": there is no such file");
  CHECK(LoadErrorOf([] { load::Load("/dev/null"); }) == "/dev/null: is no regular file");
}

TEST_CASE("load: a model directory") {
  const Directory directory(
      {{"tokenizer.json", TinyTokenizerJson().Text()},
       {"tekken.json", "not looked at"},
       {"tokenizer_config.json", R"({"model_max_length": 1000000000000000019884624838656,
          "bos_token": {"content": "<s>", "special": true}, "eos_token": "<y>", "add_bos_token": true,
          "tokenizer_class": "LlamaTokenizerFast",
          "added_tokens_decoder": {"258": {"content": "<s>", "special": true, "lstrip": false,
            "rstrip": false, "normalized": false, "single_word": false},
            "260": {"content": "<y>", "special": true}},
          "chat_template": [{"name": "default", "template": "A"}, {"name": "rag", "template": "B"}]})"},
       {"special_tokens_map.json",
        R"({"bos_token": "<s>", "additional_special_tokens": ["<x>", {"content": "<z>"}]})"},
       {"added_tokens.json", R"({"<x>": 259, "<z>": 261, "<w>": 262})"},
       {"chat_template.jinja", "A"}});
  const load::LoadedFiles loaded = load::Load(directory.path() + '/');
  CHECK(loaded.definition.name == "model");
  CHECK(loaded.definition.special_tokens ==
        std::vector<SpecialTokenDefinition>{{.spelling = "<s>", .id = 258},
                                            {.spelling = "<x>", .id = 259},
                                            {.spelling = "<y>", .id = 260},
                                            {.spelling = "<z>", .id = 261},
                                            {.spelling = "<w>", .id = 262, .special = false}});
  CHECK(loaded.definition.post_processor.before == std::vector<TokenId>{258});
  CHECK(loaded.bos_token == "<s>");
  CHECK(loaded.eos_token == "<y>");
  REQUIRE(loaded.chat_templates.size() == 2);
  CHECK(loaded.chat_templates[0].name == "default");
  CHECK(loaded.chat_templates[0].text == "A");
  CHECK(loaded.chat_templates[1].text == "B");
}

TEST_CASE("load: which file of a directory is the tokenizer") {
  const auto name_of_first = [](const std::map<std::string, std::string>& files) {
    const Directory directory(files);
    return load::Load(directory.path(), {}).definition.special_tokens.at(0).spelling;
  };
  CHECK(name_of_first({{"tokenizer.model", TinySentencePiece().Bytes()}}) == "<unk>");
  CHECK(name_of_first({{"tokenizer.model", "x"}, {"tekken.json", TinyTekken()}}) == "<s>");
  // A rank file gets its special tokens from tokenizer_config.json, its pattern from the caller.
  for (const char* const name : {"tokenizer.model", "x.tiktoken"}) {
    const Directory directory(
        {{name, TinyRankFile()},
         {"tokenizer_config.json", R"({"added_tokens_decoder": {"300": {"content": "<e>",
            "special": true}}, "eos_token": "<e>", "add_eos_token": true})"}});
    const EncodingDefinition definition =
        load::Load(directory.path(), {.pattern = "x", .special_tokens = std::nullopt}).definition;
    CHECK(definition.special_tokens ==
          std::vector<SpecialTokenDefinition>{{.spelling = "<e>", .id = 300}});
    CHECK(definition.post_processor.after == std::vector<TokenId>{300});
  }
  CHECK(ErrorOf({{"config.json", "{}"}}) ==
        ": has no tokenizer.json, tekken.json, tokenizer.model or *.tiktoken");
  CHECK(ErrorOf({{"a.tiktoken", ""}, {"b.tiktoken", ""}}) ==
        "/a.tiktoken: is not the only rank file, there is also /b.tiktoken");
}

TEST_CASE("load: files of a directory that contradict each other") {
  const std::string tokenizer = TinyTokenizerJson().Text();
  const auto config = [&](const std::string& members) {
    return ErrorOf(
        {{"tokenizer.json", tokenizer}, {"tokenizer_config.json", TokenConfig(members)}});
  };
  CHECK(config(R"("added_tokens_decoder": {"260": {"content": "<s>"}})") ==
        "/tokenizer_config.json: added_tokens_decoder.260: gives \"<s>\" the id 260, but "
        "/tokenizer.json gives it 258");
  CHECK(config(R"("added_tokens_decoder": {"258": {"content": "<t>"}})") ==
        "/tokenizer_config.json: added_tokens_decoder.258: gives the id 258 to \"<t>\", but "
        "/tokenizer.json gives it to \"<s>\"");
  CHECK(config(R"("added_tokens_decoder": {"258": {"content": "<s>", "special": false}})") ==
        "/tokenizer_config.json: added_tokens_decoder.258: describes \"<s>\" otherwise than "
        "/tokenizer.json");
  CHECK(config(R"("added_tokens_decoder": {"97": {"content": "<t>", "special": true}})") ==
        "special token \"<t>\": id 97 is also that of an ordinary token");
  for (const char* const key : {"0300", "+300", "", "3e2", "2147483648", "99999999999999999999"}) {
    CHECK(config("\"added_tokens_decoder\": {\"" + std::string(key) +
                 "\": {\"content\": \"<t>\"}}") == "/tokenizer_config.json: added_tokens_decoder." +
                                                       std::string(key) + ": its key is no id");
  }
  CHECK(config(R"("bos_token": "<q>")") ==
        "/tokenizer_config.json: bos_token: \"<q>\" is no special token in /tokenizer.json");
  CHECK(config(R"("add_bos_token": true)") ==
        "/tokenizer_config.json: add_bos_token: is true, but no such token is named");
  CHECK(config(R"("add_bos_token": true, "bos_token": "<s>")") ==
        "/tokenizer_config.json: add_bos_token: disagrees with the post_processor of "
        "/tokenizer.json");
  CHECK(config(R"("chat_template": 1)") ==
        "/tokenizer_config.json: chat_template: must be an array");

  const auto with = [&](const std::string& name, const std::string& text) {
    return ErrorOf(
        {{"tokenizer.json", tokenizer},
         {"tokenizer_config.json", TokenConfig(R"("bos_token": "<s>", "chat_template": "A")")},
         {name, text}});
  };
  CHECK(with("special_tokens_map.json", R"({"bos_token": "<x>"})") ==
        "/tokenizer_config.json: bos_token: is \"<s>\", but /special_tokens_map.json says \"<x>\"");
  CHECK(with("special_tokens_map.json", R"({"pad_token": "<p>"})") ==
        "/special_tokens_map.json: pad_token: \"<p>\" is no special token in /tokenizer.json");
  CHECK(with("added_tokens.json", R"({"<x>": 300})") ==
        "/added_tokens.json: <x>: gives \"<x>\" the id 300, but /tokenizer.json gives it 259");
  CHECK(with("added_tokens.json", "[]") == "/added_tokens.json: must be an object");
  CHECK(with("chat_template.jinja", "B") ==
        "/tokenizer_config.json: has another \"default\" chat template than /chat_template.jinja");
  CHECK(with("chat_template.json", R"({"chat_template": "B"})") ==
        "/tokenizer_config.json: has another \"default\" chat template than /chat_template.json");
}

}  // namespace
}  // namespace ctx::tokenize
