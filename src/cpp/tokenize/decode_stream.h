// Token ids to text while they are being generated: only whole characters come out, and nothing
// that could still become a stop string.
//
//     ids -> bytes of their tokens -> characters (malformed bytes: U+FFFD) -> stop strings -> text
//
// What comes out, joined, is the text of all ids up to the first stop string, however the ids were
// handed in. Malformed bytes become what Python's bytes.decode("utf-8", "replace") makes of all of
// them: one U+FFFD for each maximal part of a well-formed character (The Unicode Standard, 3.9).
//
// StreamDecoder never changes and is safe to call from any thread; a StreamState belongs to one
// sequence of ids and is 32 bytes of plain data, so many sequences are an array, and a copy is a
// fork.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/ids.h"
#include "tokenize/encoding.h"
#include "tokenize/stop_strings.h"

namespace ctx::tokenize {

/// Where a sequence is; as constructed: before its first id.
struct StreamState {
  std::int64_t num_bytes = 0;  ///< of UTF-8 that have come out
  StopStrings::Node node = StopStrings::kRoot;
  std::int32_t stop = -1;            ///< index of the stop string that ended it
  std::array<char, 3> incomplete{};  ///< the beginning of a character
  std::uint8_t num_incomplete = 0;   ///< how many of those bytes there are
  bool has_text = false;             ///< whether there was a token that is not skipped
  bool finished = false;
  friend bool operator==(const StreamState&, const StreamState&) = default;
};

class StreamDecoder {
 public:
  /// With `skip_special_tokens` the ids of control tokens have no text.
  StreamDecoder(std::shared_ptr<const Encoding> encoding, std::shared_ptr<const StopStrings> stops,
                bool skip_special_tokens);

  /// Appends the text that `ids` make certain; nothing once a stop string has been found. Linear in
  /// the bytes of the tokens. Throws UnknownTokenError, naming the position, and ArgumentError when
  /// the state is finished; `state` and `out` are then as they were, as after std::bad_alloc.
  void Feed(StreamState& state, std::span<const TokenId> ids, std::string& out) const {
    Feed(state, ids, 0, ids.size(), out);
  }

  /// Likewise with ids[begin] to ids[end - 1] alone; messages count from ids[0].
  void Feed(StreamState& state, std::span<const TokenId> ids, std::size_t begin, std::size_t end,
            std::string& out) const;

  /// Appends what was held back, an incomplete character as U+FFFD. Nothing when called again.
  void Finish(StreamState& state, std::string& out) const;

  /// How many characters are held back: the beginning of what may be a stop string, and one for an
  /// incomplete character.
  std::size_t NumHeldChars(const StreamState& state) const noexcept;

  /// Whether Feed can have left such a state, by its fields alone: for what comes from outside.
  bool IsPossible(const StreamState& state) const noexcept;

  const std::shared_ptr<const Encoding>& encoding() const noexcept { return encoding_; }
  const StopStrings& stops() const noexcept { return *stops_; }
  bool skip_special_tokens() const noexcept { return skip_special_tokens_; }

 private:
  std::string_view TextAt(std::span<const TokenId> ids, std::size_t i, bool is_first) const;
  void ReadBytes(StreamState& state, std::string_view bytes, std::string& out) const;
  void ReadText(StreamState& state, std::string_view utf8, std::string& out) const;

  std::shared_ptr<const Encoding> encoding_;
  std::shared_ptr<const StopStrings> stops_;
  bool skip_special_tokens_;
};

}  // namespace ctx::tokenize
