// Small encodings of every kind: scanners, regular expressions or nothing for a pre-tokenizer,
// normalizers of all sorts, user-defined symbols; and text that is hard on them.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tokenize/encoding.h"
#include "tokenize/shipped.h"

namespace ctx::tokenize::testing {

struct KindOfEncoding {
  std::string what;
  std::shared_ptr<const Encoding> encoding;
};

/// Bytes for symbols, and tokens over what HardText is made of.
inline ModelDefinition ByteModel() {
  ModelDefinition model;
  for (int byte = 0; byte < 256; ++byte) {
    model.tokens.push_back({std::string(1, static_cast<char>(byte)), static_cast<TokenId>(byte)});
  }
  for (const char* const token :
       {"ab",     "ba",      "aba",    "bb",           "  ",           "    ", " a",
        "\u00e9", "e\u0301", "\u0301", "\u0323\u0301", "\u1eb9\u0301", "12",   "123",
        "\n\n",   "[X]",     "abab",   "\uac00",       "b ",           "x",    "ﬁ",
        "fi",     "''"}) {
    const std::string bytes = token;
    if (bytes.size() > 1)
      model.tokens.push_back({bytes, static_cast<TokenId>(model.tokens.size())});
  }
  return model;
}

/// Characters for symbols, as in SentencePiece.
inline ModelDefinition CharacterModel(const std::vector<std::string>& user_defined) {
  ModelDefinition model;
  model.symbols = ModelDefinition::Symbols::kCharacters;
  model.whole_first = false;
  TokenId next = 0;
  for (int byte = 0; byte < 256; ++byte) model.byte_ids.push_back(next++);
  for (const char* const token : {"\u2581", "a",        "b",       "e",
                                  "\u00e9", "\u2581a",  "ab",      "\u2581\u2581",
                                  "ba",     "\u2581ab", "aba",     "\u2581\u2581\u2581\u2581",
                                  "[",      "X",        "]",       "X]",
                                  "1",      "\u0301",   "e\u0301", "abab",
                                  "b\u2581"}) {
    if (std::ranges::find(user_defined, token) == user_defined.end()) {
      model.tokens.push_back({token, next++});
    }
  }
  for (const std::string& spelling : user_defined) model.user_defined.push_back({spelling, next++});
  return model;
}

inline std::vector<KindOfEncoding> KindsOfEncodings() {
  using Kind = NormalizerStep::Kind;
  using Steps = std::vector<NormalizerStep>;
  const Steps none;
  const Steps nfc = {{Kind::kNfc, "", ""}};
  const NormalizerStep spaces = {Kind::kReplace, " ", "\u2581"};
  std::vector<KindOfEncoding> kinds;
  const auto add = [&](std::string what, ModelDefinition model, Steps normalizer,
                       std::vector<PreTokenizerStep> pre_tokenizer) {
    EncodingDefinition definition;
    definition.name = what;
    definition.model = std::move(model);
    definition.normalizer = std::move(normalizer);
    definition.pre_tokenizer = std::move(pre_tokenizer);
    definition.special_tokens = {{"<s>", 1000}, {"</s>", 1001}};
    kinds.push_back({std::move(what), std::make_shared<const Encoding>(definition, true)});
  };
  const auto regex = [](const char* pattern, PreTokenizerStep::Behavior behavior =
                                                 PreTokenizerStep::Behavior::kIsolated) {
    PreTokenizerStep step;
    step.behavior = behavior;
    step.flavor = PreTokenizerStep::Flavor::kHuggingFace;
    step.pattern = pattern;
    return std::vector{step};
  };
  for (const char* const name : {"cl100k_base", "qwen3"})
    kinds.push_back({name, SharedShipped(name)});
  for (const Pattern pattern :
       {Pattern::kR50k, Pattern::kO200k, Pattern::kQwen35, Pattern::kTekken, Pattern::kDeepSeek}) {
    const std::string number = std::to_string(static_cast<int>(pattern));
    add("NFC and pattern " + number, ByteModel(), nfc, PreTokenizer(pattern).steps());
  }
  add("NFKC, lowercase and r50k", ByteModel(), {{Kind::kNfkc, "", ""}, {Kind::kLowercase, "", ""}},
      PreTokenizer(Pattern::kR50k).steps());
  add("no pre-tokenizer", ByteModel(), none, {});
  add("NFC, no pre-tokenizer", ByteModel(), nfc, {});
  add("SentencePiece", CharacterModel({}), {{Kind::kPrependFirst, "", "\u2581"}, spaces}, {});
  add("SentencePiece, old", CharacterModel({}), {{Kind::kPrepend, "", "\u2581"}, spaces}, {});
  add("user-defined", CharacterModel({"[X]", "\u2581\u2581\u2581", "[X][X]1", "bab"}),
      {{Kind::kPrepend, "", "\u2581"}, spaces}, {});
  add("user-defined, NFKC", CharacterModel({"\u2581x", "fi", "fi1"}),
      {{Kind::kNfkc, "", ""}, spaces}, {});
  add("user-defined, nothing else", CharacterModel({"aba", "ab", "a b"}), none, {});
  add("pairs", ByteModel(), none, regex(".."));
  add("words", ByteModel(), nfc, regex(" ?\\p{L}+|\\s+(?!\\S)|\\p{N}{1,2}"));
  add("with the next", ByteModel(), none,
      regex("\\s", PreTokenizerStep::Behavior::kMergedWithNext));
  add("runs", ByteModel(), nfc, regex("[ab]", PreTokenizerStep::Behavior::kContiguous));
  add("dropped", ByteModel(), none, regex(" ", PreTokenizerStep::Behavior::kRemoved));
  add("behind", ByteModel(), nfc, regex("(?<=a)b"));
  {
    auto steps = regex("\\p{N}{1,2}");
    steps.push_back(regex("[a-z]+ ?").front());
    add("two steps", ByteModel(), none, steps);
  }
  add("a form, then a look at neighbours", ByteModel(),
      {{Kind::kNfc, "", ""}, {Kind::kReplace, "ab", "x"}}, PreTokenizer(Pattern::kR50k).steps());
  add("long replacements", ByteModel(),
      {{Kind::kReplace, "aba", "1"}, {Kind::kReplace, "b1", "xx"}},
      PreTokenizer(Pattern::kR50k).steps());
  add("erases", CharacterModel({}), {{Kind::kReplace, "x", ""}, {Kind::kPrepend, "", "\u2581"}},
      {});
  add("erases, r50k", ByteModel(), {{Kind::kReplace, "x", ""}},
      PreTokenizer(Pattern::kR50k).steps());
  return kinds;
}

/// Characters in which normalizers, pre-tokenizers and merging look around.
inline std::string HardText(std::mt19937& random, std::size_t num_pieces) {
  static const std::vector<std::vector<std::string>> alphabets = {
      {"a", "b"},
      {"a", "b", " ", "x"},
      {"e", "\u0301", "\u0323", "\u00e9", " ", "\u00c5"},
      {"\u1100", "\u1161", "\u11a8", "\uac00", "a"},
      {" ", "  ", "\n", "\r\n", "\u00a0", "\t", "a"},
      {"[", "X", "]", "[X]", "1", "b", "a", " ", "   "},
      {"'", "l", "ll", "S", "A", "b", "!", "/", "\n", "12", "3"},
      {"\ufb01", "1", "\u2160", "\u3316", "\U0001d160", "\u4e2d", "\U0001f99c", "x", " "},
      {"a"},
      {"!", "\u0301"},
      {" ", "\u3000", "\u3000"},
      {" ", "\u3000", " ", "\u3000", "\n"},
      {"a", "A", "\u3042", "\u3042", "'s"},
      {"A"},
      {"A", "\u3042"},
      {"!", "/", "/", "\n"},
      {"\u4e2d", "\u4e2d", "\u3002", "a", "'s "},
      {"1"}};
  const auto& alphabet = alphabets[random() % alphabets.size()];
  std::string text;
  for (std::size_t i = 0; i < num_pieces; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

}  // namespace ctx::tokenize::testing
