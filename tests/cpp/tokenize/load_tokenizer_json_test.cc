#include <string>
#include <utility>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/check_definition.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using load::LoadTokenizerJson;
using testing::LoadErrorOf;
using testing::TinyFallbackJson;
using Tiny = testing::TinyTokenizerJson;
using Behavior = PreTokenizerStep::Behavior;

EncodingDefinition Load(const Tiny& file) { return LoadTokenizerJson(file.Text(), "t.json"); }

/// Without the file's name.
std::string ErrorOf(const Tiny& file) {
  const std::string error = LoadErrorOf([&] { CheckDefinition(Load(file)); });
  return error.starts_with("t.json: ") ? error.substr(8) : error;
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
  const EncodingDefinition definition = Load(TinyFallbackJson());
  const ModelDefinition& model = definition.model;
  CHECK(model.symbols == ModelDefinition::Symbols::kCharacters);
  CHECK(model.tokens == std::vector<TokenDefinition>{{"a", 3}, {"b", 4}, {"ab", 5}});
  REQUIRE(model.byte_ids.size() == 256);
  CHECK(model.byte_ids[255] == 261);
  CHECK(model.merges == std::vector<std::pair<TokenId, TokenId>>{{3, 4}});
}

TEST_CASE("tokenizer.json: normalizers") {
  using Kind = NormalizerStep::Kind;
  const auto steps = [](const std::string& json) { return Load({.normalizer = json}).normalizer; };
  CHECK(steps(R"({"type": "Sequence", "normalizers": []})").empty());
  CHECK(steps(R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Sequence",
      "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}]})") ==
        std::vector<NormalizerStep>{
            {Kind::kNfc, "", ""}, {Kind::kNfkc, "", ""}, {Kind::kLowercase, "", ""}});
  CHECK(steps(R"({"type": "Prepend", "prepend": "x"})") ==
        std::vector<NormalizerStep>{{Kind::kPrepend, "", "x"}});
  CHECK(steps(R"({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})") ==
        std::vector<NormalizerStep>{{Kind::kReplace, " ", "\u2581"}});
}

TEST_CASE("tokenizer.json: pre-tokenizers") {
  using Kind = PreTokenizerStep::Kind;
  const auto parts = [](const std::string& json) {
    Tiny file = TinyFallbackJson();
    file.pre_tokenizer = json;
    return Load(file);
  };
  constexpr auto kFlavor = PreTokenizerStep::Flavor::kHuggingFace;
  const EncodingDefinition sequence = parts(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "MergedWithPrevious", "invert": true},
      {"type": "Split", "pattern": {"String": "a+"}, "behavior": "Removed", "invert": false},
      {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": false},
      {"type": "Digits", "individual_digits": true}]}, {"type": "Punctuation", "behavior": "Contiguous"},
      {"type": "Punctuation"}]})");
  CHECK(sequence.pre_tokenizer ==
        std::vector<PreTokenizerStep>{
            {Kind::kRegex, Behavior::kMergedWithPrevious, true, kFlavor, "a+"},
            {Kind::kLiteral, Behavior::kRemoved, false, kFlavor, "a+"},
            {Kind::kDigits, Behavior::kContiguous, false, kFlavor, ""},
            {Kind::kDigits, Behavior::kIsolated, false, kFlavor, ""},
            {Kind::kPunctuation, Behavior::kContiguous, false, kFlavor, ""},
            {Kind::kPunctuation, Behavior::kIsolated, false, kFlavor, ""}});

  using Normalize = NormalizerStep::Kind;
  const EncodingDefinition metaspace = parts(R"({"type": "Metaspace", "replacement": "\u2581"})");
  CHECK(metaspace.normalizer ==
        std::vector<NormalizerStep>{{Normalize::kReplace, " ", "\u2581"},
                                    {Normalize::kPrependUnless, "", "\u2581"}});
  CHECK(metaspace.pre_tokenizer ==
        std::vector<PreTokenizerStep>{
            {Kind::kLiteral, Behavior::kMergedWithNext, false, kFlavor, "\u2581"}});
  const EncodingDefinition first = parts(
      R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": false})");
  CHECK(first.normalizer[1] == NormalizerStep{Normalize::kPrependFirst, "", "_"});
  CHECK(first.pre_tokenizer.empty());
  CHECK(parts(R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "never",
      "add_prefix_space": false})")
            .normalizer.size() == 1);

  const EncodingDefinition byte_level = Load({.pre_tokenizer = R"({"type": "ByteLevel",
      "add_prefix_space": true, "trim_offsets": true, "use_regex": false})"});
  CHECK(byte_level.pre_tokenizer.empty());
  CHECK(byte_level.normalizer == std::vector<NormalizerStep>{{Normalize::kPrependUnless, "", " "}});
}

TEST_CASE("tokenizer.json: merges, ignore_merges, vocabulary") {
  Tiny file;
  file.model_settings = R"("type": "BPE", "ignore_merges": true, "dropout": 0.0,
      "continuing_subword_prefix": "", "end_of_word_suffix": null, "unk_token": null)";
  CHECK(Load(file).model.whole_first);
  // <s> is no ordinary token: text that spells it must never become it.
  for (const TokenDefinition& token : Load(file).model.tokens) CHECK(token.id != 258);
  // An added token that is no control token stays an ordinary one where merging gives it.
  Tiny both;
  both.added_tokens = Tiny::AddedToken("ab", 256, "special");
  both.vocab = Tiny::ByteVocab() + R"(, "ab": 256, "abc": 257)";
  const EncodingDefinition definition = Load(both);
  CHECK(definition.model.tokens.size() == 258);
  CHECK(definition.special_tokens ==
        std::vector<SpecialTokenDefinition>{{.spelling = "ab", .id = 256, .special = false}});
}

TEST_CASE("tokenizer.json: post-processors") {
  const auto ids = [](const std::string& json) {
    return Load({.post_processor = json}).post_processor;
  };
  const std::string special =
      R"("special_tokens": {"<s>": {"id": "<s>", "ids": [258], "tokens": ["<s>"]},
      "e": {"id": "e", "ids": [259, 258], "tokens": ["<x>", "<s>"]}})";
  const std::string text_only = R"("single": [{"Sequence": {"id": "A", "type_id": 0}}])";
  const std::string templates = R"({"type": "TemplateProcessing", "pair": [], "single":
      [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
      {"SpecialToken": {"id": "e", "type_id": 0}}], )" +
                                special + "}";
  CHECK(ids(templates) == PostProcessorDefinition{{258}, {259, 258}});
  CHECK(ids(R"({"type": "TemplateProcessing", )" + text_only + ", " + special + "}") ==
        PostProcessorDefinition{});
  CHECK(ids(R"({"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": true,
      "trim_offsets": false, "use_regex": true}, )" +
            templates + "]}") == PostProcessorDefinition{{258}, {259, 258}});
  CHECK(ids(R"({"type": "RobertaProcessing", "sep": ["<x>", 259], "cls": ["<s>", 258],
      "trim_offsets": true, "add_prefix_space": false})") == PostProcessorDefinition{{258}, {259}});
  CHECK(ids(R"({"type": "BertProcessing", "sep": ["<x>", 259], "cls": ["<s>", 258]})") ==
        PostProcessorDefinition{{258}, {259}});

  const auto error = [](const std::string& json) { return ErrorOf({.post_processor = json}); };
  CHECK(error(R"({"type": "X"})") == "post_processor.type: \"X\" is not supported");
  CHECK(error(R"({"type": "BertProcessing", "sep": ["<x>", 258], "cls": ["<s>", 258]})") ==
        "post_processor.sep[1]: but added_tokens gives \"<x>\" the id 259");
  CHECK(error(R"({"type": "BertProcessing", "sep": ["y", 400], "cls": ["<s>", 258]})") ==
        "the post-processor adds the id 400, which no token has");
  CHECK(error(R"({"type": "Sequence", "processors": [)" + templates + "," + templates + "]}") ==
        "post_processor.processors[1]: a second processor that adds tokens is not supported");
  CHECK(error(R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})") ==
        "post_processor.single: has no place for the text");
  CHECK(error(R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "z"}}],
      "special_tokens": {}})") == "post_processor.special_tokens: has no \"z\"");
}

TEST_CASE("tokenizer.json: decoders") {
  const auto decoder = [](const std::string& json) {
    Tiny file = TinyFallbackJson();
    file.decoder = json;
    return Load(file).decoder;
  };
  const std::string replace =
      R"({"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"})";
  const std::string strip = R"(, {"type": "Strip", "content": " ", "start": 1, "stop": 0})";
  const auto sequence = [](const std::string& steps) {
    return R"({"type": "Sequence", "decoders": [)" + steps + "]}";
  };
  CHECK(decoder("null") == DecoderDefinition{});
  CHECK(decoder(sequence(replace)) == DecoderDefinition{.metaspace = true});
  CHECK(decoder(sequence(replace + R"(, {"type": "Fuse"})" + strip)) ==
        DecoderDefinition{.metaspace = true, .strip_leading_space = true});

  const auto error = [](const std::string& json) {
    Tiny file = TinyFallbackJson();
    file.decoder = json;
    return ErrorOf(file);
  };
  CHECK(error(R"({"type": "WordPiece"})") == "decoder.type: \"WordPiece\" is not supported");
  CHECK(error(R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"})") ==
        "decoder.type: \"Metaspace\" is not supported");
  CHECK(error(R"({"type": "ByteLevel"})") == "decoder.type: \"ByteLevel\" is not supported");
  CHECK(error(sequence(replace + strip)) ==
        "decoder.decoders[2]: must come after Replace and Fuse");
  CHECK(error(sequence(R"({"type": "Fuse"})")) ==
        "decoder.decoders[0]: must come after ByteFallback");
  CHECK(error(sequence("")) == "decoder.decoders: has no ByteFallback");
  CHECK(error(sequence(R"({"type": "CTC"})")) ==
        "decoder.decoders[0].type: \"CTC\" is not supported");
  CHECK(ErrorOf({.decoder = R"({"type": "Metaspace", "replacement": "\u2581"})"}) ==
        "decoder.type: \"Metaspace\" is not supported after a ByteLevel pre-tokenizer");
}

TEST_CASE("tokenizer.json: what is not supported is refused with the field") {
  const auto settings = [](const std::string& more) {
    return Tiny{.model_settings = R"("type": "BPE", )" + more};
  };
  const auto added = [](const std::string& more) {
    return Tiny{.added_tokens = Tiny().added_tokens + ", " + more};
  };
  const auto vocab = [](const std::string& more) { return Tiny{.vocab = Tiny().vocab + more}; };
  const auto merges = [](const std::string& more) { return Tiny{.merges = Tiny().merges + more}; };
  Tiny fallback_ignoring = TinyFallbackJson();
  fallback_ignoring.model_settings += R"(, "ignore_merges": true)";
  Tiny fallback_merging_a_byte = TinyFallbackJson();
  fallback_merging_a_byte.merges += R"(, ["<", "0x00>"])";
  fallback_merging_a_byte.vocab += R"(, "<": 262, "0x00>": 263)";
  Tiny fallback_with_a_part = TinyFallbackJson();
  fallback_with_a_part.merges += R"(, ["a", "<0x00>"])";
  fallback_with_a_part.vocab += R"(, "a<0x00>": 262)";
  Tiny fallback_without_a_byte = TinyFallbackJson();
  fallback_without_a_byte.vocab.replace(fallback_without_a_byte.vocab.find("<0x41>"), 6, "<0x4q>");

  const std::vector<std::pair<Tiny, std::string>> cases = {
      {{.more = R"(, "extra": 1)"}, "extra: is not supported"},
      {{.truncation = R"({"max_length": 8})"},
       "truncation: must be null: it would change the ids of every text"},
      {{.padding = "{}"}, "padding: must be null: it would change the ids of every text"},
      {{.normalizer = R"({"type": "NFD"})"}, "normalizer.type: \"NFD\" is not supported"},
      {{.normalizer = R"({"type": "Sequence", "normalizers": [{"type": "Nmt"}]})"},
       "normalizer.normalizers[0].type: \"Nmt\" is not supported"},
      {{.normalizer = R"({"type": "Replace", "pattern": {"Regex": " "}, "content": "x"})"},
       "normalizer.pattern.Regex: is not supported"},
      {{.normalizer = R"({"type": "Replace", "pattern": {"String": ""}, "content": "x"})"},
       "normalizer.pattern.String: is empty"},
      {{.normalizer = R"({"type": "NFC", "form": 1})"}, "normalizer.form: is not supported"},
      {{.pre_tokenizer = "null"},
       "model: byte_fallback must be true, or the last pre-tokenizer ByteLevel"},
      {{.pre_tokenizer = R"({"type": "Whitespace"})"},
       "pre_tokenizer.type: \"Whitespace\" is not supported"},
      {{.pre_tokenizer = R"({"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Keep",
            "invert": false})"},
       "pre_tokenizer.behavior: \"Keep\" is not supported"},
      {{.pre_tokenizer = R"({"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated",
            "invert": false})"},
       "pre_tokenizer.pattern.Regex: is empty"},
      {{.pre_tokenizer = R"({"type": "Split", "pattern": {"Regex": "x", "String": "x"},
            "behavior": "Isolated", "invert": false})"},
       "pre_tokenizer.pattern: must have String or Regex"},
      {{.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel",
            "add_prefix_space": false}, {"type": "Digits", "individual_digits": true}]})"},
       "pre_tokenizer.pretokenizers[1]: a step after ByteLevel is not supported"},
      {{.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [{"type": "Digits",
            "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": true}]})"},
       "pre_tokenizer.pretokenizers[1].add_prefix_space: is supported in the first pre-tokenizer "
       "only"},
      {{.pre_tokenizer = R"({"type": "Sequence", "pretokenizers": [{"type": "Digits",
            "individual_digits": true}, {"type": "Metaspace", "replacement": "_"}]})"},
       "pre_tokenizer.pretokenizers[1]: Metaspace is supported as the first pre-tokenizer only"},
      {{.pre_tokenizer = R"({"type": "Metaspace", "replacement": "__"})"},
       "pre_tokenizer.replacement: must be one character"},
      {{.pre_tokenizer = R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false})"},
       "pre_tokenizer.add_prefix_space: is false, but prepend_scheme is not \"never\""},
      {{.model_settings = R"("type": "Unigram")"}, "model.type: \"Unigram\" is not supported"},
      {settings(R"("dropout": 0.1)"), "model.dropout: must be null: it makes the ids random"},
      {settings(R"("end_of_word_suffix": "</w>")"), "model.end_of_word_suffix: is not supported"},
      {settings(R"("continuing_subword_prefix": "##")"),
       "model.continuing_subword_prefix: is not supported"},
      {settings(R"("ignore_merges": 1)"), "model.ignore_merges: must be true or false"},
      {settings(R"("cache": 1)"), "model.cache: is not supported"},
      {fallback_ignoring, "model.ignore_merges: true is not supported beside byte_fallback"},
      {fallback_merging_a_byte, "model.vocab.<0x00>: merging can give this byte for ordinary text"},
      {fallback_with_a_part, "model.merges[1]: a part is a control token or a byte"},
      {fallback_without_a_byte, "model.vocab: has no token for byte 65"},
      {vocab(R"(, "xy": 1.0)"), "model.vocab.xy: must be an integer"},
      {vocab(R"(, "xy": -1)"), "model.vocab.xy: must be at least 0 and below 2^31"},
      {vocab(R"(, "ab": 300)"), "model.vocab.ab: this key is there twice"},
      {vocab(R"(, "xy": 97)"), "model.vocab: the id 97 is given to \"a\" and to \"xy\""},
      {vocab(R"(, "x y": 300)"),
       "model.vocab.x y: the key has a character that stands for no byte"},
      {vocab(R"(, "\u4e00": 300)"),
       "model.vocab.\u4e00: the key has a character that stands for no byte"},
      {{.vocab = R"("a": 0, "b": 1, "c": 2, "ab": 256, "abc": 257, "<s>": 258)"},
       "there is no token for the single byte \"\\x00\""},
      {merges(R"(, "a b")"), "the merge of 97 and 98 is there twice"},
      {merges(R"(, "a b c")"), "model.merges[2]: must be two tokens with one space between"},
      {merges(R"(, "ab")"), "model.merges[2]: must be two tokens with one space between"},
      {merges(R"(, ["a"])"), "model.merges[2]: must be two tokens"},
      {merges(R"(, ["a", 1])"), "model.merges[2][1]: must be a string"},
      {merges(R"(, "a d")"), "model.merges[2]: \"ad\" is not in the vocabulary"},
      {merges(R"(, "a zz")"), "model.merges[2]: \"zz\" is not in the vocabulary"},
      {merges(R"(, "#version 0.2")"), "model.merges[2]: \"#version\" is not supported"},
      {added(Tiny::AddedToken("<s>", 300)),
       "added_tokens[2]: has the same content as added_tokens[0]"},
      {added(Tiny::AddedToken("<y>", 258)), "added_tokens[2]: has the same id as added_tokens[0]"},
      {added(Tiny::AddedToken("", 300)), "added_tokens[2].content: is empty"},
      {added(Tiny::AddedToken("<y>", 97)),
       "added_tokens[2].id: is that of another token in model.vocab"},
      {added(Tiny::AddedToken("ab", 300)),
       "added_tokens[2].id: but model.vocab gives this token the id 256"},
      {added(Tiny::AddedToken("ab", 256)),
       "added_tokens[2]: merging can give this control token for ordinary text"},
      {added(Tiny::AddedToken("a", 97)),
       "added_tokens[2]: merging can give this control token for ordinary text"},
      {added(R"({"id": 300, "content": "<y>"})"), "added_tokens[2]: has no \"special\""},
      {{.added_tokens = Tiny::AddedToken("<s>", 258, "normalized"),
        .normalizer = R"({"type": "NFC"})"},
       "added_tokens[0].normalized: true is not supported beside a normalizer"},
  };
  for (const auto& [file, message] : cases) CHECK(ErrorOf(file) == message);
}

// Hugging Face cuts out tokens that are not "normalized" first; we look for all at once.
TEST_CASE("tokenizer.json: two kinds of added tokens, where the order could matter") {
  const auto error = [](const std::string& normalized, const std::string& other,
                        const std::string& flags = "") {
    Tiny file;
    file.vocab = Tiny::ByteVocab() + R"(, "ab": 256, "abc": 257)";
    file.added_tokens = Tiny::AddedToken(normalized, 300, "normalized" + flags) + ", " +
                        Tiny::AddedToken(other, 301);
    return ErrorOf(file);
  };
  const std::string refused =
      "added_tokens[0].normalized: true is not supported for a token that may overlap one where "
      "it is false";
  CHECK(error("<x>", "<y>").empty());
  CHECK(error("<x>", "<x>y").empty());  // the longer one either way
  CHECK(error("bcd", "zbc").empty());   // the first one either way
  CHECK(error("<x>y", "<x>") == refused);
  CHECK(error("abc", "b") == refused);
  CHECK(error("abc", "c") == refused);
  CHECK(error("abc", "bcd") == refused);
  CHECK(error("<x>", "<y>", " single_word") == refused);
  CHECK(error("<x>", "<y>", " lstrip") == refused);
}

}  // namespace
}  // namespace ctx::tokenize
