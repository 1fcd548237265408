// The sections of a tokenizer.json, each read into its part of an EncodingDefinition. Meaning as in
// Hugging Face tokenizers 0.23. Whatever is not understood is a LoadError that names the field.
#pragma once

#include <vector>

#include "tokenize/definition.h"
#include "tokenize/load/json.h"

namespace ctx::tokenize::load {

/// Throws LoadError that names the "type" of a section.
[[noreturn]] inline void FailUnsupported(const JsonValue& section) {
  const JsonValue type = section.At("type");
  type.Fail(Quoted(type.String()), " is not supported");
}

/// "normalizer".
std::vector<NormalizerStep> ReadNormalizer(const JsonValue& normalizer);

/// "pre_tokenizer".
struct PreTokenizerParts {
  std::vector<PreTokenizerStep> steps;
  /// What it does to the text before it first splits; belongs behind the normalizer's steps.
  std::vector<NormalizerStep> normalizer;
  bool byte_level = false;  ///< ends in ByteLevel: the model's tokens spell bytes as characters
};
PreTokenizerParts ReadPreTokenizer(const JsonValue& pre_tokenizer);

/// Where and how Metaspace puts its replacement before the text.
struct MetaspaceParts {
  enum class PrependScheme { kAlways, kFirst, kNever };
  std::string_view replacement;
  PrependScheme prepend_scheme = PrependScheme::kAlways;
  bool split = true;
};
MetaspaceParts ReadMetaspace(const JsonValue& metaspace);

/// "added_tokens" and "model", which share ids. `has_normalizer` tells whether "normalizer" does
/// anything. An added token that is in the vocabulary is an ordinary token too only if merging can
/// give it; a control token must not be of that kind.
struct ModelParts {
  ModelDefinition model;
  std::vector<SpecialTokenDefinition> special_tokens;
};
ModelParts ReadModel(const JsonValue& root, bool byte_level, bool has_normalizer);

/// "post_processor".
PostProcessorDefinition ReadPostProcessor(
    const JsonValue& post_processor, const std::vector<SpecialTokenDefinition>& special_tokens);

/// "decoder".
DecoderDefinition ReadDecoder(const JsonValue& decoder, bool byte_level);

}  // namespace ctx::tokenize::load
