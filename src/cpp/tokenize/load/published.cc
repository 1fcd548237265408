#include "tokenize/load/published.h"

#include <array>
#include <cstdint>
#include <span>

namespace ctx::tokenize::load {
namespace {

using SpecialTokenList = std::vector<SpecialTokenDefinition>;

// Sources of the patterns and special tokens: tiktoken 0.14 (tiktoken_ext/openai_public.py);
// tokenization_qwen.py of Qwen-7B; llama/tokenizer.py of Llama 3, which shares its rank file with
// Llama 3.1 and later, whose special tokens have other names (pass those).

constexpr char kR50kPattern[] =
    R"re('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)re";
constexpr char kCl100kPattern[] =
    R"re('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+)re"
    R"re(|\s++$|\s*[\r\n]|\s+(?!\S)|\s)re";
constexpr char kO200kPattern[] =
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)re"
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)?)re"
    R"re(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)re"
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)?)re"
    R"re(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr char kQwenPattern[] =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)re"
    R"re(|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr char kLlama3Pattern[] =
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})re"
    R"re(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

SpecialTokenList Gpt2Tokens() { return {{.spelling = "<|endoftext|>", .id = 50256}}; }

SpecialTokenList Cl100kTokens() {
  return {{.spelling = "<|endoftext|>", .id = 100257},
          {.spelling = "<|fim_prefix|>", .id = 100258},
          {.spelling = "<|fim_middle|>", .id = 100259},
          {.spelling = "<|fim_suffix|>", .id = 100260},
          {.spelling = "<|endofprompt|>", .id = 100276}};
}

SpecialTokenList O200kTokens() {
  return {{.spelling = "<|endoftext|>", .id = 199999},
          {.spelling = "<|endofprompt|>", .id = 200018}};
}

SpecialTokenList QwenTokens() {
  SpecialTokenList tokens = {{.spelling = "<|endoftext|>", .id = 151643},
                             {.spelling = "<|im_start|>", .id = 151644},
                             {.spelling = "<|im_end|>", .id = 151645}};
  for (TokenId i = 0; i < 205; ++i) {
    tokens.push_back({.spelling = "<|extra_" + std::to_string(i) + "|>", .id = 151646 + i});
  }
  return tokens;
}

SpecialTokenList Llama3Tokens() {
  constexpr TokenId kFirst = 128000;
  SpecialTokenList tokens = {{.spelling = "<|begin_of_text|>", .id = kFirst},
                             {.spelling = "<|end_of_text|>", .id = kFirst + 1},
                             {.spelling = "<|start_header_id|>", .id = kFirst + 6},
                             {.spelling = "<|end_header_id|>", .id = kFirst + 7},
                             {.spelling = "<|eot_id|>", .id = kFirst + 9}};
  TokenId id = kFirst + 2;
  for (int i = 0; i <= 250; ++i) {
    while (id == kFirst + 6 || id == kFirst + 7 || id == kFirst + 9) ++id;
    tokens.push_back(
        {.spelling = "<|reserved_special_token_" + std::to_string(i) + "|>", .id = id++});
  }
  return tokens;
}

/// The digest that 64 hexadecimal digits spell.
constexpr Sha256Digest Digest(std::string_view hex) {
  const auto value = [hex](std::size_t i) {
    return static_cast<std::uint8_t>(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);
  };
  Sha256Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::uint8_t>(value(2 * i) << 4 | value(2 * i + 1));
  }
  return digest;
}

constexpr std::array<PublishedRankFile, 6> kPublished = {{
    {Digest("306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"), "r50k_base",
     kR50kPattern, false, Gpt2Tokens},
    {Digest("94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"), "p50k_base",
     kR50kPattern, false, Gpt2Tokens},
    {Digest("223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"), "cl100k_base",
     kCl100kPattern, false, Cl100kTokens},
    {Digest("446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"), "o200k_base",
     kO200kPattern, false, O200kTokens},
    {Digest("b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"), "qwen",
     kQwenPattern, true, QwenTokens},
    {Digest("82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"), "llama3",
     kLlama3Pattern, false, Llama3Tokens},
}};

}  // namespace

const PublishedRankFile* FindPublished(std::string_view bytes) {
  const Sha256Digest digest =
      Sha256({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  for (const PublishedRankFile& file : kPublished) {
    if (file.sha256 == digest) return &file;
  }
  return nullptr;
}

}  // namespace ctx::tokenize::load
