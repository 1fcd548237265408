// Both the prompt with what was sampled and the rendering of all of it are laid out as bytes, with
// the places of the control tokens:
//
//     prompt, one unit        sampled ids         (end)
//     | ................... | ... | .. | ..... | . |
//     | ...................................... | rest, encoded |
//     chunks of the rendering
#include "chat/sampled_ids.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "tokenize/decoder.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::chat {
namespace {

struct Special {
  std::size_t offset;
  TokenId id;
  bool operator==(const Special&) const = default;
};

// Chunks as bytes.
struct Flat {
  std::string text;
  std::vector<Special> specials;        // those that trusted text spells
  std::vector<std::size_t> chunk_ends;  // in bytes
};

Flat FlattenChunks(const tokenize::Encoding& encoding, const Rendered& rendered, std::size_t first,
                   std::size_t last) {
  Flat flat;
  for (std::size_t i = first; i < last; ++i) {
    for (const tokenize::Segment& segment : rendered.SegmentsOf(i)) {
      if (segment.trusted) {
        const tokenize::TextRange all{0, segment.text.size()};
        tokenize::SpecialTokenMatches matches(encoding.special_tokens(), segment.text, {&all, 1});
        while (const auto match = matches.Next()) {
          flat.specials.push_back({flat.text.size() + match->begin, match->id});
        }
      }
      flat.text += segment.text;
    }
    flat.chunk_ends.push_back(flat.text.size());
  }
  return flat;
}

// The part of a chunk's segments from a byte on.
std::vector<tokenize::Segment> Rest(std::span<const tokenize::Segment> segments,
                                    std::size_t offset) {
  std::vector<tokenize::Segment> rest;
  for (const tokenize::Segment& segment : segments) {
    const std::size_t skipped = std::min(offset, segment.text.size());
    offset -= skipped;
    if (skipped < segment.text.size()) {
      rest.push_back({segment.text.substr(skipped), segment.trusted});
    }
  }
  return rest;
}

}  // namespace

std::string TextOfSampled(const tokenize::Encoding& encoding, std::span<const TokenId> sampled,
                          bool must_be_utf8) {
  for (const TokenId id : sampled) tokenize::TokenBytes(encoding, id);  // or it throws
  while (!sampled.empty() && encoding.FindSpecialToken(sampled.back()) != nullptr) {
    sampled = sampled.first(sampled.size() - 1);
  }
  std::string text;
  for (const TokenId id : sampled) text += tokenize::TokenBytes(encoding, id);
  if (must_be_utf8 && tokenize::ValidUtf8Prefix(text) != text.size()) {
    throw ArgumentError(
        "ids: their text is not valid UTF-8 (do they end amid a character?); give "
        "the message");
  }
  return text;
}

std::optional<SampledChunks> KeepSampled(const tokenize::Encoding& encoding, const Rendered& before,
                                         const EncodedChunks& prompt, const Rendered& now,
                                         std::size_t first, std::size_t last,
                                         std::span<const TokenId> sampled) {
  const Flat asked = FlattenChunks(encoding, before, first, before.chunks().size());
  const Flat shown = FlattenChunks(encoding, now, first, last);
  auto special = shown.specials.begin();
  while (special != shown.specials.end() && special->offset < asked.text.size()) ++special;
  if (!shown.text.starts_with(asked.text) ||
      !std::ranges::equal(asked.specials, std::ranges::subrange(shown.specials.begin(), special))) {
    return std::nullopt;
  }

  // Where ids end, in bytes, and how many there are.
  std::vector<std::pair<std::size_t, std::size_t>> borders = {{0, 0}};
  for (std::size_t i = 0; i < asked.chunk_ends.size(); ++i) {
    borders.emplace_back(asked.chunk_ends[i], prompt.ends[i]);
  }
  std::size_t num_kept = 0;
  std::size_t end = asked.text.size();
  std::size_t offset = end;
  for (std::size_t i = 0; i < sampled.size(); ++i) {
    const std::string_view bytes = tokenize::TokenBytes(encoding, sampled[i]);
    if (shown.text.compare(offset, bytes.size(), bytes) != 0) break;
    if (special != shown.specials.end() && special->offset < offset + bytes.size()) {
      if (*special != Special{offset, sampled[i]}) break;
      ++special;
    }
    offset += bytes.size();
    borders.emplace_back(offset, prompt.ids.size() + i + 1);
    if (encoding.FindSpecialToken(sampled[i]) != nullptr || offset == shown.text.size() ||
        (special != shown.specials.end() && special->offset == offset)) {
      num_kept = i + 1;
      end = offset;
    }
  }

  std::vector<TokenId> given = prompt.ids;
  given.insert(given.end(), sampled.begin(),
               sampled.begin() + static_cast<std::ptrdiff_t>(num_kept));
  const auto num_ids_to = [&](std::size_t byte) -> std::optional<std::size_t> {
    const auto found = std::ranges::lower_bound(borders, byte, {}, [](auto& b) { return b.first; });
    if (found == borders.end() || found->first != byte) return std::nullopt;
    return found->second;
  };
  SampledChunks result;
  result.num_kept = num_kept;
  std::vector<TokenId>& ids = result.chunks.ids;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < last - first; ++i) {
    const std::size_t chunk_end = shown.chunk_ends[i];
    if (begin < end) {
      const auto from = num_ids_to(begin);
      const auto to = num_ids_to(std::min(chunk_end, end));
      if (!from || !to) return std::nullopt;  // a chunk begins amid a token
      ids.insert(ids.end(), given.begin() + static_cast<std::ptrdiff_t>(*from),
                 given.begin() + static_cast<std::ptrdiff_t>(*to));
    }
    if (chunk_end > end) {
      const std::size_t done = std::max(begin, end) - begin;
      encoding.EncodeSegments(Rest(now.SegmentsOf(first + i), done), ids);
    }
    result.chunks.ends.push_back(ids.size());
    begin = chunk_end;
  }
  return result;
}

}  // namespace ctx::chat
