#include "prefix/pickle.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace ctx::prefix {
namespace {

// Opcodes of pickle (PEP 3154 and before).
enum : std::uint8_t {
  kProto = 0x80,
  kTuple1 = 0x85,  // and two more for tuples of two and three
  kLong1 = 0x8A,
  kShortUnicode = 0x8C,
  kUnicode8 = 0x8D,
  kBytes8 = 0x8E,
  kMemoize = 0x94,
  kFrame = 0x95,
};

std::span<const std::uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

int PutLittleEndian(std::uint64_t value, int num_bytes, std::uint8_t* out) {
  for (int i = 0; i < num_bytes; ++i) out[i] = static_cast<std::uint8_t>(value >> (8 * i));
  return num_bytes;
}

/// Whether Python keeps one object of this text: at most one character, below U+0100.
bool IsKeptByPython(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.empty() ? 0 : text[0]);
  return text.size() < 2 || (text.size() == 2 && (first == 0xC2 || first == 0xC3));
}

}  // namespace

void PickleWriter::Begin() {
  BeginInside(0);
  const std::uint8_t proto[] = {kProto, 5};
  Write(proto);
  framing_ = true;
}

void PickleWriter::BeginInside(std::size_t num_memoized) {
  bytes_.clear();
  kept_.clear();
  framing_ = false;
  frame_start_ = kNoFrame;
  num_memoized_ = num_memoized;
}

void PickleWriter::End() {
  Op('.');
  CloseFrame();
  framing_ = false;
}

void PickleWriter::Write(std::span<const std::uint8_t> bytes) {
  if (framing_ && frame_start_ == kNoFrame) {
    frame_start_ = bytes_.size();
    bytes_.resize(bytes_.size() + kFrameHeader);  // filled in by CloseFrame()
  }
  const std::size_t begin = bytes_.size();
  bytes_.resize(begin + bytes.size());
  if (!bytes.empty()) std::memcpy(bytes_.data() + begin, bytes.data(), bytes.size());
}

void PickleWriter::CloseFrame() {
  constexpr std::size_t kMinFrame = 4;  // what is shorter goes without a header
  if (frame_start_ == kNoFrame) return;
  const std::size_t size = bytes_.size() - frame_start_ - kFrameHeader;
  std::uint8_t* const header = bytes_.data() + frame_start_;
  if (size >= kMinFrame) {
    header[0] = kFrame;
    PutLittleEndian(size, 8, header + 1);
  } else {
    std::copy(bytes_.end() - static_cast<std::ptrdiff_t>(size), bytes_.end(), header);
    bytes_.resize(bytes_.size() - kFrameHeader);
  }
  frame_start_ = kNoFrame;
}

/// Called before each object.
void PickleWriter::Object() {
  if (frame_start_ != kNoFrame && bytes_.size() - frame_start_ - kFrameHeader >= kFrameTarget) {
    CloseFrame();
  }
}

/// Large payloads stand between frames.
void PickleWriter::WritePayload(std::span<const std::uint8_t> header,
                                std::span<const std::uint8_t> payload) {
  const bool framing = framing_;
  if (payload.size() >= kFrameTarget) {
    CloseFrame();
    framing_ = false;
  }
  Write(header);
  Write(payload);
  framing_ = framing;
}

void PickleWriter::Memoize() {
  Op(kMemoize);
  ++num_memoized_;
}

void PickleWriter::None() {
  Object();
  Op('N');
}

void PickleWriter::Int(std::int64_t value) {
  Object();
  std::uint8_t out[11];
  const auto bits = static_cast<std::uint64_t>(value);
  int num_bytes = 0;
  int header = 1;
  if (value >= 0 && value <= 0xFF) {
    out[0] = 'K', num_bytes = 1;
  } else if (value >= 0 && value <= 0xFFFF) {
    out[0] = 'M', num_bytes = 2;
  } else if (value >= std::numeric_limits<std::int32_t>::min() &&
             value <= std::numeric_limits<std::int32_t>::max()) {
    out[0] = 'J', num_bytes = 4;
  } else {
    // The fewest bytes whose highest bit is the sign.
    for (num_bytes = 4; num_bytes < 8 && value >> (8 * num_bytes - 1) != value >> 63;) ++num_bytes;
    out[0] = kLong1, out[1] = static_cast<std::uint8_t>(num_bytes), header = 2;
  }
  PutLittleEndian(bits, num_bytes, out + header);
  Write({out, static_cast<std::size_t>(header + num_bytes)});
}

void PickleWriter::Bytes(std::span<const std::uint8_t> value) {
  Object();
  std::uint8_t header[9];
  int size = 1;
  if (value.size() <= 0xFF) {
    header[0] = 'C', size += PutLittleEndian(value.size(), 1, header + 1);
  } else if (value.size() <= 0xFFFFFFFF) {
    header[0] = 'B', size += PutLittleEndian(value.size(), 4, header + 1);
  } else {
    header[0] = kBytes8, size += PutLittleEndian(value.size(), 8, header + 1);
  }
  WritePayload({header, static_cast<std::size_t>(size)}, value);
  Memoize();
}

void PickleWriter::Unicode(std::string_view value) {
  std::uint8_t header[9];
  int size = 1;
  if (value.size() <= 0xFF) {
    header[0] = kShortUnicode, size += PutLittleEndian(value.size(), 1, header + 1);
  } else if (value.size() <= 0xFFFFFFFF) {
    header[0] = 'X', size += PutLittleEndian(value.size(), 4, header + 1);
  } else {
    header[0] = kUnicode8, size += PutLittleEndian(value.size(), 8, header + 1);
  }
  WritePayload({header, static_cast<std::size_t>(size)}, BytesOf(value));
  Memoize();
}

/// A text of which there is one object.
void PickleWriter::Shared(std::string_view value, bool is_tag) {
  Object();
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) {
    return kept.is_tag == is_tag && kept.text == value;
  });
  if (found == kept_.end()) {
    kept_.push_back({value, is_tag, num_memoized_});
    Unicode(value);
    return;
  }
  std::uint8_t get[5] = {'h'};
  int size = 1;
  if (found->index > 0xFF) get[0] = 'j';
  size += PutLittleEndian(found->index, found->index > 0xFF ? 4 : 1, get + 1);
  Write({get, static_cast<std::size_t>(size)});
}

void PickleWriter::Text(std::string_view value) {
  if (IsKeptByPython(value)) {
    Shared(value, false);
  } else {
    Object();
    Unicode(value);
  }
}

void PickleWriter::Tag(std::string_view value) { Shared(value, true); }

void PickleWriter::BeginTuple(std::size_t num_items) {
  Object();
  if (num_items > 3) Op('(');
}

void PickleWriter::EndTuple(std::size_t num_items) {
  Op(num_items > 3 ? 't' : static_cast<std::uint8_t>(kTuple1 + num_items - 1));
  Memoize();
}

void PickleWriter::TokenTuple(std::span<const TokenId> token_ids) {
  BeginTuple(token_ids.size());
  for (const TokenId id : token_ids) Int(id);
  EndTuple(token_ids.size());
}

}  // namespace ctx::prefix
