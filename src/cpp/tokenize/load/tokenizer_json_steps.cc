// "normalizer" and "pre_tokenizer" of a tokenizer.json.
#include <array>
#include <string>
#include <utility>

#include "tokenize/load/tokenizer_json.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize::load {
namespace {

void AddNormalizer(const JsonValue& section, std::vector<NormalizerStep>& steps) {
  using Kind = NormalizerStep::Kind;
  const std::string_view type = section.At("type").String();
  if (type == "Sequence") {
    section.RequireKnownKeys({"type", "normalizers"});
    for (const JsonValue& inner : section.At("normalizers").Items()) AddNormalizer(inner, steps);
  } else if (type == "NFC" || type == "NFKC" || type == "Lowercase") {
    section.RequireKnownKeys({"type"});
    steps.push_back({type == "NFC"    ? Kind::kNfc
                     : type == "NFKC" ? Kind::kNfkc
                                      : Kind::kLowercase,
                     {},
                     {}});
  } else if (type == "Prepend") {
    section.RequireKnownKeys({"type", "prepend"});
    steps.push_back({Kind::kPrepend, {}, std::string(section.At("prepend").String())});
  } else if (type == "Replace") {
    section.RequireKnownKeys({"type", "pattern", "content"});
    const JsonValue pattern = section.At("pattern");
    pattern.RequireKnownKeys({"String"});
    const JsonValue text = pattern.At("String");
    if (text.String().empty()) text.Fail("is empty");
    steps.push_back(
        {Kind::kReplace, std::string(text.String()), std::string(section.At("content").String())});
  } else {
    FailUnsupported(section);
  }
}

PreTokenizerStep::Behavior ReadBehavior(const JsonValue& behavior) {
  using Behavior = PreTokenizerStep::Behavior;
  constexpr std::array<std::pair<std::string_view, Behavior>, 5> kBehaviors = {{
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous},
  }};
  for (const auto& [name, value] : kBehaviors) {
    if (behavior.String() == name) return value;
  }
  behavior.Fail(Quoted(behavior.String()), " is not supported");
}

class PreTokenizerReader {
 public:
  void Add(const JsonValue& section) {
    const std::string_view type = section.At("type").String();
    if (type == "Sequence") {
      section.RequireKnownKeys({"type", "pretokenizers"});
      for (const JsonValue& inner : section.At("pretokenizers").Items()) Add(inner);
      return;
    }
    if (parts_.byte_level) section.Fail("a step after ByteLevel is not supported");
    if (type == "Split") {
      AddSplit(section);
    } else if (type == "ByteLevel") {
      AddByteLevel(section);
    } else if (type == "Digits") {
      section.RequireKnownKeys({"type", "individual_digits"});
      AddStep(PreTokenizerStep::Kind::kDigits, section.At("individual_digits").Boolean()
                                                   ? PreTokenizerStep::Behavior::kIsolated
                                                   : PreTokenizerStep::Behavior::kContiguous);
    } else if (type == "Punctuation") {
      section.RequireKnownKeys({"type", "behavior"});
      const auto behavior = section.FindValue("behavior");
      AddStep(PreTokenizerStep::Kind::kPunctuation,
              behavior ? ReadBehavior(*behavior) : PreTokenizerStep::Behavior::kIsolated);
    } else if (type == "Metaspace") {
      AddMetaspace(section);
    } else {
      FailUnsupported(section);
    }
    is_first_ = false;
  }

  PreTokenizerParts Take() { return std::move(parts_); }

 private:
  PreTokenizerStep& AddStep(PreTokenizerStep::Kind kind, PreTokenizerStep::Behavior behavior) {
    PreTokenizerStep& step = parts_.steps.emplace_back();
    step.kind = kind;
    step.behavior = behavior;
    step.flavor = PreTokenizerStep::Flavor::kHuggingFace;
    return step;
  }

  void AddSplit(const JsonValue& section) {
    section.RequireKnownKeys({"type", "pattern", "behavior", "invert"});
    const JsonValue pattern = section.At("pattern");
    pattern.RequireKnownKeys({"String", "Regex"});
    const auto literal = pattern.Find("String");
    const auto regex = pattern.Find("Regex");
    if (literal.has_value() == regex.has_value()) pattern.Fail("must have String or Regex");
    const JsonValue text = literal ? *literal : *regex;
    if (text.String().empty()) text.Fail("is empty");
    PreTokenizerStep& step =
        AddStep(literal ? PreTokenizerStep::Kind::kLiteral : PreTokenizerStep::Kind::kRegex,
                ReadBehavior(section.At("behavior")));
    step.invert = section.BooleanOr("invert", false);
    step.pattern = text.String();
  }

  void AddByteLevel(const JsonValue& section) {
    section.RequireKnownKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    if (section.At("add_prefix_space").Boolean()) {
      if (!is_first_) {
        section.At("add_prefix_space").Fail("is supported in the first pre-tokenizer only");
      }
      parts_.normalizer.push_back({NormalizerStep::Kind::kPrependUnless, {}, " "});
    }
    if (section.BooleanOr("use_regex", true)) {
      AddStep(PreTokenizerStep::Kind::kRegex, PreTokenizerStep::Behavior::kIsolated).pattern =
          R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";
    }
    parts_.byte_level = true;
  }

  void AddMetaspace(const JsonValue& section) {
    if (!is_first_) section.Fail("Metaspace is supported as the first pre-tokenizer only");
    const MetaspaceParts metaspace = ReadMetaspace(section);
    const std::string replacement(metaspace.replacement);
    using Kind = NormalizerStep::Kind;
    using Scheme = MetaspaceParts::PrependScheme;
    parts_.normalizer.push_back({Kind::kReplace, " ", replacement});
    if (metaspace.prepend_scheme != Scheme::kNever) {
      parts_.normalizer.push_back(
          {metaspace.prepend_scheme == Scheme::kAlways ? Kind::kPrependUnless : Kind::kPrependFirst,
           {},
           replacement});
    }
    if (metaspace.split) {
      AddStep(PreTokenizerStep::Kind::kLiteral, PreTokenizerStep::Behavior::kMergedWithNext)
          .pattern = replacement;
    }
  }

  PreTokenizerParts parts_;
  bool is_first_ = true;
};

}  // namespace

std::vector<NormalizerStep> ReadNormalizer(const JsonValue& normalizer) {
  std::vector<NormalizerStep> steps;
  AddNormalizer(normalizer, steps);
  return steps;
}

PreTokenizerParts ReadPreTokenizer(const JsonValue& pre_tokenizer) {
  PreTokenizerReader reader;
  reader.Add(pre_tokenizer);
  return reader.Take();
}

MetaspaceParts ReadMetaspace(const JsonValue& metaspace) {
  using Scheme = MetaspaceParts::PrependScheme;
  metaspace.RequireKnownKeys(
      {"type", "replacement", "prepend_scheme", "add_prefix_space", "split", "str_rep"});
  MetaspaceParts parts;
  const JsonValue replacement = metaspace.At("replacement");
  parts.replacement = replacement.String();
  if (parts.replacement.empty() ||
      DecodeUtf8(reinterpret_cast<const unsigned char*>(parts.replacement.data())).size_bytes !=
          parts.replacement.size()) {
    replacement.Fail("must be one character");
  }
  if (const auto scheme = metaspace.FindValue("prepend_scheme")) {
    if (scheme->String() == "always") {
      parts.prepend_scheme = Scheme::kAlways;
    } else if (scheme->String() == "first") {
      parts.prepend_scheme = Scheme::kFirst;
    } else if (scheme->String() == "never") {
      parts.prepend_scheme = Scheme::kNever;
    } else {
      scheme->Fail(Quoted(scheme->String()), " is not supported");
    }
  }
  // The older form of prepend_scheme.
  if (const auto add_prefix_space = metaspace.FindValue("add_prefix_space")) {
    if (!add_prefix_space->Boolean() && parts.prepend_scheme != Scheme::kNever) {
      add_prefix_space->Fail("is false, but prepend_scheme is not \"never\"");
    }
  }
  parts.split = metaspace.BooleanOr("split", true);
  return parts;
}

}  // namespace ctx::tokenize::load
