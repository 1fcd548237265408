// Sources: tiktoken's openai_public.py from 0.3 to 0.14, GPT-2's encoder.py, Hugging Face's
// pre_tokenizers/byte_level.rs, the tokenizer.json of Llama 3, Qwen2, Qwen3.5 and DeepSeek-V3, and
// mistral-common's tekken.json.
#include "tokenize/pretokenize/known_patterns.h"

#include <algorithm>

namespace ctx::tokenize {
namespace {

// In Oniguruma, Hugging Face's engine, {1,3}+ is {1,3} repeated, not possessive: cl100k's present
// spelling cuts numbers elsewhere there.
constexpr KnownSpelling kSpellings[] = {
    {Pattern::kR50k,
     true,
     true,
     {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)"}},
    {Pattern::kR50k,
     true,
     true,
     {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
    {Pattern::kR50k,
     true,
     true,
     {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
    {Pattern::kR50k,
     true,
     true,
     {R"('s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"}},
    {Pattern::kCl100k,
     true,
     false,
     {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+)"
      R"(| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)"}},
    {Pattern::kO200k,
     true,
     true,
     {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
      R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
      R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {Pattern::kQwen2,
     true,
     true,
     {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
      R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {Pattern::kLlama3,
     true,
     true,
     {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
      R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {Pattern::kLlama3,
     true,
     true,
     {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3})"
      R"(| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"}},
    {Pattern::kQwen35,
     true,
     true,
     {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
      R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {Pattern::kTekken,
     true,
     true,
     {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
      R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
      R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {Pattern::kDeepSeek,
     false,
     true,
     {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"}},
};

/// Whether the matches and what lies between them become pieces, which is what a scanner gives.
bool KeepsAll(const PreTokenizerStep& step) {
  return step.kind == PreTokenizerStep::Kind::kRegex &&
         step.behavior == PreTokenizerStep::Behavior::kIsolated;
}

/// Whether the matches become pieces and what lies between them is dropped: the same where a
/// pattern matches every character, as all that are published alone do.
bool KeepsMatches(const PreTokenizerStep& step) {
  return step.kind == PreTokenizerStep::Kind::kRegex &&
         step.behavior == PreTokenizerStep::Behavior::kRemoved && step.invert;
}

}  // namespace

std::span<const KnownSpelling> KnownSpellings() noexcept { return kSpellings; }

std::optional<Pattern> KnownPattern(std::span<const PreTokenizerStep> steps) noexcept {
  const auto is_listed = [steps](const KnownSpelling& spelling) {
    for (std::size_t i = 0; i < spelling.regexes.size(); ++i) {
      if (spelling.regexes[i].empty()) return i == steps.size();
      if (i == steps.size()) return false;
      const PreTokenizerStep& step = steps[i];
      const bool listed = step.flavor == PreTokenizerStep::Flavor::kTiktoken
                              ? spelling.in_tiktoken
                              : spelling.in_hugging_face;
      const bool is_alone = steps.size() == 1;
      if (!listed || step.pattern != spelling.regexes[i]) return false;
      if (!KeepsAll(step) && !(is_alone && KeepsMatches(step))) return false;
    }
    return spelling.regexes.size() == steps.size();
  };
  const auto* const found = std::ranges::find_if(kSpellings, is_listed);
  if (found == std::end(kSpellings)) return std::nullopt;
  return found->pattern;
}

}  // namespace ctx::tokenize
