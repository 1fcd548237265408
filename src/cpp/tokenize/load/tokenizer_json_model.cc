// "model" and "added_tokens" of a tokenizer.json.
//
// The keys of the vocabulary are texts. In a byte-level model each of their characters stands for
// one byte, by the table of GPT-2's encoder.py; otherwise they are text, and <0xHH> is a byte.
#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>

#include "tokenize/load/fallback_byte.h"
#include "tokenize/load/tokenizer_json.h"
#include "tokenize/token_index.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize::load {
namespace {

constexpr char32_t kNumByteCharacters = 256 + 68;  // 68 bytes have no printable character
constexpr std::uint16_t kNoByte = 0x100;

/// The byte that each character below kNumByteCharacters stands for: printable Latin-1 characters
/// for themselves, the other bytes in order for U+0100 and on.
constexpr std::array<std::uint16_t, kNumByteCharacters> kByteOf = [] {
  std::array<std::uint16_t, kNumByteCharacters> bytes{};
  bytes.fill(kNoByte);
  char32_t next = 256;
  for (std::uint16_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    bytes[printable ? byte : next++] = byte;
  }
  return bytes;
}();

CodePoint FirstOf(std::string_view text) {
  return DecodeUtf8(reinterpret_cast<const unsigned char*>(text.data()));
}

/// The bytes that a key of a byte-level vocabulary spells.
std::string BytesOf(const JsonValue::Member& member) {
  std::string bytes;
  for (std::size_t at = 0; at < member.key.size();) {
    const CodePoint character = FirstOf(member.key.substr(at));
    if (character.value >= kNumByteCharacters || kByteOf[character.value] == kNoByte) {
      member.value.Fail("the key has a character that stands for no byte");
    }
    bytes += static_cast<char>(kByteOf[character.value]);
    at += character.size_bytes;
  }
  return bytes;
}

struct AddedToken {
  SpecialTokenDefinition token;
  bool normalized;
  JsonValue json;
};

std::vector<AddedToken> ReadAddedTokens(const JsonValue& root, bool has_normalizer) {
  std::vector<AddedToken> added;
  const auto section = root.FindValue("added_tokens");
  if (!section) return added;
  for (const JsonValue& item : section->Items()) {
    item.RequireKnownKeys(
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken& entry = added.emplace_back(
        AddedToken{.token = {.spelling = std::string(item.At("content").String()),
                             .id = item.At("id").Id(),
                             .special = item.At("special").Boolean(),
                             .single_word = item.At("single_word").Boolean(),
                             .lstrip = item.At("lstrip").Boolean(),
                             .rstrip = item.At("rstrip").Boolean()},
                   .normalized = item.At("normalized").Boolean(),
                   .json = item});
    if (entry.token.spelling.empty()) item.At("content").Fail("is empty");
    if (entry.normalized && has_normalizer) {
      item.At("normalized").Fail("true is not supported beside a normalizer");
    }
  }
  std::vector<const AddedToken*> sorted;
  for (const AddedToken& entry : added) sorted.push_back(&entry);
  const auto require_distinct = [&sorted](auto key, const char* what) {
    std::stable_sort(sorted.begin(), sorted.end(),
                     [key](const auto* a, const auto* b) { return key(*a) < key(*b); });
    const auto twice =
        std::adjacent_find(sorted.begin(), sorted.end(),
                           [key](const auto* a, const auto* b) { return key(*a) == key(*b); });
    if (twice != sorted.end()) {
      (*(twice + 1))->json.Fail("has the same ", what, " as ", (*twice)->json.Path());
    }
  };
  require_distinct([](const AddedToken& a) { return std::string_view(a.token.spelling); },
                   "content");
  require_distinct([](const AddedToken& a) { return a.token.id; }, "id");
  return added;
}

/// Hugging Face cuts out the tokens that are not "normalized" before those that are; we cut out all
/// at once. That is the same unless one of the former begins inside one of the latter, or is its
/// beginning. Throws LoadError where it might be.
void RequireOneOrder(const std::vector<AddedToken>& added) {
  constexpr std::size_t kMaxSpellingBytes = 256;  // bounds the work; published ones have some 30
  std::unordered_set<std::string_view> first;     // cut out first
  std::unordered_set<std::string_view> beginnings;
  bool first_has_single_word = false;
  for (const AddedToken& entry : added) {
    if (entry.normalized) continue;
    first.insert(entry.token.spelling);
    first_has_single_word |= entry.token.single_word;
  }
  if (first.empty() || first.size() == added.size()) return;
  for (const std::string_view spelling : first) {
    if (spelling.size() > kMaxSpellingBytes) continue;
    for (std::size_t n = 1; n <= spelling.size(); ++n) beginnings.insert(spelling.substr(0, n));
  }
  for (const AddedToken& entry : added) {
    if (!entry.normalized) continue;
    const std::string_view spelling = entry.token.spelling;
    bool overlaps = spelling.size() > kMaxSpellingBytes || entry.token.single_word ||
                    entry.token.lstrip || entry.token.rstrip || first_has_single_word;
    for (std::size_t from = 0; from < spelling.size() && !overlaps; ++from) {
      const std::string_view rest = spelling.substr(from);
      overlaps = from > 0 && beginnings.contains(rest);
      for (std::size_t n = 1; n <= rest.size() && !overlaps; ++n) {
        overlaps = first.contains(rest.substr(0, n));
      }
    }
    if (overlaps) {
      entry.json.At("normalized")
          .Fail("true is not supported for a token that may overlap one where it is false");
    }
  }
}

class ModelReader {
 public:
  ModelReader(const JsonValue& root, bool byte_level, bool has_normalizer)
      : json_(root.At("model")),
        byte_level_(byte_level),
        added_(ReadAddedTokens(root, has_normalizer)) {}

  ModelParts Run() {
    ReadSettings();
    RequireOneOrder(added_);
    ReadVocabulary();
    const TokenIndex keys(keys_);
    if (const auto [a, b] = keys.SameId(); a != nullptr) {
      json_.At("vocab").Fail("the id ", a->id, " is given to ", Quoted(a->bytes), " and to ",
                             Quoted(b->bytes));
    }
    ReadMerges(keys);
    PlaceAddedTokens(keys);
    PlaceTokens();
    return std::move(parts_);
  }

 private:
  void ReadSettings() {
    json_.RequireKnownKeys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                            "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges",
                            "vocab", "merges"});
    if (json_.At("type").String() != "BPE") FailUnsupported(json_);
    if (const auto dropout = json_.FindValue("dropout"); dropout && dropout->Number() != 0) {
      dropout->Fail("must be null: it makes the ids random");
    }
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto affix = json_.FindValue(key);
      if (affix && !affix->String().empty()) affix->Fail("is not supported");
    }
    // Every byte turns out to be encodable, so unk_token and fuse_unk never come to play.
    json_.StringOr("unk_token", "");
    json_.BooleanOr("fuse_unk", false);
    parts_.model.merge_rule = ModelDefinition::MergeRule::kPairs;
    parts_.model.whole_first = json_.BooleanOr("ignore_merges", false);
    if (byte_level_) {
      json_.BooleanOr("byte_fallback", false);
      return;
    }
    parts_.model.symbols = ModelDefinition::Symbols::kCharacters;
    if (!json_.BooleanOr("byte_fallback", false)) {
      json_.Fail("byte_fallback must be true, or the last pre-tokenizer ByteLevel");
    }
    if (parts_.model.whole_first) {
      json_.At("ignore_merges").Fail("true is not supported beside byte_fallback");
    }
  }

  void ReadVocabulary() {
    vocab_ = json_.At("vocab").Members();
    keys_.reserve(vocab_.size());
    for (const JsonValue::Member& member : vocab_) {
      keys_.push_back({std::string(member.key), member.value.Id()});
    }
    is_merged_.assign(vocab_.size(), false);
  }

  std::size_t IndexOf(const TokenDefinition* key) const {
    return static_cast<std::size_t>(key - keys_.data());
  }

  void ReadMerges(const TokenIndex& keys) {
    std::string joined;
    const auto part = [&](const JsonValue& merge, std::string_view text) {
      const TokenDefinition* const key = keys.FindBytes(text);
      if (key == nullptr) merge.Fail(Quoted(text), " is not in the vocabulary");
      return key;
    };
    for (const JsonValue& merge : json_.At("merges").Items()) {
      std::string_view left, right;
      if (merge.IsString()) {
        const std::string_view text = merge.String();
        const std::size_t space = text.find(' ');
        if (space == text.npos || text.find(' ', space + 1) != text.npos) {
          merge.Fail("must be two tokens with one space between");
        }
        left = text.substr(0, space);
        right = text.substr(space + 1);
        if (text.starts_with("#version")) merge.Fail("\"#version\" is not supported");
      } else {
        const std::vector<JsonValue> items = merge.Items();
        if (items.size() != 2) merge.Fail("must be two tokens");
        left = items[0].String();
        right = items[1].String();
      }
      joined.assign(left).append(right);
      const TokenDefinition* const left_key = part(merge, left);
      const TokenDefinition* const right_key = part(merge, right);
      is_merged_[IndexOf(part(merge, joined))] = true;
      merges_.push_back({left_key, right_key, merge});
    }
  }

  /// Whether merging can give this token: it is a symbol to begin with, or a merge gives it.
  bool IsReachable(std::size_t index) const {
    return is_merged_[index] || FirstOf(keys_[index].bytes).size_bytes == keys_[index].bytes.size();
  }

  void PlaceAddedTokens(const TokenIndex& keys) {
    is_dropped_.assign(vocab_.size(), false);
    for (AddedToken& entry : added_) {
      const TokenDefinition* const key = keys.FindBytes(entry.token.spelling);
      if (key != nullptr && key->id != entry.token.id) {
        entry.json.At("id").Fail("but model.vocab gives this token the id ", key->id);
      }
      if (key == nullptr && keys.FindId(entry.token.id) != nullptr) {
        entry.json.At("id").Fail("is that of another token in model.vocab");
      }
      if (key != nullptr && !IsReachable(IndexOf(key))) {
        is_dropped_[IndexOf(key)] = true;
      } else if (key != nullptr && entry.token.special) {
        entry.json.Fail("merging can give this control token for ordinary text");
      }
      parts_.special_tokens.push_back(std::move(entry.token));
    }
  }

  void PlaceTokens() {
    ModelDefinition& model = parts_.model;
    constexpr TokenId kNone = kMaxTokenId + 1;
    if (!byte_level_) model.byte_ids.assign(256, kNone);
    for (std::size_t i = 0; i < vocab_.size(); ++i) {
      if (is_dropped_[i]) continue;
      const auto byte = byte_level_ ? std::nullopt : FallbackByteOf(vocab_[i].key);
      if (byte) {
        if (is_merged_[i]) vocab_[i].value.Fail("merging can give this byte for ordinary text");
        is_dropped_[i] = true;
        model.byte_ids[*byte] = keys_[i].id;
      } else {
        model.tokens.push_back(
            {byte_level_ ? BytesOf(vocab_[i]) : std::string(vocab_[i].key), keys_[i].id});
      }
    }
    for (std::size_t byte = 0; byte < model.byte_ids.size(); ++byte) {
      if (model.byte_ids[byte] == kNone) json_.At("vocab").Fail("has no token for byte ", byte);
    }
    for (const Merge& merge : merges_) {
      if (is_dropped_[IndexOf(merge.left)] || is_dropped_[IndexOf(merge.right)]) {
        merge.json.Fail("a part is a control token or a byte");
      }
      model.merges.emplace_back(merge.left->id, merge.right->id);
    }
  }

  struct Merge {
    const TokenDefinition* left;  // of keys_
    const TokenDefinition* right;
    JsonValue json;
  };

  JsonValue json_;
  bool byte_level_;
  std::vector<AddedToken> added_;
  std::vector<JsonValue::Member> vocab_;
  std::vector<TokenDefinition> keys_;  // the vocabulary as it stands in the file
  std::vector<bool> is_merged_;        // by place in keys_
  std::vector<bool> is_dropped_;       // likewise: no ordinary token
  std::vector<Merge> merges_;
  ModelParts parts_;
};

}  // namespace

ModelParts ReadModel(const JsonValue& root, bool byte_level, bool has_normalizer) {
  return ModelReader(root, byte_level, has_normalizer).Run();
}

}  // namespace ctx::tokenize::load
