// The part of pickle protocol 5 that block hashing needs: bytes, text, integers, None and tuples.
// The bytes equal Python's `pickle.dumps(value, protocol=5)` by its C implementation, frames and
// memo included.
//
// Pickle writes an object that it has met before as a reference, and what is "the same object" is
// the interpreter's affair. Here it is what holds for values that were decoded from a message:
// texts that are constants of the writing program (its tags) are one object each, and so are the
// texts that Python keeps one of (the empty one and those of one character below U+0100). Other
// equal texts are objects of their own, and so are equal bytes.
//
// Not thread-safe: one writer per thread. O(bytes written), and each text of at most one character
// and each tag looks through those before it, of which there are less than 300.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "common/ids.h"

namespace ctx::prefix {

class PickleWriter {
 public:
  /// Starts a pickle.
  void Begin();
  /// Starts the inside of a pickle of less than kFrameTarget bytes whose `num_memoized` objects
  /// so far stand elsewhere.
  void BeginInside(std::size_t num_memoized);
  /// Ends a pickle that Begin() started.
  void End();
  std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

  void None();
  void Int(std::int64_t value);
  void Bytes(std::span<const std::uint8_t> value);
  /// `value` must be UTF-8, and outlive the writer's use.
  void Text(std::string_view value);
  /// A text that is a constant of the writing program.
  void Tag(std::string_view value);
  /// A tuple: its `num_items` items stand between the two calls.
  void BeginTuple(std::size_t num_items);
  void EndTuple(std::size_t num_items);
  /// A tuple of token ids below 2^31.
  void TokenTuple(std::span<const TokenId> token_ids);

  /// A frame ends at the first object that begins with so many bytes in it.
  static constexpr std::size_t kFrameTarget = 64 * 1024;

 private:
  static constexpr std::size_t kFrameHeader = 9;
  static constexpr std::size_t kNoFrame = ~std::size_t{0};

  void Object();
  void Op(std::uint8_t opcode) { Write({&opcode, 1}); }
  void OpWithSize(std::uint8_t opcode, std::uint64_t size, int num_bytes);
  void Write(std::span<const std::uint8_t> bytes);
  void WritePayload(std::span<const std::uint8_t> header, std::span<const std::uint8_t> payload);
  void CloseFrame();
  void Unicode(std::string_view value);
  void Shared(std::string_view value, bool is_tag);
  void Memoize();

  std::vector<std::uint8_t> bytes_;
  bool framing_ = false;
  std::size_t frame_start_ = kNoFrame;
  std::size_t num_memoized_ = 0;
  struct Kept {
    std::string_view text;
    bool is_tag;
    std::size_t index;
  };
  std::vector<Kept> kept_;
};

}  // namespace ctx::prefix
