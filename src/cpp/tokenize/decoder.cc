#include "tokenize/decoder.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

/// Empty when there is no such token; no token is empty.
std::string_view BytesOrEmpty(const Encoding& encoding, TokenId id) noexcept {
  const std::string_view ordinary = encoding.TokenBytes(id);
  if (!ordinary.empty()) return ordinary;
  const SpecialToken* const special = encoding.FindSpecialToken(id);
  return special == nullptr ? std::string_view() : std::string_view(special->spelling);
}

bool IsAscii(std::string_view text) noexcept { return SkipAscii(text, 0) == text.size(); }

}  // namespace

std::string_view TokenBytes(const Encoding& encoding, TokenId id) {
  const std::string_view bytes = BytesOrEmpty(encoding, id);
  if (bytes.empty()) {
    throw UnknownTokenError(StrCat("encoding ", encoding.name(), " has no token ", id));
  }
  return bytes;
}

std::string_view TextOfToken(const Encoding& encoding, std::span<const TokenId> ids, std::size_t i,
                             bool is_first, bool skip_special_tokens) {
  std::string_view bytes = encoding.TokenBytes(ids[i]);
  const SpecialToken* const special = encoding.FindSpecialToken(ids[i]);
  if (special != nullptr) {
    if (skip_special_tokens && special->special) return {};
    bytes = special->spelling;
  }
  if (bytes.empty()) {
    throw UnknownTokenError(
        StrCat("encoding ", encoding.name(), " has no token ", ids[i], ", at index ", i));
  }
  if (is_first && encoding.strips_leading_space() && bytes.front() == ' ') bytes.remove_prefix(1);
  return bytes;
}

Decoder::Decoder(const Encoding& encoding) : encoding_(encoding) {
  const Vocabulary& vocabulary = encoding.vocabulary();
  for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    if (vocabulary.Bytes(rank).empty()) continue;
    const TokenId id = vocabulary.IdOf(rank);
    const std::string_view text = encoding.TokenBytes(id);
    if (text.size() > kSlotBytes || text.empty()) continue;
    if (id >= short_.size()) {
      const std::size_t size = std::max<std::size_t>(id + 1, vocabulary.num_ranks());
      short_.resize(size);
      slots_.resize(size);
    }
    short_[id] = static_cast<std::uint8_t>(text.size() | (IsAscii(text) ? 0 : kNotAscii));
    std::copy(text.begin(), text.end(), slots_[id].begin());
  }
  for (const SpecialToken& token : encoding.special_tokens_by_id()) {
    if (token.id < short_.size()) short_[token.id] = 0;
  }
}

std::string_view Decoder::SlowText(std::span<const TokenId> ids, std::size_t i, bool skip) const {
  return TextOfToken(encoding_, ids, i, /*is_first=*/false, skip);
}

/// Of an encoding that strips a leading space: the index of the token that loses one, or the end.
std::size_t Decoder::FirstWithText(std::span<const TokenId> ids, bool skip) const {
  if (!encoding_.strips_leading_space()) return ids.size();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string_view text = SlowText(ids, i, skip);
    if (!text.empty()) return text.front() == ' ' ? i : ids.size();
  }
  return ids.size();
}

Decoder::Size Decoder::SizeOf(std::span<const TokenId> ids, bool skip_special_tokens) const {
  constexpr std::size_t kStep = 8;
  std::size_t num_bytes = 0;
  std::uint8_t seen = 0;
  const auto length_of = [&](std::size_t i) -> std::uint8_t {
    return ids[i] < short_.size() ? short_[ids[i]] : 0;
  };
  for (std::size_t begin = 0; begin < ids.size(); begin += kStep) {
    const std::size_t end = std::min(begin + kStep, ids.size());
    bool all_short = true;
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint8_t length = length_of(i);
      all_short &= length != 0;
      seen |= length;
      num_bytes += length & ~kNotAscii;
    }
    if (all_short) [[likely]]
      continue;
    for (std::size_t i = begin; i < end; ++i) {
      if (length_of(i) != 0) continue;
      const std::string_view text = SlowText(ids, i, skip_special_tokens);
      num_bytes += text.size();
      if (!IsAscii(text)) seen |= kNotAscii;
    }
  }
  if (FirstWithText(ids, skip_special_tokens) != ids.size()) num_bytes -= 1;
  return {num_bytes, (seen & kNotAscii) == 0};
}

void Decoder::Write(std::span<const TokenId> ids, bool skip_special_tokens, char* to,
                    std::size_t num_bytes) const {
  const char* const end = to + num_bytes;
  const std::size_t stripped = FirstWithText(ids, skip_special_tokens);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint8_t length = ids[i] < short_.size() ? short_[ids[i]] & ~kNotAscii : 0;
    if (length != 0 && static_cast<std::size_t>(end - to) >= kSlotBytes && i != stripped)
        [[likely]] {
      std::memcpy(to, slots_[ids[i]].data(), kSlotBytes);
      to += length;
      continue;
    }
    std::string_view text = SlowText(ids, i, skip_special_tokens);
    if (i == stripped) text.remove_prefix(1);
    to = std::copy(text.begin(), text.end(), to);
  }
}

std::string Decoder::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string text(SizeOf(ids, skip_special_tokens).num_bytes, '\0');
  Write(ids, skip_special_tokens, text.data(), text.size());
  return text;
}

std::vector<std::string_view> SortedTokenBytes(const Encoding& encoding) {
  const Vocabulary& vocabulary = encoding.vocabulary();
  std::vector<std::string_view> tokens;
  tokens.reserve(vocabulary.num_tokens());
  for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    const std::string_view bytes = vocabulary.Bytes(rank);
    if (!bytes.empty()) tokens.push_back(bytes);
  }
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

}  // namespace ctx::tokenize
