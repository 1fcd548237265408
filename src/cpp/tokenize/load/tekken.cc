// tekken.json, read as mistral_common 1.13.1 (tokens/tokenizers/tekken.py) reads it: of `vocab` the
// first default_vocab_size - default_num_special_tokens rows are used; the id of a row is its rank
// plus default_num_special_tokens; below are the special tokens, unnamed ones called <SPECIAL_n>.
#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

#include "tokenize/load/base64.h"
#include "tokenize/load/json.h"
#include "tokenize/load/load.h"

namespace ctx::tokenize::load {
namespace {

constexpr std::array<std::string_view, 4> kVersionsWithDefaults = {"v1", "v2", "v3", "v7"};
constexpr std::array<std::string_view, 3> kLaterVersions = {"v11", "v13", "v15"};

/// Far above the 1000 of the published files; keeps a small file from asking for any memory.
constexpr TokenId kMaxSpecialTokens = 1 << 20;

bool IsOneOf(std::string_view text, std::span<const std::string_view> texts) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

/// The special tokens of files that list none, which versions up to v7 may do.
constexpr std::array kDefaultSpecialTokens = {"<unk>",
                                              "<s>",
                                              "</s>",
                                              "[INST]",
                                              "[/INST]",
                                              "[AVAILABLE_TOOLS]",
                                              "[/AVAILABLE_TOOLS]",
                                              "[TOOL_RESULTS]",
                                              "[/TOOL_RESULTS]",
                                              "[TOOL_CALLS]",
                                              "[IMG]",
                                              "<pad>",
                                              "[IMG_BREAK]",
                                              "[IMG_END]",
                                              "[PREFIX]",
                                              "[MIDDLE]",
                                              "[SUFFIX]",
                                              "[SYSTEM_PROMPT]",
                                              "[/SYSTEM_PROMPT]",
                                              "[TOOL_CONTENT]"};

std::vector<SpecialTokenDefinition> SpecialTokens(const JsonValue& root, std::size_t num_special) {
  std::vector<SpecialTokenDefinition> tokens;
  const std::optional<JsonValue> listed = root.FindValue("special_tokens");
  if (listed) {
    for (const JsonValue& item : listed->Items()) {
      item.RequireKnownKeys({"rank", "token_str", "is_control"});
      const JsonValue rank = item.At("rank");
      if (rank.Id() != tokens.size()) rank.Fail("must be ", tokens.size(), ", its place");
      item.At("is_control").Boolean();  // says nothing about ids: decoding leaves all of them out
      tokens.push_back({.spelling = std::string(item.At("token_str").String()), .id = rank.Id()});
    }
    if (tokens.size() > num_special) {
      listed->Fail("has more than config.default_num_special_tokens entries");
    }
  } else {
    const JsonValue version = root.At("config").At("version");
    if (!IsOneOf(version.String(), kVersionsWithDefaults)) {
      version.Fail("files of version ", Quoted(version.String()), " must have special_tokens");
    }
    if (kDefaultSpecialTokens.size() > num_special) {
      root.At("config").At("default_num_special_tokens").Fail("is too small");
    }
    for (const char* const spelling : kDefaultSpecialTokens) {
      tokens.push_back({.spelling = spelling, .id = static_cast<TokenId>(tokens.size())});
    }
  }
  while (tokens.size() < num_special) {
    const auto id = static_cast<TokenId>(tokens.size());
    tokens.push_back({.spelling = StrCat("<SPECIAL_", id, ">"), .id = id});
  }
  return tokens;
}

std::vector<TokenDefinition> Tokens(const JsonValue& vocab, std::size_t num_tokens,
                                    TokenId first_id) {
  std::vector<TokenDefinition> tokens;
  for (const JsonValue& item : vocab.Items()) {
    if (tokens.size() == num_tokens) break;
    item.RequireKnownKeys({"rank", "token_bytes", "token_str"});
    const JsonValue rank = item.At("rank");
    if (rank.Id() != tokens.size()) rank.Fail("must be ", tokens.size(), ", its place");
    const JsonValue text = item.At("token_bytes");
    std::optional<std::string> bytes = DecodeBase64(text.String());
    if (!bytes) text.Fail("is no canonical base64");
    if (bytes->empty() || bytes->size() > kMaxTokenBytes) {
      text.Fail("must have 1 to ", kMaxTokenBytes, " bytes");
    }
    if (rank.Id() < 256 && *bytes != std::string(1, static_cast<char>(rank.Id()))) {
      text.Fail("must be the single byte ", rank.Id());
    }
    tokens.push_back({*std::move(bytes), first_id + rank.Id()});
  }
  if (tokens.size() < num_tokens) vocab.Fail("has fewer rows than config.default_vocab_size needs");
  return tokens;
}

}  // namespace

EncodingDefinition LoadTekken(std::string_view bytes, const std::string& file_name) {
  const JsonDocument document(bytes, file_name);
  const JsonValue root = document.root();
  // What images and audio are turned into is not the tokenizer's; nor are model settings.
  root.RequireKnownKeys({"config", "vocab", "special_tokens", "version", "type", "image", "audio",
                         "multimodal", "model_settings_builder"});
  const JsonValue config = root.At("config");
  config.RequireKnownKeys({"pattern", "num_vocab_tokens", "default_vocab_size",
                           "default_num_special_tokens", "version"});
  const JsonValue version = config.At("version");
  if (!IsOneOf(version.String(), kVersionsWithDefaults) &&
      !IsOneOf(version.String(), kLaterVersions)) {
    version.Fail("unknown version ", Quoted(version.String()));
  }
  const JsonValue vocab_size = config.At("default_vocab_size");
  const JsonValue num_special = config.At("default_num_special_tokens");
  if (num_special.Id() > kMaxSpecialTokens) num_special.Fail("must be at most ", kMaxSpecialTokens);
  if (vocab_size.Id() < num_special.Id()) {
    vocab_size.Fail("must be at least default_num_special_tokens");
  }

  EncodingDefinition definition;
  definition.name = StemOf(file_name);
  PreTokenizerStep split;
  split.pattern = config.At("pattern").String();
  if (split.pattern.empty()) config.At("pattern").Fail("is empty");
  definition.pre_tokenizer.push_back(std::move(split));
  definition.model.tokens =
      Tokens(root.At("vocab"), vocab_size.Id() - num_special.Id(), num_special.Id());
  definition.special_tokens = SpecialTokens(root, num_special.Id());
  return definition;
}

}  // namespace ctx::tokenize::load
