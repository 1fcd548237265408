#include "tokenize/load/tokenizer_json.h"

#include <utility>

#include "tokenize/load/load.h"

namespace ctx::tokenize::load {

EncodingDefinition LoadTokenizerJson(std::string_view bytes, const std::string& file_name) {
  const JsonDocument document(bytes, file_name);
  const JsonValue root = document.root();
  root.RequireKnownKeys({"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"});
  if (root.At("version").String() != "1.0") root.At("version").Fail("must be \"1.0\"");
  for (const std::string_view key : {"truncation", "padding"}) {
    if (const auto section = root.FindValue(key)) {
      section->Fail("must be null: it would change the ids of every text");
    }
  }

  EncodingDefinition definition;
  definition.name = StemOf(file_name);
  if (const auto normalizer = root.FindValue("normalizer")) {
    definition.normalizer = ReadNormalizer(*normalizer);
  }
  const bool has_normalizer = !definition.normalizer.empty();
  PreTokenizerParts pre_tokenizer;
  if (const auto section = root.FindValue("pre_tokenizer")) {
    pre_tokenizer = ReadPreTokenizer(*section);
  }
  for (NormalizerStep& step : pre_tokenizer.normalizer) {
    definition.normalizer.push_back(std::move(step));
  }
  definition.pre_tokenizer = std::move(pre_tokenizer.steps);
  ModelParts parts = ReadModel(root, pre_tokenizer.byte_level, has_normalizer);
  definition.model = std::move(parts.model);
  definition.special_tokens = std::move(parts.special_tokens);
  if (const auto section = root.FindValue("post_processor")) {
    definition.post_processor = ReadPostProcessor(*section, definition.special_tokens);
  }
  if (const auto section = root.FindValue("decoder")) {
    definition.decoder = ReadDecoder(*section, pre_tokenizer.byte_level);
  }
  return definition;
}

}  // namespace ctx::tokenize::load
