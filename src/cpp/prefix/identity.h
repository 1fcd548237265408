// What makes equal token ids unequal prefixes: the tenant's cache salt, the LoRA adapter, and the
// media (images, audio) whose placeholder tokens all look alike.
//
// Values are immutable once made; any number of threads may read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/sha256.h"

namespace ctx::prefix {

struct Lora {
  std::string name;
  std::string path;
};

/// Placeholder tokens [offset, offset + length) of the hashed token ids stand for this item. An
/// item that began before the first hashed token has a negative offset.
struct Media {
  std::string identifier;
  std::int64_t offset = 0;
  std::int64_t length = 0;
};

struct Identity {
  std::optional<std::string> cache_salt;
  std::optional<Lora> lora;
  std::vector<Media> media;
  /// Of a prompt whose first tokens come as embedding vectors: the SHA-256 of the vectors of each
  /// block, from token 0 on. Later blocks have none; nullopt for a prompt of token ids.
  std::optional<std::vector<Sha256Digest>> prompt_embeds = std::nullopt;

  bool empty() const noexcept { return !cache_salt && !lora && media.empty() && !prompt_embeds; }
};

/// Throws ArgumentError for an empty salt or identifier, media of no length, and media that are not
/// in ascending order without overlap.
void Validate(const Identity& identity);

/// The media that overlap tokens [begin, end), as a range of indices into identity.media; `hint` is
/// where the search starts: the first index of an earlier block, or 0. Amortised O(1) per block.
struct MediaRange {
  std::size_t first;
  std::size_t last;
};
MediaRange MediaIn(const Identity& identity, std::int64_t begin, std::int64_t end,
                   std::size_t hint) noexcept;

/// The digest of the embeddings of the block at token `begin` >= 0, that of no bytes behind the
/// last. Requires identity.prompt_embeds.
const Sha256Digest& EmbedsDigest(const Identity& identity, std::int64_t begin,
                                 std::int64_t block_size) noexcept;

/// Appends to `out` the framed encoding of what distinguishes the block that begins at token
/// `begin` and holds `media`: for each field a tag byte, the length as 8 bytes little-endian, the
/// value. Adapter and salt enter the first block of a prefix only (its descendants chain to it),
/// media every block they touch, with the tokens that they cover relative to the block, the end cut
/// to it, the digest of embeddings every block of a prompt that has them. Decodable, hence no two
/// identities share an encoding; nothing to say encodes as no bytes.
void AppendFramed(const Identity& identity, std::int64_t begin, std::int64_t block_size,
                  bool first_of_prefix, MediaRange media, std::string* out);

}  // namespace ctx::prefix
