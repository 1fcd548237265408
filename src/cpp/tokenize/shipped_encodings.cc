#include "tokenize/shipped_encodings.h"

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {
namespace {

using SpecialTokenList = std::vector<SpecialToken>;

// Sources: tiktoken 0.14 tiktoken_ext/openai_public.py (all of OpenAI's); the added_tokens_decoder
// in the tokenizer_config.json of Qwen2.5 and Qwen3 on the Hugging Face hub. There only those up to
// <|video_pad|> are flagged "special", but all of them are cut out of text before merging.

SpecialTokenList Gpt2Tokens() { return {{"<|endoftext|>", 50256}}; }

SpecialTokenList P50kEditTokens() {
  return {{"<|endoftext|>", 50256},
          {"<|fim_prefix|>", 50281},
          {"<|fim_middle|>", 50282},
          {"<|fim_suffix|>", 50283}};
}

SpecialTokenList Cl100kTokens() {
  return {{"<|endoftext|>", 100257},
          {"<|fim_prefix|>", 100258},
          {"<|fim_middle|>", 100259},
          {"<|fim_suffix|>", 100260},
          {"<|endofprompt|>", 100276}};
}

SpecialTokenList O200kTokens() { return {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}; }

SpecialTokenList HarmonyTokens() {
  SpecialTokenList tokens = {{"<|startoftext|>", 199998}, {"<|endoftext|>", 199999},
                             {"<|return|>", 200002},      {"<|constrain|>", 200003},
                             {"<|channel|>", 200005},     {"<|start|>", 200006},
                             {"<|end|>", 200007},         {"<|message|>", 200008},
                             {"<|call|>", 200012},        {"<|endofprompt|>", 200018}};
  // Every other id has a placeholder; 200018 has one beside its name.
  for (TokenId id = 200000; id <= 201087; ++id) {
    const bool named = id <= 200012 && id != 200000 && id != 200001 && id != 200004 &&
                       id != 200009 && id != 200010 && id != 200011;
    if (!named) tokens.push_back({"<|reserved_" + std::to_string(id) + "|>", id});
  }
  return tokens;
}

constexpr TokenId kFirstQwenToken = 151643;

SpecialTokenList QwenTokens(const std::vector<const char*>& spellings) {
  SpecialTokenList tokens;
  TokenId next_id = kFirstQwenToken;
  bool special = true;
  for (const std::string_view spelling : spellings) {
    tokens.push_back({std::string(spelling), next_id++, special});
    if (spelling == "<|video_pad|>") special = false;
  }
  return tokens;
}

std::vector<const char*> Qwen2Spellings() {
  return {"<|endoftext|>",      "<|im_start|>",     "<|im_end|>",     "<|object_ref_start|>",
          "<|object_ref_end|>", "<|box_start|>",    "<|box_end|>",    "<|quad_start|>",
          "<|quad_end|>",       "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
          "<|image_pad|>",      "<|video_pad|>",    "<tool_call>",    "</tool_call>",
          "<|fim_prefix|>",     "<|fim_middle|>",   "<|fim_suffix|>", "<|fim_pad|>",
          "<|repo_name|>",      "<|file_sep|>"};
}

SpecialTokenList Qwen2Tokens() { return QwenTokens(Qwen2Spellings()); }

SpecialTokenList Qwen3Tokens() {
  std::vector<const char*> spellings = Qwen2Spellings();
  spellings.insert(spellings.end(), {"<tool_response>", "</tool_response>", "<think>", "</think>"});
  return QwenTokens(spellings);
}

struct Recipe {
  const char* name;
  Pattern pattern;
  std::vector<const char*> tables;
  SpecialTokenList (*special_tokens)();
  std::vector<NormalizerStep> normalizer = {};
};

const std::vector<Recipe>& Recipes() {
  static const std::vector<NormalizerStep> nfc = {{NormalizerStep::Kind::kNfc, "", ""}};
  static const std::vector<Recipe> recipes = {
      {"gpt2", Pattern::kR50k, {"r50k_base"}, Gpt2Tokens},
      {"r50k_base", Pattern::kR50k, {"r50k_base"}, Gpt2Tokens},
      {"p50k_base", Pattern::kR50k, {"r50k_base", "p50k_base"}, Gpt2Tokens},
      {"p50k_edit", Pattern::kR50k, {"r50k_base", "p50k_base"}, P50kEditTokens},
      {"cl100k_base", Pattern::kCl100k, {"cl100k_base"}, Cl100kTokens},
      {"o200k_base", Pattern::kO200k, {"o200k_base"}, O200kTokens},
      {"o200k_harmony", Pattern::kO200k, {"o200k_base"}, HarmonyTokens},
      {"qwen2", Pattern::kQwen2, {"qwen"}, Qwen2Tokens, nfc},
      {"qwen3", Pattern::kQwen2, {"qwen"}, Qwen3Tokens, nfc},
  };
  return recipes;
}

}  // namespace

std::vector<std::string> ShippedEncodingNames() {
  std::vector<std::string> names;
  for (const Recipe& recipe : Recipes()) names.emplace_back(recipe.name);
  return names;
}

std::shared_ptr<const Encoding> LoadShippedEncoding(std::string_view name,
                                                    const std::string& directory) {
  for (const Recipe& recipe : Recipes()) {
    if (recipe.name != name) continue;
    std::vector<std::string> paths;
    for (const char* const table : recipe.tables) {
      paths.push_back(directory + "/" + table + ".vocab");
    }
    return std::make_shared<const Encoding>(
        recipe.name, recipe.pattern, Vocabulary::FromPackedFiles(paths),
        SpecialTokens(recipe.special_tokens()), recipe.normalizer);
  }
  throw ArgumentError(StrCat("no shipped encoding is called ", name));
}

}  // namespace ctx::tokenize
