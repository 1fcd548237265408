#include "tokenize/decoder.h"

#include <algorithm>
#include <cstring>
#include <utility>

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

void Decoder::Slot::Set(std::string_view text) noexcept {
  kind = IsAscii(text) ? 0 : kNotAscii;
  if (text.size() <= kMaxShort) {
    std::copy(text.begin(), text.end(), bytes.begin());
    kind |= static_cast<std::uint8_t>(text.size());
  } else {
    static_assert(sizeof text <= kMaxShort + 1);
    const char* const data = text.data();
    const auto size = static_cast<std::uint32_t>(text.size());
    std::memcpy(bytes.data(), &data, sizeof data);
    std::memcpy(bytes.data() + sizeof data, &size, sizeof size);
    kind |= kLong;
  }
}

std::string_view Decoder::Slot::LongText() const noexcept {
  const char* data;
  std::uint32_t size;
  std::memcpy(&data, bytes.data(), sizeof data);
  std::memcpy(&size, bytes.data() + sizeof data, sizeof size);
  return {data, size};
}

Decoder::Decoder(const Encoding& encoding) : encoding_(encoding) {
  const Vocabulary& vocabulary = encoding.vocabulary();
  for (Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    if (vocabulary.Bytes(rank).empty()) continue;
    const TokenId id = vocabulary.IdOf(rank);
    const std::string_view text = encoding.TokenBytes(id);
    if (text.empty()) continue;
    if (id >= slots_.size()) slots_.resize(std::max<std::size_t>(id + 1, vocabulary.num_ranks()));
    slots_[id].Set(text);
  }
  for (const SpecialToken& token : encoding.special_tokens_by_id()) {
    if (token.id < slots_.size()) slots_[token.id] = {};
  }
}

/// The text of a token that is not short.
std::string_view Decoder::Find(std::span<const TokenId> ids, std::size_t i, bool skip,
                               bool& is_ascii) const {
  const TokenId id = ids[i];
  if (id < slots_.size() && (slots_[id].kind & Slot::kLong) != 0) {
    is_ascii &= (slots_[id].kind & Slot::kNotAscii) == 0;
    return slots_[id].LongText();
  }
  const std::string_view text = TextOfToken(encoding_, ids, i, /*is_first=*/false, skip);
  is_ascii &= IsAscii(text);
  return text;
}

/// The index of the first token that has a text, or the end.
std::size_t Decoder::FirstWithText(std::span<const TokenId> ids, bool skip) const {
  std::size_t i = 0;
  while (i < ids.size() && TextOfToken(encoding_, ids, i, /*is_first=*/false, skip).empty()) ++i;
  return i;
}

/// About how many bytes the text of these ids has, and a little more.
std::size_t Decoder::Estimate(std::span<const TokenId> ids) const noexcept {
  constexpr std::size_t kSample = 64;
  const auto sample = ids.first(std::min(ids.size(), kSample));
  std::size_t num_bytes = 0;
  for (const TokenId id : sample) {
    const unsigned kind = id < slots_.size() ? slots_[id].kind : Slot::kLong;
    num_bytes += (kind & Slot::kLong) != 0 ? 2 * Slot::kMaxShort : kind & Slot::kLength;
  }
  if (ids.size() > kSample) num_bytes = num_bytes * (ids.size() / kSample + 1) / 8 * 9;
  return num_bytes + sizeof(Slot);
}

Decoder::Text Decoder::Write(std::span<const TokenId> ids, bool skip_special_tokens,
                             TextMemory& memory) const {
  std::span<char> room = memory.Grow(Estimate(ids));
  std::size_t num_bytes = 0;
  std::uint8_t seen = 0;
  bool is_ascii = true;
  const auto reserve = [&](std::size_t size) {
    if (room.size() - num_bytes < size + sizeof(Slot)) {
      room = memory.Grow(room.size() + room.size() / 2 + size + sizeof(Slot));
    }
  };
  const auto append = [&](std::string_view text) {
    reserve(text.size());
    std::copy(text.begin(), text.end(), room.data() + num_bytes);
    num_bytes += text.size();
  };
  std::size_t i = 0;
  if (encoding_.strips_leading_space()) {
    i = FirstWithText(ids, skip_special_tokens);
    if (i < ids.size()) {
      std::string_view text = Find(ids, i++, skip_special_tokens, is_ascii);
      if (text.starts_with(' ')) text.remove_prefix(1);
      append(text);
    }
  }
  while (i < ids.size()) {
    // As many short ones as there is room for in any case.
    char* to = room.data() + num_bytes;
    const std::size_t num_safe = (room.size() - num_bytes) / sizeof(Slot);
    const std::size_t end = std::min(ids.size(), i + num_safe);
    for (; i < end; ++i) {
      const TokenId id = ids[i];
      if (id >= slots_.size()) [[unlikely]]
        break;
      const Slot& slot = slots_[id];
      const std::uint8_t kind = slot.kind;
      if ((kind & Slot::kLength) == 0) [[unlikely]]
        break;
      std::memcpy(to, &slot, sizeof slot);
      to += kind & Slot::kLength;
      seen |= kind;
    }
    num_bytes = static_cast<std::size_t>(to - room.data());
    if (i < end) append(Find(ids, i++, skip_special_tokens, is_ascii));
    if (i < ids.size()) reserve(0);
  }
  return {num_bytes, is_ascii && (seen & Slot::kNotAscii) == 0};
}

std::string Decoder::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  struct StringMemory : TextMemory {
    std::span<char> Grow(std::size_t size_bytes) override {
      text.resize(size_bytes);
      return text;
    }
    std::string text;
  };
  StringMemory memory;
  memory.text.resize(Write(ids, skip_special_tokens, memory).num_bytes);
  return std::move(memory.text);
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
