#include "tokenize/encoding.h"

#include <algorithm>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/bpe/canonical_model.h"
#include "tokenize/check_definition.h"

namespace ctx::tokenize {
namespace {

/// By how many bytes of text at most a byte of normalized text can come about; nothing when there
/// is no bound.
std::optional<std::size_t> MaxShrinkage(std::span<const NormalizerStep> steps) {
  using Kind = NormalizerStep::Kind;
  constexpr std::size_t kUseless = std::size_t{1} << 32;
  std::size_t shrinkage = 1;
  for (const NormalizerStep& step : steps) {
    if (step.kind == Kind::kReplace) {
      if (step.content.empty()) return std::nullopt;
      shrinkage *= (step.pattern.size() + step.content.size() - 1) / step.content.size();
    } else if (step.kind == Kind::kNfc || step.kind == Kind::kNfkc) {
      // Characters become one at most 4 by 4 bytes in a row (three jamo, base and two marks and the
      // like); a compatibility character of 4 bytes may become an ASCII letter.
      shrinkage *= 16;
    } else if (step.kind == Kind::kLowercase) {
      shrinkage *= 4;
    }
    if (shrinkage >= kUseless) return std::nullopt;
  }
  return shrinkage;
}

SpecialTokens UserDefined(const ModelDefinition& model) {
  std::vector<SpecialToken> tokens;
  for (const TokenDefinition& token : model.user_defined) tokens.push_back({token.bytes, token.id});
  return SpecialTokens(std::move(tokens));
}

}  // namespace

Encoding::Encoding(std::string name, Pattern pattern, Vocabulary vocabulary,
                   SpecialTokens special_tokens, std::vector<NormalizerStep> normalizer)
    : name_(std::move(name)),
      normalizer_steps_(std::move(normalizer)),
      normalizer_(normalizer_steps_),
      pre_tokenizer_(pattern),
      vocabulary_(std::move(vocabulary)),
      special_tokens_(std::move(special_tokens)) {
  Finish();
}

Encoding::Encoding(const EncodingDefinition& definition, bool allow_regex)
    : name_(CheckDefinition(definition).name),
      normalizer_steps_(definition.normalizer),
      normalizer_(normalizer_steps_),
      pre_tokenizer_(definition.pre_tokenizer, allow_regex),
      vocabulary_(Vocabulary::FromModel(CanonicalModel(definition.model))),
      user_defined_(UserDefined(definition.model)),
      special_tokens_(definition.special_tokens),
      decoder_(definition.decoder),
      post_processor_(definition.post_processor) {
  Finish();
}

void Encoding::Finish() {
  by_id_ = special_tokens_.tokens();
  std::stable_sort(by_id_.begin(), by_id_.end(),
                   [](const auto& a, const auto& b) { return a.id < b.id; });
  max_token_id_ = vocabulary_.max_id();
  for (const auto& token : by_id_) {
    if (token.id > INT32_MAX) {
      throw LoadError(StrCat("special token ", token.spelling, " has id ", token.id,
                             ", the limit is ", INT32_MAX));
    }
    const std::string_view ordinary = vocabulary_.Bytes(vocabulary_.RankOf(token.id));
    if (!ordinary.empty() && (token.special || ordinary != token.spelling)) {
      throw LoadError(StrCat("special token ", token.spelling, " has the id ", token.id,
                             " of an ordinary token"));
    }
    max_token_id_ = std::max(max_token_id_, token.id);
  }
  for (const auto* const ids : {&post_processor_.before, &post_processor_.after}) {
    for (const TokenId id : *ids) {
      if (FindSpecialToken(id) == nullptr && TokenBytes(id).empty()) {
        throw LoadError(StrCat("the post-processor adds id ", id, ", which is no token"));
      }
    }
  }
  if (decoder_.metaspace) MakeTokenTexts();
  const auto shrinkage = MaxShrinkage(normalizer_steps_);
  if (shrinkage && !pre_tokenizer_.removes_text()) {
    max_text_bytes_ = *shrinkage * std::max({std::size_t{1}, vocabulary_.max_token_bytes(),
                                             user_defined_.max_spelling_bytes()});
  }
}

void Encoding::MakeTokenTexts() {
  constexpr std::string_view kMetaspace = "\u2581";
  std::size_t size_bytes = 0;
  for (Rank rank = 0; rank < vocabulary_.num_ranks(); ++rank) {
    size_bytes += vocabulary_.Bytes(rank).size();
  }
  texts_.reserve(size_bytes);  // so that the views stay where they are
  for (Rank rank = 0; rank < vocabulary_.num_ranks(); ++rank) {
    const std::size_t begin = texts_.size();
    std::string_view rest = vocabulary_.Bytes(rank);
    for (std::size_t at; (at = rest.find(kMetaspace)) != std::string_view::npos;) {
      texts_.append(rest.substr(0, at)).push_back(' ');
      rest.remove_prefix(at + kMetaspace.size());
    }
    texts_.append(rest);
    text_of_.push_back(std::string_view(texts_).substr(begin));
  }
}

const SpecialToken* Encoding::FindSpecialToken(TokenId id) const noexcept {
  const auto found = std::partition_point(by_id_.begin(), by_id_.end(),
                                          [id](const auto& token) { return token.id < id; });
  return found == by_id_.end() || found->id != id ? nullptr : &*found;
}

TokenId Encoding::EncodeSingleToken(std::string_view bytes) const {
  if (!bytes.empty()) {
    const Rank rank = vocabulary_.Find(bytes);
    if (rank != kNoToken) return vocabulary_.IdOf(rank);
  }
  if (const auto id = special_tokens_.IdOf(bytes)) return *id;
  throw UnknownTokenError(
      StrCat("encoding ", name_, " has no token of exactly these ", bytes.size(), " bytes"));
}

}  // namespace ctx::tokenize
