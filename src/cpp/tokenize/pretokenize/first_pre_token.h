// The end of a long pre-token, looked for again and again as text is added or taken away, without
// passing over all of it each time.
//
// What a scanner knows of a long pre-token when it has come to some place is little: that it is
// among letters, or white space with a newline in it. A short text that leaves it with the same
// knowledge can stand for all up to there.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tokenize/pretokenize/scanner.h"

namespace ctx::tokenize {

/// So many bytes at the front of a text, which belong to its first pre-token whatever follows, can
/// be replaced by a short text, and the scanner goes on as it would.
struct StandIn {
  std::string_view text;
  std::size_t num_replaced = 0;  // none when nothing is known to stand for them
};

/// For a text of 16 bytes or more without a final pre-token. O(size).
StandIn StandInFor(Pattern pattern, std::string_view text) noexcept;

/// NextPreToken or NextFinalPreToken of the text's front.
std::size_t EndOfFirstPreToken(Pattern pattern, std::string_view text, bool is_final) noexcept;

/// Whether the pre-token that begins at `begin` ends at `end`, where the one does that begins a
/// character later. O(1), inside words and white space; false where it takes a look at more.
bool EndsLikeTheNext(Pattern pattern, std::string_view text, std::size_t begin,
                     std::size_t end) noexcept;

/// The first pre-token of a text that grows at its end. A text that is shorter than the one before
/// is looked at anew.
class FirstPreToken {
 public:
  explicit FirstPreToken(Pattern pattern) noexcept : pattern_(pattern) {}

  /// As EndOfFirstPreToken, of the text and a tail that does not stay. Amortized O(what has been
  /// added), but for text behind the newlines of white space and patterns without stand-ins.
  std::size_t End(std::string_view text, std::string_view tail = {});
  std::size_t FinalEnd(std::string_view text);

  /// What comes next is another text.
  void Forget() noexcept;

 private:
  /// Takes what the text has more than the one before.
  void Follow(std::string_view text);
  void SetAside(std::string_view text);
  std::size_t EndInText(std::size_t end_in_kept) const noexcept {
    return end_in_kept == 0 ? 0 : end_in_kept - stand_in_bytes_ + num_replaced_;
  }

  Pattern pattern_;
  // When num_replaced_ is not 0: stands for the first num_seen_ bytes; what stands for the first
  // num_replaced_ of them has stand_in_bytes_.
  std::string kept_;
  std::size_t stand_in_bytes_ = 0;
  std::size_t num_replaced_ = 0;
  std::size_t num_seen_ = 0;
  std::size_t next_try_bytes_ = kFirstTryBytes;  // set aside when so many would be looked at

  static constexpr std::size_t kFirstTryBytes = 64;
};

}  // namespace ctx::tokenize
