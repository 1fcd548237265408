#include "prefix/block_hasher.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/sha256.h"
#include "common/str_cat.h"
#include "prefix/cbor.h"

namespace ctx::prefix {
namespace {

// vLLM's DEFAULT_NONE_HASH_SEED.
constexpr std::string_view kDefaultVllmSeed = "vllm-none-hash";

std::vector<std::uint8_t> NoneHash(const Root& root) {
  if (const auto* raw = std::get_if<std::vector<std::uint8_t>>(&root)) {
    if (raw->size() != sizeof(Sha256Digest)) {
      throw ArgumentError(StrCat("root has ", raw->size(),
                                 " bytes; a parent hash of this scheme has ",
                                 sizeof(Sha256Digest)));
    }
    return *raw;
  }
  const auto* seed = std::get_if<std::string>(&root);
  CborWriter cbor;
  cbor.Text(seed != nullptr ? std::string_view(*seed) : kDefaultVllmSeed);
  const Sha256Digest digest = Sha256(cbor.bytes());
  return {digest.begin(), digest.end()};
}

std::optional<Keyed128> ExplicitKey(const Root& root) {
  if (std::holds_alternative<std::monostate>(root)) return std::nullopt;
  const auto* seed = std::get_if<std::vector<std::uint8_t>>(&root);
  if (seed == nullptr || seed->size() != Keyed128::kSeedSize) {
    throw ArgumentError(StrCat("the root of keyed128 must be ", Keyed128::kSeedSize, " bytes"));
  }
  return Keyed128(std::span<const std::uint8_t, Keyed128::kSeedSize>(*seed));
}

std::uint64_t LoadBigEndian(const std::uint8_t* bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | bytes[i];
  return value;
}

void StoreBigEndian(std::uint64_t value, std::uint8_t* bytes) {
  for (int i = 7; i >= 0; --i, value >>= 8) bytes[i] = static_cast<std::uint8_t>(value);
}

/// vLLM's generate_block_hash_extra_keys(): tagged tuples in the order adapter, media, salt; null
/// when there are none.
void WriteVllmExtraKeys(const Identity& identity, std::int64_t begin, bool first_of_prefix,
                        MediaRange media, CborWriter* cbor) {
  const bool salted = first_of_prefix && identity.cache_salt.has_value();
  const std::size_t num_keys =
      std::size_t{identity.lora.has_value()} + (media.last - media.first) + std::size_t{salted};
  if (num_keys == 0) {
    cbor->Null();
    return;
  }
  cbor->Array(num_keys);
  if (identity.lora) {
    cbor->Array(3);
    cbor->Text("lora");
    cbor->Text(identity.lora->name);
    cbor->Text(identity.lora->path);
  }
  for (std::size_t i = media.first; i < media.last; ++i) {
    cbor->Array(3);
    cbor->Text("mm");
    cbor->Text(identity.media[i].identifier);
    cbor->Int(identity.media[i].offset - begin);
  }
  if (salted) {
    cbor->Array(2);
    cbor->Text("cache_salt");
    cbor->Text(*identity.cache_salt);
  }
}

}  // namespace

Scheme ParseScheme(std::string_view name) {
  if (name == "vllm_sha256_cbor") return Scheme::kVllmSha256Cbor;
  if (name == "keyed128") return Scheme::kKeyed128;
  throw ArgumentError(StrCat("unknown scheme '", name, "'; known: vllm_sha256_cbor, keyed128"));
}

BlockHasher::BlockHasher(std::int64_t block_size, Scheme scheme, Identity identity,
                         const Root& root)
    : block_size_(block_size), scheme_(scheme), identity_(std::move(identity)) {
  if (block_size < 1 || block_size > kMaxBlockSize) {
    throw ArgumentError(
        StrCat("block_size must be in 1..", kMaxBlockSize, " tokens, not ", block_size));
  }
  Validate(identity_);
  if (scheme == Scheme::kKeyed128) {
    key_ = ExplicitKey(root);
  } else {
    none_hash_ = NoneHash(root);
  }
}

std::vector<std::uint8_t> BlockHasher::Hash(
    std::span<const TokenId> token_ids, std::optional<std::span<const std::uint8_t>> parent) const {
  if (parent && parent->size() != digest_size()) {
    throw ArgumentError(
        StrCat("parent has ", parent->size(), " bytes; a hash of this scheme has ", digest_size()));
  }
  const std::size_t num_blocks = token_ids.size() / static_cast<std::size_t>(block_size_);
  std::vector<std::uint8_t> digests(num_blocks * digest_size());
  if (scheme_ == Scheme::kKeyed128) {
    HashKeyed128(token_ids, parent, digests.data());
  } else {
    HashVllm(token_ids, parent, digests.data());
  }
  return digests;
}

void BlockHasher::HashVllm(std::span<const TokenId> token_ids,
                           std::optional<std::span<const std::uint8_t>> parent,
                           std::uint8_t* digests) const {
  const auto size = static_cast<std::size_t>(block_size_);
  std::span<const std::uint8_t> previous = parent.value_or(none_hash_);
  bool first_of_prefix = !parent.has_value();
  MediaRange media{0, 0};
  CborWriter cbor;
  for (std::size_t begin = 0; begin + size <= token_ids.size(); begin += size) {
    const auto position = static_cast<std::int64_t>(begin);
    media = MediaIn(identity_, position, position + block_size_, media.first);
    cbor.Clear();
    cbor.Array(3);
    cbor.Bytes(previous);
    cbor.TokenArray(token_ids.subspan(begin, size));
    WriteVllmExtraKeys(identity_, position, first_of_prefix, media, &cbor);
    const Sha256Digest digest = Sha256(cbor.bytes());
    std::copy(digest.begin(), digest.end(), digests);
    previous = {digests, digest.size()};
    digests += digest.size();
    first_of_prefix = false;
  }
}

void BlockHasher::HashKeyed128(std::span<const TokenId> token_ids,
                               std::optional<std::span<const std::uint8_t>> parent,
                               std::uint8_t* digests) const {
  const Keyed128& key = key_ ? *key_ : Keyed128::Process();
  const auto size = static_cast<std::size_t>(block_size_);
  Digest128 digest;
  if (parent) {
    digest = {LoadBigEndian(parent->data()), LoadBigEndian(parent->data() + 8)};
    if (!IsCanonical(digest)) throw ArgumentError("parent is not a keyed128 hash");
  }
  bool first_of_prefix = !parent.has_value();
  MediaRange media{0, 0};
  std::string extra;
  for (std::size_t begin = 0; begin + size <= token_ids.size(); begin += size) {
    const auto position = static_cast<std::int64_t>(begin);
    media = MediaIn(identity_, position, position + block_size_, media.first);
    extra.clear();
    AppendFramed(identity_, position, block_size_, first_of_prefix, media, &extra);
    digest = key.Block(digest, token_ids.subspan(begin, size), extra);
    StoreBigEndian(digest.high, digests);
    StoreBigEndian(digest.low, digests + 8);
    digests += 16;
    first_of_prefix = false;
  }
}

std::uint64_t LowBits(std::span<const std::uint8_t> digest) noexcept {
  return LoadBigEndian(digest.data() + digest.size() - 8);
}

}  // namespace ctx::prefix
