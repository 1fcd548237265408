// What an encoding is: its fingerprint, and the definition that makes another one like it.
#include <array>
#include <bit>
#include <cstring>

#include "tokenize/encoding.h"

namespace ctx::tokenize {
namespace {

/// 128 bits over everything that decides the ids, two independent 64-bit lanes.
class Fingerprint {
 public:
  void Number(std::uint64_t value) noexcept {
    for (std::size_t i = 0; i < 2; ++i) {
      const auto product = static_cast<unsigned __int128>(lanes_[i] ^ value) * kMultipliers[i];
      lanes_[i] = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
      lanes_[i] += kMultipliers[1 - i];  // so that a lane never sticks at 0
    }
  }
  void Bytes(std::string_view bytes) noexcept {
    Number(bytes.size());
    std::size_t at = 0;
    for (; bytes.size() - at >= 8; at += 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data() + at, sizeof word);
      if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
      Number(word);
    }
    if (at < bytes.size()) {
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < bytes.size() - at; ++i) {
        word |= std::uint64_t{static_cast<unsigned char>(bytes[at + i])} << 8 * i;
      }
      Number(word);
    }
  }
  std::string Hex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (const std::uint64_t lane : lanes_) {
      for (int shift = 60; shift >= 0; shift -= 4) hex += kDigits[lane >> shift & 15];
    }
    return hex;
  }

 private:
  // Odd numbers of no structure: the fractions of the golden ratio and of the square root of 2.
  static constexpr std::array<std::uint64_t, 2> kMultipliers = {0x9E3779B97F4A7C15,
                                                                0x6A09E667F3BCC909};
  std::array<std::uint64_t, 2> lanes_ = kMultipliers;
};

void Add(Fingerprint& fingerprint, const NormalizerStep& step) {
  fingerprint.Number(static_cast<std::uint64_t>(step.kind));
  fingerprint.Bytes(step.pattern);
  fingerprint.Bytes(step.content);
}

void Add(Fingerprint& fingerprint, const PreTokenizerStep& step) {
  fingerprint.Number(static_cast<std::uint64_t>(step.kind));
  fingerprint.Number(static_cast<std::uint64_t>(step.behavior));
  fingerprint.Number(step.invert);
  fingerprint.Number(static_cast<std::uint64_t>(step.flavor));
  fingerprint.Bytes(step.pattern);
}

}  // namespace

const std::string& Encoding::fingerprint() const {
  std::call_once(fingerprint_made_, [this] { fingerprint_ = MakeFingerprint(); });
  return fingerprint_;
}

std::string Encoding::MakeFingerprint() const {
  Fingerprint fingerprint;
  fingerprint.Number(normalizer_steps_.size());
  for (const NormalizerStep& step : normalizer_steps_) Add(fingerprint, step);
  if (const auto pattern = pre_tokenizer_.pattern()) {
    fingerprint.Number(static_cast<std::uint64_t>(*pattern));
  } else {
    fingerprint.Number(~pre_tokenizer_.steps().size());
    for (const PreTokenizerStep& step : pre_tokenizer_.steps()) Add(fingerprint, step);
  }
  fingerprint.Number(static_cast<std::uint64_t>(vocabulary_.symbols()));
  fingerprint.Number(decoder_.metaspace);
  fingerprint.Number(decoder_.strip_leading_space);
  const auto add_rank = [&](Rank rank) {
    const std::string_view bytes = vocabulary_.Bytes(rank);
    if (bytes.empty()) return;
    fingerprint.Number(vocabulary_.IdOf(rank));
    fingerprint.Bytes(bytes);
  };
  fingerprint.Number(vocabulary_.has_equals());
  for (Rank rank = 0; rank < vocabulary_.num_merged(); ++rank) {
    add_rank(rank);
    if (vocabulary_.has_equals()) fingerprint.Number(vocabulary_.PriorityOf(rank));
  }
  // What is found in text and what is only decoded must not be taken for each other.
  for (auto rank = static_cast<Rank>(vocabulary_.num_merged()); rank < vocabulary_.num_ranks();
       ++rank) {
    fingerprint.Number(rank < vocabulary_.num_findable());
    add_rank(rank);
  }
  for (const auto& token : user_defined_.tokens()) {
    fingerprint.Number(~std::uint64_t{token.id});
    fingerprint.Bytes(token.spelling);
  }
  for (const auto& token : by_id_) {
    fingerprint.Number(token.id);
    fingerprint.Bytes(token.spelling);
    fingerprint.Number(token.single_word | token.lstrip << 1 | token.rstrip << 2 |
                       token.special << 3);
  }
  for (const auto* const ids : {&post_processor_.before, &post_processor_.after}) {
    fingerprint.Number(ids->size());
    for (const TokenId id : *ids) fingerprint.Number(id);
  }
  return fingerprint.Hex();
}

EncodingDefinition Encoding::Definition() const {
  EncodingDefinition definition;
  definition.name = name_;
  definition.normalizer = normalizer_steps_;
  definition.pre_tokenizer = pre_tokenizer_.steps();
  definition.special_tokens = special_tokens_.tokens();
  definition.decoder = decoder_;
  definition.post_processor = post_processor_;
  ModelDefinition& model = definition.model;
  model.symbols = vocabulary_.symbols();
  const bool has_fallback = model.symbols == Vocabulary::Symbols::kCharacters;
  const Rank first_byte = has_fallback ? vocabulary_.ByteToken(0) : kNoToken;
  for (Rank rank = 0; rank < vocabulary_.num_ranks(); ++rank) {
    const std::string_view bytes = vocabulary_.Bytes(rank);
    if (bytes.empty()) continue;
    const TokenId id = vocabulary_.IdOf(rank);
    if (rank >= first_byte) {
      model.byte_ids.push_back(id);
    } else if (user_defined_.IdOf(bytes) == id) {
      model.user_defined.push_back({std::string(bytes), id});
    } else if (rank >= vocabulary_.num_findable()) {
      model.unused_tokens.push_back({std::string(bytes), id});
    } else if (rank >= vocabulary_.num_merged()) {
      model.whole_tokens.push_back({std::string(bytes), id});
    } else {
      if (vocabulary_.has_equals()) model.ranks.push_back(vocabulary_.PriorityOf(rank));
      model.tokens.push_back({std::string(bytes), id});
    }
  }
  return definition;
}

}  // namespace ctx::tokenize
