#include "tokenize/check_definition.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenize/bpe/byte_table.h"
#include "tokenize/load/messages.h"
#include "tokenize/token_index.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

using load::Quoted;
using MergeRule = ModelDefinition::MergeRule;
using Symbols = ModelDefinition::Symbols;

bool IsUtf8(std::string_view text) { return ValidUtf8Prefix(text) == text.size(); }

template <typename... Args>
[[noreturn]] void Fail(const Args&... message) {
  throw LoadError(StrCat(message...));
}

void CheckUtf8(std::string_view text, const char* what) {
  if (!IsUtf8(text)) Fail(what, " is not valid UTF-8");
}

static_assert(kMaxTokenBytes <= ByteTable::kMaxKeyBytes);

class Checker {
 public:
  explicit Checker(const EncodingDefinition& definition)
      : definition_(definition),
        model_(definition.model),
        tokens_({model_.tokens, model_.whole_tokens, model_.unused_tokens}) {}

  void Run() const {
    CheckSteps();
    CheckTokens();
    CheckBytes();
    CheckUserDefined();
    CheckMerges();
    CheckSpecialTokens();
    CheckPostProcessor();
  }

 private:
  void CheckSteps() const {
    for (const NormalizerStep& step : definition_.normalizer) {
      using Kind = NormalizerStep::Kind;
      CheckUtf8(step.pattern, "a normalizer's pattern");
      CheckUtf8(step.content, "a normalizer's content");
      if ((step.kind == Kind::kReplace) != !step.pattern.empty()) {
        Fail("a normalizer must have a pattern if it replaces, and only then");
      }
      const bool has_content =
          step.kind != Kind::kNfc && step.kind != Kind::kNfkc && step.kind != Kind::kLowercase;
      if (!has_content && !step.content.empty()) Fail("a normalizer has content it cannot use");
    }
    for (const PreTokenizerStep& step : definition_.pre_tokenizer) {
      using Kind = PreTokenizerStep::Kind;
      CheckUtf8(step.pattern, "a pre-tokenizer's pattern");
      const bool has_pattern = step.kind == Kind::kRegex || step.kind == Kind::kLiteral;
      if (has_pattern != !step.pattern.empty()) {
        Fail("a pre-tokenizer must have a pattern if it splits by one, and only then");
      }
    }
  }

  void CheckTokens() const {
    for (const auto* const group : {&model_.tokens, &model_.whole_tokens, &model_.unused_tokens}) {
      for (const TokenDefinition& token : *group) CheckToken(token);
    }
    if (const auto [a, b] = tokens_.SameBytes(); a != nullptr) {
      Fail("tokens ", a->id, " and ", b->id, " are both ", Quoted(a->bytes));
    }
    if (const auto [a, b] = tokens_.SameId(); a != nullptr) {
      Fail("tokens ", Quoted(a->bytes), " and ", Quoted(b->bytes), " both have the id ", a->id);
    }
    const bool is_canonical = model_.merge_rule == MergeRule::kRanks && model_.whole_first;
    const bool is_sorted_out = !model_.whole_tokens.empty() || !model_.unused_tokens.empty();
    if (is_sorted_out && !is_canonical) Fail("whole and unused tokens are for canonical models");
    // A text that is one pre-token grows by merging on, without a look at the whole of it.
    const bool finds_whole = !is_canonical && model_.whole_first;
    if (model_.symbols == Symbols::kCharacters && (finds_whole || !model_.whole_tokens.empty())) {
      Fail("tokens that are found whole are for models over bytes");
    }
    if (model_.ranks.empty()) return;
    if (model_.merge_rule != MergeRule::kRanks || model_.ranks.size() != model_.tokens.size() ||
        !std::is_sorted(model_.ranks.begin(), model_.ranks.end())) {
      Fail("ranks must ascend, one for each token, and merging must go by them");
    }
  }

  void CheckToken(const TokenDefinition& token) const {
    if (token.bytes.empty()) Fail("token ", token.id, " is empty");
    if (token.bytes.size() > kMaxTokenBytes) {
      Fail("token ", token.id, " is longer than ", kMaxTokenBytes, " bytes");
    }
    if (model_.symbols == Symbols::kCharacters && !IsUtf8(token.bytes)) {
      Fail("token ", token.id, " is not valid UTF-8");
    }
  }

  void CheckBytes() const {
    if (model_.symbols == Symbols::kBytes) {
      if (!model_.byte_ids.empty()) Fail("byte ids are for models over characters");
      for (int byte = 0; byte < 256; ++byte) {
        const char text = static_cast<char>(byte);
        if (tokens_.FindBytes({&text, 1}) == nullptr) {
          Fail("there is no token for the single byte ", Quoted({&text, 1}));
        }
      }
      return;
    }
    if (model_.byte_ids.size() != 256) Fail("there must be 256 byte ids");
    std::vector<TokenId> sorted = model_.byte_ids;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      Fail("two bytes have the same id");
    }
    for (const TokenId id : sorted) {
      if (tokens_.FindId(id) != nullptr) Fail("id ", id, " is a byte's and a token's");
    }
  }

  void CheckUserDefined() const {
    if (model_.user_defined.empty()) return;
    if (model_.symbols != Symbols::kCharacters) {
      Fail("user-defined symbols are for models over characters");
    }
    const TokenIndex index(model_.user_defined);
    if (const auto [a, b] = index.SameBytes(); a != nullptr) {
      Fail("user-defined symbols ", a->id, " and ", b->id, " are both ", Quoted(a->bytes));
    }
    if (index.SameId().first != nullptr) {
      Fail("two user-defined symbols have the id ", index.SameId().first->id);
    }
    for (const TokenDefinition& symbol : model_.user_defined) {
      if (symbol.bytes.empty() || symbol.bytes.size() > kMaxTokenBytes || !IsUtf8(symbol.bytes)) {
        Fail("user-defined symbol ", symbol.id, " is empty, too long or not valid UTF-8");
      }
      if (tokens_.FindBytes(symbol.bytes) != nullptr || IsOrdinary(symbol.id)) {
        Fail("user-defined symbol ", symbol.id, " is also an ordinary token");
      }
    }
  }

  void CheckMerges() const {
    if (model_.merge_rule == MergeRule::kRanks) {
      if (!model_.merges.empty()) Fail("merges are for models that merge by them");
      return;
    }
    std::string joined;
    for (std::size_t i = 0; i < model_.merges.size(); ++i) {
      const TokenDefinition* const left = tokens_.FindId(model_.merges[i].first);
      const TokenDefinition* const right = tokens_.FindId(model_.merges[i].second);
      if (left == nullptr || right == nullptr) Fail("merge ", i, ": a part is no token");
      joined = left->bytes + right->bytes;
      if (tokens_.FindBytes(joined) == nullptr) Fail("merge ", i, ": what it gives is no token");
    }
    std::vector<std::pair<TokenId, TokenId>> sorted = model_.merges;
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
      Fail("the merge of ", twice->first, " and ", twice->second, " is there twice");
    }
  }

  bool IsByteId(TokenId id) const {
    return std::find(model_.byte_ids.begin(), model_.byte_ids.end(), id) != model_.byte_ids.end();
  }

  /// Whether the id is that of an ordinary token or of a byte.
  bool IsOrdinary(TokenId id) const { return tokens_.FindId(id) != nullptr || IsByteId(id); }

  void CheckSpecialTokens() const {
    std::vector<TokenId> user_defined;
    for (const TokenDefinition& symbol : model_.user_defined) user_defined.push_back(symbol.id);
    std::sort(user_defined.begin(), user_defined.end());
    std::vector<std::string_view> spellings;
    for (const SpecialTokenDefinition& token : definition_.special_tokens) {
      if (token.spelling.empty()) Fail("special token ", token.id, " has an empty spelling");
      if (token.spelling.size() > kMaxTokenBytes) {
        Fail("special token ", token.id, " is longer than ", kMaxTokenBytes, " bytes");
      }
      CheckUtf8(token.spelling, "the spelling of a special token");
      spellings.push_back(token.spelling);
      if (token.id > kMaxTokenId) {
        Fail("special token ", Quoted(token.spelling), ": id ", token.id, " is not below 2^31");
      }
      const TokenDefinition* const ordinary = tokens_.FindId(token.id);
      const bool same = ordinary != nullptr && !token.special && ordinary->bytes == token.spelling;
      if ((ordinary != nullptr && !same) || IsByteId(token.id) ||
          std::binary_search(user_defined.begin(), user_defined.end(), token.id)) {
        Fail("special token ", Quoted(token.spelling), ": id ", token.id,
             " is also that of an ordinary token");
      }
    }
    std::sort(spellings.begin(), spellings.end());
    const auto twice = std::adjacent_find(spellings.begin(), spellings.end());
    if (twice != spellings.end()) Fail("special token ", Quoted(*twice), " is there twice");
  }

  void CheckPostProcessor() const {
    std::vector<TokenId> special;
    for (const SpecialTokenDefinition& token : definition_.special_tokens) {
      special.push_back(token.id);
    }
    std::sort(special.begin(), special.end());
    for (const auto* ids :
         {&definition_.post_processor.before, &definition_.post_processor.after}) {
      for (const TokenId id : *ids) {
        if (!IsOrdinary(id) && !std::binary_search(special.begin(), special.end(), id)) {
          Fail("the post-processor adds the id ", id, ", which no token has");
        }
      }
    }
  }

  const EncodingDefinition& definition_;
  const ModelDefinition& model_;
  const TokenIndex tokens_;
};

}  // namespace

const EncodingDefinition& CheckDefinition(const EncodingDefinition& definition) {
  Checker(definition).Run();
  return definition;
}

}  // namespace ctx::tokenize
