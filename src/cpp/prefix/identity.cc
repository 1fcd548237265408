#include "prefix/identity.h"

#include <algorithm>
#include <limits>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::prefix {
namespace {

// Tags of the framed encoding; part of the keyed128 format (docs/formats.md).
enum : char {
  kSalt = 1,
  kLoraName = 2,
  kLoraPath = 3,
  kMediaIdentifier = 4,
  kMediaRange = 5,
  kPromptEmbeds = 6,
};

void AppendLittleEndian(std::uint64_t value, std::string* out) {
  for (int shift = 0; shift < 64; shift += 8) out->push_back(static_cast<char>(value >> shift));
}

void AppendField(char tag, const std::string& value, std::string* out) {
  out->push_back(tag);
  AppendLittleEndian(value.size(), out);
  out->append(value);
}

}  // namespace

void Validate(const Identity& identity) {
  if (identity.cache_salt && identity.cache_salt->empty()) {
    throw ArgumentError("cache_salt is empty; leave it out to share the unsalted prefixes");
  }
  std::int64_t previous_end = std::numeric_limits<std::int64_t>::min();
  for (std::size_t i = 0; i < identity.media.size(); ++i) {
    const Media& media = identity.media[i];
    if (media.identifier.empty()) throw ArgumentError(StrCat("media ", i, ": empty identifier"));
    std::int64_t end = 0;
    if (media.length <= 0 || __builtin_add_overflow(media.offset, media.length, &end)) {
      throw ArgumentError(StrCat("media ", i, ": offset ", media.offset, " and length ",
                                 media.length, " are not a range of tokens"));
    }
    if (media.offset < previous_end) {
      throw ArgumentError(StrCat("media ", i, " begins at token ", media.offset,
                                 ", before the end of media ", i - 1, " (", previous_end,
                                 "); give them in order and without overlap"));
    }
    previous_end = end;
  }
}

MediaRange MediaIn(const Identity& identity, std::int64_t begin, std::int64_t end,
                   std::size_t hint) noexcept {
  const std::vector<Media>& media = identity.media;
  while (hint < media.size() && media[hint].offset + media[hint].length <= begin) ++hint;
  std::size_t last = hint;
  while (last < media.size() && media[last].offset < end) ++last;
  return {hint, last};
}

const Sha256Digest& EmbedsDigest(const Identity& identity, std::int64_t begin,
                                 std::int64_t block_size) noexcept {
  static const Sha256Digest no_bytes = Sha256({});
  const auto index = static_cast<std::size_t>(begin / block_size);
  const std::vector<Sha256Digest>& digests = *identity.prompt_embeds;
  return index < digests.size() ? digests[index] : no_bytes;
}

void AppendFramed(const Identity& identity, std::int64_t begin, std::int64_t block_size,
                  bool first_of_prefix, MediaRange media, std::string* out) {
  if (first_of_prefix) {
    if (identity.lora) {
      AppendField(kLoraName, identity.lora->name, out);
      AppendField(kLoraPath, identity.lora->path, out);
    }
    if (identity.cache_salt) AppendField(kSalt, *identity.cache_salt, out);
  }
  for (std::size_t i = media.first; i < media.last; ++i) {
    const Media& item = identity.media[i];
    AppendField(kMediaIdentifier, item.identifier, out);
    std::string range;
    AppendLittleEndian(static_cast<std::uint64_t>(item.offset - begin), &range);
    AppendLittleEndian(
        static_cast<std::uint64_t>(std::min(item.offset + item.length - begin, block_size)),
        &range);
    AppendField(kMediaRange, range, out);
  }
  if (identity.prompt_embeds) {
    const Sha256Digest& digest = EmbedsDigest(identity, begin, block_size);
    AppendField(kPromptEmbeds, std::string(digest.begin(), digest.end()), out);
  }
}

}  // namespace ctx::prefix
