#include "prefix/vllm_message.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/sha256.h"
#include "prefix/token_runs.h"

namespace ctx::prefix {
namespace {

constexpr std::uint8_t kPickleNone[] = {'N'};
constexpr std::uint8_t kPickleEnd[] = {0x87, 0x94, '.'};  // TUPLE3, MEMOIZE, STOP
constexpr std::uint8_t kCborNull[] = {0xF6};
constexpr std::size_t kFrameSizeAt = 3;  // behind PROTO 5 and FRAME
constexpr std::size_t kFrameAt = 11;

/// CborWriter with the calls of PickleWriter.
struct CborTuples {
  CborWriter* cbor;
  void None() { cbor->Null(); }
  void Int(std::int64_t value) { cbor->Int(value); }
  void Bytes(std::span<const std::uint8_t> value) { cbor->Bytes(value); }
  void Text(std::string_view value) { cbor->Text(value); }
  void Tag(std::string_view value) { cbor->Text(value); }
  void BeginTuple(std::size_t num_items) { cbor->Array(num_items); }
  void EndTuple(std::size_t) {}
};

/// vLLM's generate_block_hash_extra_keys(): tagged tuples in the order adapter, media, salt, prompt
/// embeddings; None when there are none.
template <typename Writer>
void WriteExtraKeys(const Identity& identity, std::int64_t begin, std::int64_t block_size,
                    bool first_of_prefix, MediaRange media, Writer& writer) {
  const bool salted = first_of_prefix && identity.cache_salt.has_value();
  const std::size_t num_keys = std::size_t{identity.lora.has_value()} + (media.last - media.first) +
                               std::size_t{salted} +
                               std::size_t{identity.prompt_embeds.has_value()};
  if (num_keys == 0) {
    writer.None();
    return;
  }
  writer.BeginTuple(num_keys);
  if (identity.lora) {
    writer.BeginTuple(3);
    writer.Tag("lora");
    writer.Text(identity.lora->name);
    writer.Text(identity.lora->path);
    writer.EndTuple(3);
  }
  for (std::size_t i = media.first; i < media.last; ++i) {
    writer.BeginTuple(3);
    writer.Tag("mm");
    writer.Text(identity.media[i].identifier);
    writer.Int(identity.media[i].offset - begin);
    writer.EndTuple(3);
  }
  if (salted) {
    writer.BeginTuple(2);
    writer.Tag("cache_salt");
    writer.Text(*identity.cache_salt);
    writer.EndTuple(2);
  }
  if (identity.prompt_embeds) {
    writer.BeginTuple(2);
    writer.Tag("prompt_embeds");
    writer.Bytes(EmbedsDigest(identity, begin, block_size));
    writer.EndTuple(2);
  }
  writer.EndTuple(num_keys);
}

std::uint8_t* Put(std::span<const std::uint8_t> bytes, std::uint8_t* out) {
  std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

}  // namespace

std::vector<std::uint8_t> SerializedSeed(Serialization serialization, std::string_view seed) {
  if (serialization == Serialization::kCbor) {
    CborWriter cbor;
    cbor.Text(seed);
    return {cbor.bytes().begin(), cbor.bytes().end()};
  }
  PickleWriter pickle;
  pickle.Begin();
  pickle.Text(seed);
  pickle.End();
  return {pickle.bytes().begin(), pickle.bytes().end()};
}

VllmMessageWriter::VllmMessageWriter(Serialization serialization, std::size_t parent_size,
                                     const Identity& identity, std::size_t block_size,
                                     std::size_t room)
    : serialization_(serialization),
      identity_(identity),
      block_size_(static_cast<std::int64_t>(block_size)),
      parent_size_(parent_size),
      room_(room) {
  const std::vector<std::uint8_t> no_parent(parent_size);
  if (serialization == Serialization::kCbor) {
    cbor_.Array(3);
    cbor_.Bytes(no_parent);
    head_.assign(cbor_.bytes().begin(), cbor_.bytes().end());
    parent_offset_ = head_.size() - parent_size;
    cbor_.Clear();
    cbor_.Array(block_size);
    head_.insert(head_.end(), cbor_.bytes().begin(), cbor_.bytes().end());
  } else {
    head_ = {0x80, 5, 0x95, 0, 0, 0, 0, 0, 0, 0, 0, 'C', static_cast<std::uint8_t>(parent_size)};
    parent_offset_ = head_.size();
    head_.insert(head_.end(), no_parent.begin(), no_parent.end());
    head_.push_back(0x94);  // MEMOIZE
    if (block_size > 3) head_.push_back('(');
    // TUPLE1 to TUPLE3, or TUPLE; MEMOIZE
    middle_ = {block_size > 3 ? std::uint8_t{'t'} : static_cast<std::uint8_t>(0x84 + block_size),
               0x94};
  }
  const std::size_t size = head_.size() + kMaxTokenBytes * block_size + kTokenSlack +
                           middle_.size() + sizeof(kPickleEnd) + 1 + room;
  for (auto& buffer : buffers_) {
    buffer.resize(size);
    Put(head_, buffer.data());
  }
}

std::span<const std::uint8_t> VllmMessageWriter::ExtraKeys(std::int64_t begin, bool first_of_prefix,
                                                           MediaRange media) {
  const bool is_pickle = serialization_ == Serialization::kPickle;
  if (identity_.empty()) {
    return is_pickle ? std::span<const std::uint8_t>(kPickleNone) : kCborNull;
  }
  if (is_pickle) {
    pickle_.BeginInside(2);  // behind the parent and the tuple of ids
    WriteExtraKeys(identity_, begin, block_size_, first_of_prefix, media, pickle_);
    return pickle_.bytes();
  }
  cbor_.Clear();
  CborTuples tuples{&cbor_};
  WriteExtraKeys(identity_, begin, block_size_, first_of_prefix, media, tuples);
  return cbor_.bytes();
}

VllmMessageWriter::Message VllmMessageWriter::Write(std::span<const TokenId> token_ids,
                                                    std::int64_t begin, bool first_of_prefix) {
  media_ = MediaIn(identity_, begin, begin + block_size_, media_.first);
  const auto extra_keys = ExtraKeys(begin, first_of_prefix, media_);
  turn_ ^= 1;
  std::vector<std::uint8_t>& buffer = buffers_[turn_];
  const std::size_t max_size = head_.size() + kMaxTokenBytes * token_ids.size() + kTokenSlack +
                               middle_.size() + extra_keys.size() + sizeof(kPickleEnd) + room_;
  if (buffer.size() < max_size) buffer.resize(max_size);

  std::uint8_t* out = buffer.data() + head_.size();
  if (serialization_ == Serialization::kCbor) {
    out = Put(extra_keys, PutCborTokens(token_ids, out));
    return {buffer.data(), static_cast<std::size_t>(out - buffer.data())};
  }
  out = Put(middle_, PutPickleTokens(token_ids, out));
  out = Put(kPickleEnd, Put(extra_keys, out));
  const auto size = static_cast<std::size_t>(out - buffer.data());
  const std::uint64_t frame_size = size - kFrameAt;
  if (frame_size >= PickleWriter::kFrameTarget) {
    return WriteInFrames(token_ids, begin, first_of_prefix, media_);
  }
  for (int i = 0; i < 8; ++i) {
    buffer[kFrameSizeAt + i] = static_cast<std::uint8_t>(frame_size >> (8 * i));
  }
  return {buffer.data(), size};
}

/// Writes a pickle that is cut into frames. Its beginning has the layout of the others.
VllmMessageWriter::Message VllmMessageWriter::WriteInFrames(std::span<const TokenId> token_ids,
                                                            std::int64_t begin,
                                                            bool first_of_prefix,
                                                            MediaRange media) {
  pickle_.Begin();
  pickle_.BeginTuple(3);
  pickle_.Bytes(std::vector<std::uint8_t>(parent_size_));
  pickle_.TokenTuple(token_ids);
  WriteExtraKeys(identity_, begin, block_size_, first_of_prefix, media, pickle_);
  pickle_.EndTuple(3);
  pickle_.End();
  std::vector<std::uint8_t>& buffer = buffers_[turn_];
  const auto bytes = pickle_.bytes();
  if (buffer.size() < bytes.size() + room_) buffer.resize(bytes.size() + room_);
  Put(bytes, buffer.data());
  return {buffer.data(), bytes.size()};
}

}  // namespace ctx::prefix
