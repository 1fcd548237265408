#include "tokenize/decode_stream.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/decoder.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// How many bytes a character has that begins with this byte; 0 when none does.
std::size_t SizeOfCharacter(unsigned char lead) noexcept {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

/// Whether `byte` may follow these bytes, which begin a character (RFC 3629, section 4).
bool Continues(std::span<const char> begun, unsigned char byte) noexcept {
  if ((byte & 0xC0) != 0x80) return false;
  if (begun.size() > 1) return true;
  switch (static_cast<unsigned char>(begun[0])) {
    case 0xE0:  // overlong below U+0800
      return byte >= 0xA0;
    case 0xED:  // surrogates from U+D800 on
      return byte < 0xA0;
    case 0xF0:  // overlong below U+10000
      return byte >= 0x90;
    case 0xF4:  // nothing above U+10FFFF
      return byte < 0x90;
    default:
      return true;
  }
}

}  // namespace

StreamDecoder::StreamDecoder(std::shared_ptr<const Encoding> encoding,
                             std::shared_ptr<const StopStrings> stops, bool skip_special_tokens)
    : encoding_(std::move(encoding)),
      stops_(std::move(stops)),
      skip_special_tokens_(skip_special_tokens) {}

void StreamDecoder::Feed(StreamState& state, std::span<const TokenId> ids, std::size_t begin,
                         std::size_t end, std::string& out) const {
  if (state.finished) throw ArgumentError("the stream is finished");
  std::size_t num_bytes = 0;
  for (std::size_t i = begin; i < end; ++i) num_bytes += TextAt(ids, i, /*is_first=*/false).size();
  if (state.stop >= 0) return;
  // From here on nothing throws: a byte becomes three at most.
  const std::size_t size_before = out.size();
  out.reserve(size_before + stops_->Held(state.node).size() +
              kReplacement.size() * (state.num_incomplete + num_bytes));
  for (std::size_t i = begin; i < end && state.stop < 0; ++i) {
    ReadBytes(state, TextAt(ids, i, !state.has_text), out);
    state.has_text = state.has_text || !TextAt(ids, i, /*is_first=*/false).empty();
  }
  state.num_bytes += static_cast<std::int64_t>(out.size() - size_before);
}

void StreamDecoder::Finish(StreamState& state, std::string& out) const {
  if (state.finished) return;
  const std::size_t size_before = out.size();
  out.reserve(size_before + stops_->Held(state.node).size() + kReplacement.size());
  if (state.stop < 0) {
    if (state.num_incomplete > 0) ReadText(state, kReplacement, out);
    out.append(stops_->Held(state.node));
  }
  state.num_incomplete = 0;
  state.node = StopStrings::kRoot;
  state.finished = true;
  state.num_bytes += static_cast<std::int64_t>(out.size() - size_before);
}

std::size_t StreamDecoder::NumHeldChars(const StreamState& state) const noexcept {
  return stops_->NumHeldChars(state.node) + (state.num_incomplete > 0 ? 1 : 0);
}

bool StreamDecoder::IsPossible(const StreamState& state) const noexcept {
  if (state.num_bytes < 0 || !stops_->IsResting(state.node)) return false;
  const bool is_over = state.stop >= 0 || state.finished;
  if (is_over && (state.node != StopStrings::kRoot || state.num_incomplete > 0)) return false;
  if (state.stop < -1 || state.stop >= static_cast<std::int64_t>(stops_->stops().size())) {
    return false;
  }
  if (state.num_incomplete == 0) return true;
  if (state.num_incomplete > state.incomplete.size()) return false;
  const std::span<const char> begun = std::span(state.incomplete).first(state.num_incomplete);
  if (SizeOfCharacter(static_cast<unsigned char>(begun[0])) <= begun.size()) return false;
  for (std::size_t i = 1; i < begun.size(); ++i) {
    if (!Continues(begun.first(i), static_cast<unsigned char>(begun[i]))) return false;
  }
  return true;
}

std::string_view StreamDecoder::TextAt(std::span<const TokenId> ids, std::size_t i,
                                       bool is_first) const {
  return TextOfToken(*encoding_, ids, i, is_first, skip_special_tokens_);
}

void StreamDecoder::ReadBytes(StreamState& state, std::string_view bytes, std::string& out) const {
  while (!bytes.empty() && state.stop < 0) {
    if (state.num_incomplete == 0) {
      const std::size_t num_valid = ValidUtf8Prefix(bytes);
      ReadText(state, bytes.substr(0, num_valid), out);
      bytes.remove_prefix(num_valid);
      if (bytes.empty() || state.stop >= 0) return;
      if (SizeOfCharacter(static_cast<unsigned char>(bytes[0])) == 0) {
        ReadText(state, kReplacement, out);
      } else {
        state.incomplete[state.num_incomplete++] = bytes[0];
      }
      bytes.remove_prefix(1);
      continue;
    }
    const std::span<const char> begun = std::span(state.incomplete).first(state.num_incomplete);
    if (!Continues(begun, static_cast<unsigned char>(bytes[0]))) {
      state.num_incomplete = 0;
      ReadText(state, kReplacement, out);  // the byte itself is looked at again
      continue;
    }
    if (begun.size() + 1 == SizeOfCharacter(static_cast<unsigned char>(begun[0]))) {
      std::array<char, 4> character;
      std::copy(begun.begin(), begun.end(), character.begin());
      character[begun.size()] = bytes[0];
      state.num_incomplete = 0;
      ReadText(state, {character.data(), begun.size() + 1}, out);
    } else {
      state.incomplete[state.num_incomplete++] = bytes[0];
    }
    bytes.remove_prefix(1);
  }
}

void StreamDecoder::ReadText(StreamState& state, std::string_view utf8, std::string& out) const {
  if (state.stop >= 0) return;
  const StopStrings::Result result = stops_->Read(state.node, utf8, out);
  state.node = result.node;
  state.stop = result.stop;
}

}  // namespace ctx::tokenize
