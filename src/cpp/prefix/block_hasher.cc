#include "prefix/block_hasher.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <utility>

#include "blake3.h"
#include "common/error.h"
#include "common/sha256.h"
#include "common/str_cat.h"
#include "prefix/sha256_chain.h"
#include "prefix/vllm_message.h"
#include "prefix/xxh3.h"

namespace ctx::prefix {
namespace {

// vLLM's DEFAULT_NONE_HASH_SEED.
constexpr std::string_view kDefaultVllmSeed = "vllm-none-hash";
constexpr std::uint64_t kDynamoSeed = 1337;

bool IsVllm(Scheme scheme) noexcept { return scheme <= Scheme::kVllmXxhashCbor; }

bool IsVllmXxhash(Scheme scheme) noexcept {
  return scheme == Scheme::kVllmXxhash || scheme == Scheme::kVllmXxhashCbor;
}

Serialization SerializationOf(Scheme scheme) noexcept {
  return scheme == Scheme::kVllmSha256 || scheme == Scheme::kVllmXxhash ? Serialization::kPickle
                                                                        : Serialization::kCbor;
}

std::uint64_t LoadBigEndian(const std::uint8_t* bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | bytes[i];
  return value;
}

void StoreBigEndian(std::uint64_t value, std::uint8_t* bytes) {
  for (int i = 7; i >= 0; --i, value >>= 8) bytes[i] = static_cast<std::uint8_t>(value);
}

void AppendLittleEndian(std::uint64_t value, std::vector<std::uint8_t>* out) {
  for (int shift = 0; shift < 64; shift += 8) {
    out->push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

std::span<const std::uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

Sha256Words WordsOf(std::span<const std::uint8_t> digest) {
  return ctx::WordsOf(digest.first<sizeof(Sha256Digest)>());
}

std::vector<std::uint8_t> VectorOf(const Sha256Digest& digest) {
  return {digest.begin(), digest.end()};
}

/// SGLang's storage_namespace_seed(): no extra key, this salt.
Sha256Digest SglangSeed(std::string_view salt) {
  std::vector<std::uint8_t> message;
  for (const char c : std::string_view("sglang-cache-namespace-v1")) {
    message.push_back(static_cast<std::uint8_t>(c));
  }
  message.push_back(0);
  message.push_back(1);
  AppendLittleEndian(salt.size(), &message);
  message.insert(message.end(), salt.begin(), salt.end());
  return Sha256(message);
}

/// Dynamo's hash of a media item is the first half of the 64 hex digits that identify it.
std::uint64_t DynamoMediaHash(const Media& media, std::size_t index) {
  const std::string& identifier = media.identifier;
  std::uint64_t hash = 0;
  const bool all_hex = std::all_of(identifier.begin(), identifier.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
  if (identifier.size() != 64 || !all_hex) {
    throw ArgumentError(StrCat("media ", index, ": the identifier has ", identifier.size(),
                               " characters; Dynamo's schemes take 64 hexadecimal digits"));
  }
  std::from_chars(identifier.data(), identifier.data() + 16, hash, 16);
  return hash;
}

/// What LMCache's TokenHasher starts with: the hash of the token 0 behind the number 0. Called
/// before any other use of BLAKE3, which looks at the processor without a lock at its first.
const std::vector<std::uint8_t>& LmcacheRoot() {
  static const std::vector<std::uint8_t> root = [] {
    const std::uint8_t zeros[8 + 4] = {};
    std::vector<std::uint8_t> digest(BLAKE3_OUT_LEN);
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, zeros, sizeof(zeros));
    blake3_hasher_finalize(&hasher, digest.data(), digest.size());
    return digest;
  }();
  return root;
}

}  // namespace

BlockHasher::BlockHasher(std::int64_t block_size, Scheme scheme, Identity identity,
                         const Root& root)
    : block_size_(block_size), scheme_(scheme), identity_(std::move(identity)) {
  if (block_size < 1 || block_size > kMaxBlockSize) {
    throw ArgumentError(
        StrCat("block_size must be in 1..", kMaxBlockSize, " tokens, not ", block_size));
  }
  Validate(identity_);
  CheckIdentity();
  SetRoot(root);
}

void BlockHasher::CheckIdentity() const {
  const SchemeFacts& facts = FactsOf(scheme_);
  const auto refuse = [&](bool is_there, bool is_taken, std::string_view what) {
    if (is_there && !is_taken) {
      throw ArgumentError(StrCat("scheme ", facts.name, " has no place for ", what));
    }
  };
  refuse(identity_.cache_salt.has_value(), facts.takes_salt, "a cache_salt");
  refuse(identity_.lora.has_value(), facts.takes_lora, "an adapter");
  refuse(!identity_.media.empty(), facts.takes_media, "media");
  refuse(identity_.prompt_embeds.has_value(), facts.takes_embeds, "prompt embeddings");
}

void BlockHasher::SetRoot(const Root& root) {
  const SchemeFacts& facts = FactsOf(scheme_);
  const auto* bytes = std::get_if<std::vector<std::uint8_t>>(&root);
  const auto* seed = std::get_if<std::string>(&root);
  if (seed != nullptr && !IsVllm(scheme_)) {
    throw ArgumentError(StrCat("the root of scheme ", facts.name, " is no seed text"));
  }
  switch (scheme_) {
    case Scheme::kKeyed128:
      if (bytes == nullptr) return;
      if (bytes->size() != Keyed128::kSeedSize) {
        throw ArgumentError(StrCat("the root of keyed128 must be ", Keyed128::kSeedSize, " bytes"));
      }
      key_.emplace(std::span<const std::uint8_t, Keyed128::kSeedSize>(*bytes));
      return;
    case Scheme::kDynamo:
    case Scheme::kDynamoSequence:
      if (bytes != nullptr) throw ArgumentError(StrCat("scheme ", facts.name, " has no root"));
      dynamo_seed_ = kDynamoSeed;
      if (identity_.lora && !identity_.lora->name.empty()) {
        dynamo_seed_ += Xxh3(BytesOf(identity_.lora->name), 0);
      }
      for (std::size_t i = 0; i < identity_.media.size(); ++i) {
        dynamo_media_.push_back(DynamoMediaHash(identity_.media[i], i));
      }
      return;
    default:
      break;
  }
  if (scheme_ == Scheme::kLmcache) root_ = LmcacheRoot();
  if (bytes != nullptr) {
    if (bytes->size() != facts.digest_size) {
      throw ArgumentError(StrCat("root has ", bytes->size(), " bytes; a hash of this scheme has ",
                                 facts.digest_size));
    }
    if (scheme_ == Scheme::kSglang && identity_.cache_salt) {
      throw ArgumentError("scheme sglang takes a root or a cache_salt, which makes one, not both");
    }
    root_ = *bytes;
  } else if (scheme_ == Scheme::kSglang) {
    if (identity_.cache_salt) root_ = VectorOf(SglangSeed(*identity_.cache_salt));
  } else if (IsVllmXxhash(scheme_)) {
    if (seed == nullptr) {
      throw ArgumentError(StrCat("scheme ", facts.name,
                                 " needs a root: without PYTHONHASHSEED vLLM draws a random one"));
    }
    const auto none_hash = Xxh3Wide(SerializedSeed(SerializationOf(scheme_), *seed));
    root_.assign(none_hash.begin(), none_hash.end());
  } else if (IsVllm(scheme_)) {
    root_ = VectorOf(Sha256(SerializedSeed(
        SerializationOf(scheme_), seed != nullptr ? std::string_view(*seed) : kDefaultVllmSeed)));
  }
}

void BlockHasher::Check(const Run& run) const {
  if (run.parent) {
    if (scheme_ == Scheme::kDynamo) {
      throw ArgumentError("scheme dynamo does not chain blocks; it takes no parent");
    }
    if (run.parent->size() != digest_size()) {
      throw ArgumentError(StrCat("parent has ", run.parent->size(),
                                 " bytes; a hash of this scheme has ", digest_size()));
    }
    const std::uint8_t* const bytes = run.parent->data();
    if (scheme_ == Scheme::kKeyed128 &&
        !IsCanonical({LoadBigEndian(bytes), LoadBigEndian(bytes + 8)})) {
      throw ArgumentError("parent is not a keyed128 hash");
    }
  }
  if (run.start < 0 || run.start % block_size_ != 0) {
    throw ArgumentError(StrCat("start is ", run.start,
                               "; it must be a multiple of the block size, ", block_size_,
                               ", and not negative"));
  }
  if (run.start > 0 && !run.parent && scheme_ != Scheme::kDynamo) {
    throw ArgumentError(StrCat("start is ", run.start,
                               " and there is no parent: what begins a prefix stands at 0"));
  }
  if (static_cast<std::uint64_t>(run.start) + run.token_ids.size() > INT64_MAX) {
    throw ArgumentError(StrCat("start is ", run.start, ", which is too large"));
  }
}

Sha256Chain<VllmMessageWriter> BlockHasher::VllmChain(const Run& run, std::uint8_t* digests) const {
  VllmMessageWriter writer(SerializationOf(scheme_), sizeof(Sha256Digest), identity_,
                           static_cast<std::size_t>(block_size_), kSha256MaxPadding);
  return {std::move(writer), run, block_size_, 0, WordsOf(run.parent.value_or(root_)), digests};
}

Sha256Chain<SglangMessageWriter> BlockHasher::SglangChain(const Run& run,
                                                          std::uint8_t* digests) const {
  const auto size = static_cast<std::size_t>(block_size_);
  SglangMessageWriter writer(size, kSha256MaxPadding);
  if (run.parent || !root_.empty() || NumBlocks(run) == 0) {
    const Sha256Words parent =
        run.parent || !root_.empty() ? WordsOf(run.parent.value_or(root_)) : Sha256Words{};
    return {std::move(writer), run, block_size_, 0, parent, digests};
  }
  // The first page has nothing before it, not even zeros.
  const auto page = run.token_ids.first(size);
  const Sha256Digest digest =
      Sha256({reinterpret_cast<const std::uint8_t*>(page.data()), page.size_bytes()});
  std::copy(digest.begin(), digest.end(), digests);
  return {std::move(writer), run, block_size_, 1, WordsOf(digest), digests + digest.size()};
}

void BlockHasher::Hash(const Run& run, std::uint8_t* digests) const {
  const auto finish = [](auto chain) { chain.Finish(); };
  switch (scheme_) {
    case Scheme::kVllmSha256:
    case Scheme::kVllmSha256Cbor:
      return finish(VllmChain(run, digests));
    case Scheme::kVllmXxhash:
    case Scheme::kVllmXxhashCbor:
      return HashXxhash(run, digests);
    case Scheme::kSglang:
      return finish(SglangChain(run, digests));
    case Scheme::kDynamo:
    case Scheme::kDynamoSequence:
      return HashDynamo(run, digests);
    case Scheme::kLmcache:
      return HashLmcache(run, digests);
    case Scheme::kKeyed128:
      return HashKeyed128(run, digests);
  }
}

void BlockHasher::HashEach(const Run& run, std::uint8_t* digests, Visit visit,
                           void* context) const {
  const auto each = [=](const std::uint8_t* digest) { visit(context, digest); };
  if (scheme_ == Scheme::kVllmSha256 || scheme_ == Scheme::kVllmSha256Cbor) {
    VllmChain(run, digests).Finish(each);
  } else if (scheme_ == Scheme::kSglang) {
    // A first page that nothing precedes is no link of the chain.
    if (!run.parent && root_.empty() && NumBlocks(run) > 0) {
      auto chain = SglangChain(run, digests);
      each(digests);
      chain.Finish(each);
    } else {
      SglangChain(run, digests).Finish(each);
    }
  } else {
    Hash(run, digests);
    for (std::size_t left = NumBlocks(run); left > 0; --left, digests += digest_size()) {
      each(digests);
    }
  }
}

void BlockHasher::HashTwo(const Run (&runs)[2], std::uint8_t* const (&digests)[2]) const {
  const auto advance = []<typename Chain>(Chain a, Chain b) {
    Chain::AdvanceTwo(a, b);
    a.Finish();
    b.Finish();
  };
  if (scheme_ == Scheme::kVllmSha256 || scheme_ == Scheme::kVllmSha256Cbor) {
    advance(VllmChain(runs[0], digests[0]), VllmChain(runs[1], digests[1]));
  } else if (scheme_ == Scheme::kSglang) {
    advance(SglangChain(runs[0], digests[0]), SglangChain(runs[1], digests[1]));
  } else {
    for (int i = 0; i < 2; ++i) Hash(runs[i], digests[i]);
  }
}

void BlockHasher::HashInt64(const Run& run, std::uint64_t* integers) const {
  if (scheme_ == Scheme::kDynamo || scheme_ == Scheme::kDynamoSequence) {
    HashDynamo(run, std::span(integers, NumBlocks(run)));
    return;
  }
  std::vector<std::uint8_t> digests(NumBlocks(run) * digest_size());
  Hash(run, digests.data());
  const std::size_t at =
      FactsOf(scheme_).integer_form == IntegerForm::kFirst ? 0 : digest_size() - 8;
  for (std::size_t begin = 0; begin < digests.size(); begin += digest_size()) {
    *integers++ = LoadBigEndian(digests.data() + begin + at);
  }
}

void BlockHasher::HashXxhash(const Run& run, std::uint8_t* digests) const {
  const auto size = static_cast<std::size_t>(block_size_);
  std::span<const std::uint8_t> previous = run.parent.value_or(root_);
  VllmMessageWriter writer(SerializationOf(scheme_), previous.size(), identity_, size, 0);
  for (std::size_t begin = 0; begin + size <= run.token_ids.size(); begin += size) {
    const auto message =
        writer.Write(run.token_ids.subspan(begin, size),
                     run.start + static_cast<std::int64_t>(begin), begin == 0 && !run.parent);
    std::copy(previous.begin(), previous.end(), message.data + writer.parent_offset());
    const auto digest = Xxh3Wide({message.data, message.size});
    std::copy(digest.begin(), digest.end(), digests);
    previous = {digests, digest.size()};
    digests += digest.size();
  }
}

void BlockHasher::HashDynamo(const Run& run, std::uint8_t* digests) const {
  std::vector<std::uint64_t> integers(NumBlocks(run));
  HashDynamo(run, integers);
  for (const std::uint64_t integer : integers) {
    StoreBigEndian(integer, digests);
    digests += sizeof(integer);
  }
}

void BlockHasher::HashDynamo(const Run& run, std::span<std::uint64_t> integers) const {
  Xxh3Blocks(run.token_ids, static_cast<std::size_t>(block_size_), dynamo_seed_, integers);
  if (!dynamo_media_.empty()) HashDynamoMedia(run, integers);
  if (scheme_ == Scheme::kDynamo || integers.empty()) return;
  std::uint64_t pair[2];
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(pair);
  if (run.parent) {
    pair[0] = LoadBigEndian(run.parent->data()), pair[1] = integers[0];
    integers[0] = Xxh3({bytes, sizeof(pair)}, kDynamoSeed);
  }
  for (std::size_t i = 1; i < integers.size(); ++i) {
    pair[0] = integers[i - 1], pair[1] = integers[i];
    integers[i] = Xxh3({bytes, sizeof(pair)}, kDynamoSeed);
  }
}

/// Blocks with media are hashed with the hashes of these behind the ids, in ascending order.
void BlockHasher::HashDynamoMedia(const Run& run, std::span<std::uint64_t> integers) const {
  const auto size = static_cast<std::size_t>(block_size_);
  MediaRange range{0, 0};
  std::vector<std::uint8_t> message;
  std::vector<std::uint64_t> media;
  for (std::size_t i = 0; i < integers.size(); ++i) {
    const std::int64_t begin = run.start + static_cast<std::int64_t>(i) * block_size_;
    range = MediaIn(identity_, begin, begin + block_size_, range.first);
    if (range.first == range.last) continue;
    media.assign(dynamo_media_.begin() + static_cast<std::ptrdiff_t>(range.first),
                 dynamo_media_.begin() + static_cast<std::ptrdiff_t>(range.last));
    std::sort(media.begin(), media.end());
    const auto ids = std::as_bytes(run.token_ids.subspan(i * size, size));
    message.resize(ids.size());
    std::memcpy(message.data(), ids.data(), ids.size());
    for (const std::uint64_t hash : media) AppendLittleEndian(hash, &message);
    integers[i] = Xxh3(message, dynamo_seed_);
  }
}

void BlockHasher::HashLmcache(const Run& run, std::uint8_t* digests) const {
  const auto size = static_cast<std::size_t>(block_size_);
  std::span<const std::uint8_t> previous = run.parent.value_or(root_);
  std::vector<std::uint32_t> big_endian(size);
  for (std::size_t begin = 0; begin + size <= run.token_ids.size(); begin += size) {
    for (std::size_t i = 0; i < size; ++i) {
      big_endian[i] = __builtin_bswap32(run.token_ids[begin + i]);
    }
    blake3_hasher hasher;
    blake3_hasher_init(&hasher);
    blake3_hasher_update(&hasher, previous.data(), previous.size());
    blake3_hasher_update(&hasher, big_endian.data(), size * sizeof(std::uint32_t));
    blake3_hasher_finalize(&hasher, digests, BLAKE3_OUT_LEN);
    previous = {digests, BLAKE3_OUT_LEN};
    digests += BLAKE3_OUT_LEN;
  }
}

void BlockHasher::HashKeyed128(const Run& run, std::uint8_t* digests) const {
  const Keyed128& key = key_ ? *key_ : Keyed128::Process();
  const auto size = static_cast<std::size_t>(block_size_);
  Digest128 digest;
  if (run.parent) {
    digest = {LoadBigEndian(run.parent->data()), LoadBigEndian(run.parent->data() + 8)};
  }
  MediaRange media{0, 0};
  std::string extra;
  for (std::size_t begin = 0; begin + size <= run.token_ids.size(); begin += size) {
    const std::int64_t position = run.start + static_cast<std::int64_t>(begin);
    media = MediaIn(identity_, position, position + block_size_, media.first);
    extra.clear();
    AppendFramed(identity_, position, block_size_, begin == 0 && !run.parent, media, &extra);
    digest = key.Block(digest, run.token_ids.subspan(begin, size), extra);
    StoreBigEndian(digest.high, digests);
    StoreBigEndian(digest.low, digests + 8);
    digests += 16;
  }
}

}  // namespace ctx::prefix
