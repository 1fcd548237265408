// "post_processor" and "decoder" of a tokenizer.json.
#include <map>
#include <string_view>
#include <utility>

#include "tokenize/load/tokenizer_json.h"

namespace ctx::tokenize::load {
namespace {

class PostProcessorReader {
 public:
  explicit PostProcessorReader(const std::vector<SpecialTokenDefinition>& special_tokens) {
    for (const SpecialTokenDefinition& token : special_tokens) {
      id_of_.emplace(token.spelling, token.id);
    }
  }

  void Add(const JsonValue& section) {
    const std::string_view type = section.At("type").String();
    if (type == "Sequence") {
      section.RequireKnownKeys({"type", "processors"});
      for (const JsonValue& inner : section.At("processors").Items()) Add(inner);
    } else if (type == "ByteLevel") {  // trims offsets, leaves the ids alone
      section.RequireKnownKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      section.RequireKnownKeys({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
      RequireFirst(section);
      ids_.before.push_back(ReadNamedId(section.At("cls")));
      ids_.after.push_back(ReadNamedId(section.At("sep")));
    } else if (type == "TemplateProcessing") {
      RequireFirst(section);
      ReadTemplate(section);
    } else {
      FailUnsupported(section);
    }
  }

  PostProcessorDefinition Take() { return std::move(ids_); }

 private:
  void RequireFirst(const JsonValue& section) {
    if (has_ids_) section.Fail("a second processor that adds tokens is not supported");
    has_ids_ = true;
  }

  /// The id of a token that a post-processor names, which must be the one that the token has.
  TokenId CheckedId(const JsonValue& id, std::string_view spelling) const {
    const auto token = id_of_.find(spelling);
    if (token != id_of_.end() && token->second != id.Id()) {
      id.Fail("but added_tokens gives ", Quoted(spelling), " the id ", token->second);
    }
    return id.Id();
  }

  /// ["</s>", 2].
  TokenId ReadNamedId(const JsonValue& pair) const {
    const std::vector<JsonValue> items = pair.Items();
    if (items.size() != 2) pair.Fail("must be a token and its id");
    return CheckedId(items[1], items[0].String());
  }

  void ReadTemplate(const JsonValue& section) {
    section.RequireKnownKeys({"type", "single", "pair", "special_tokens"});  // pair: for two texts
    const JsonValue single = section.At("single");
    bool has_text = false;
    for (const JsonValue& piece : single.Items()) {
      piece.RequireKnownKeys({"SpecialToken", "Sequence"});
      if (piece.Members().size() != 1) piece.Fail("must have one member");
      if (const auto sequence = piece.Find("Sequence")) {
        if (has_text || sequence->At("id").String() != "A") sequence->Fail("must be \"A\", once");
        has_text = true;
      } else {
        ReadTemplateToken(section, piece.At("SpecialToken").At("id").String(),
                          has_text ? ids_.after : ids_.before);
      }
    }
    if (!has_text) single.Fail("has no place for the text");
  }

  void ReadTemplateToken(const JsonValue& section, std::string_view name,
                         std::vector<TokenId>& side) const {
    constexpr std::size_t kMaxIds = 256;  // published files add one or two
    const JsonValue entry = section.At("special_tokens").At(name);
    const std::vector<JsonValue> tokens = entry.At("tokens").Items();
    const std::vector<JsonValue> token_ids = entry.At("ids").Items();
    if (tokens.size() != token_ids.size()) entry.Fail("has not as many tokens as ids");
    if (side.size() + token_ids.size() > kMaxIds) {
      section.Fail("adds more than ", kMaxIds, " ids on one side");
    }
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      side.push_back(CheckedId(token_ids[i], tokens[i].String()));
    }
  }

  std::map<std::string_view, TokenId> id_of_;
  PostProcessorDefinition ids_;
  bool has_ids_ = false;
};

void RequireReplaceOfSpace(const JsonValue& section) {
  section.RequireKnownKeys({"type", "pattern", "content"});
  const JsonValue pattern = section.At("pattern");
  pattern.RequireKnownKeys({"String"});
  if (pattern.At("String").String() != "\u2581" || section.At("content").String() != " ") {
    section.Fail("is supported for \"\u2581\" by \" \" only");
  }
}

void RequireStripOfOneSpace(const JsonValue& section) {
  section.RequireKnownKeys({"type", "content", "start", "stop"});
  if (section.At("content").String() != " " || section.At("start").Id() != 1 ||
      section.At("stop").Id() != 0) {
    section.Fail("is supported for one \" \" at the start only");
  }
}

/// The steps that a conversion from SentencePiece leaves: Replace, ByteFallback, Fuse, Strip, in
/// this order; Fuse alone may be missing, and Strip needs it.
DecoderDefinition ReadSteps(const JsonValue& steps) {
  DecoderDefinition decoder;
  bool byte_fallback = false, fuse = false;
  for (const JsonValue& step : steps.Items()) {
    const std::string_view type = step.At("type").String();
    if (decoder.strip_leading_space) step.Fail("a step after Strip is not supported");
    if (type == "Replace") {
      if (decoder.metaspace || byte_fallback) step.Fail("must be the first step, once");
      RequireReplaceOfSpace(step);
      decoder.metaspace = true;
    } else if (type == "ByteFallback") {
      step.RequireKnownKeys({"type"});
      if (byte_fallback || fuse) step.Fail("must come before Fuse, once");
      byte_fallback = true;
    } else if (type == "Fuse") {
      step.RequireKnownKeys({"type"});
      if (!byte_fallback) step.Fail("must come after ByteFallback");
      fuse = true;
    } else if (type == "Strip") {
      if (!fuse || !decoder.metaspace) step.Fail("must come after Replace and Fuse");
      RequireStripOfOneSpace(step);
      decoder.strip_leading_space = true;
    } else {
      FailUnsupported(step);
    }
  }
  if (!byte_fallback) steps.Fail("has no ByteFallback");
  return decoder;
}

}  // namespace

PostProcessorDefinition ReadPostProcessor(
    const JsonValue& post_processor, const std::vector<SpecialTokenDefinition>& special_tokens) {
  PostProcessorReader reader(special_tokens);
  reader.Add(post_processor);
  return reader.Take();
}

DecoderDefinition ReadDecoder(const JsonValue& decoder, bool byte_level) {
  const JsonValue type = decoder.At("type");
  if (byte_level) {
    if (type.String() != "ByteLevel") {
      type.Fail(Quoted(type.String()), " is not supported after a ByteLevel pre-tokenizer");
    }
    decoder.RequireKnownKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    return {};
  }
  // Not "Metaspace" either: it writes byte tokens as text, "<0x0A>", and drops every space of the
  // first token.
  if (type.String() != "Sequence") FailUnsupported(decoder);
  decoder.RequireKnownKeys({"type", "decoders"});
  return ReadSteps(decoder.At("decoders"));
}

}  // namespace ctx::tokenize::load
