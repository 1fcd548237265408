// The ids of a text that grows: a chat, a streamed answer, a prompt that is being put together.
//
// After every Append the ids are those of Encoding::EncodeSegments for all that was appended, one
// segment per call. The work is that of the new text and of what it can still change: the
// pre-tokens whose end was decided by the end of text, for ordinary text a word or two.
//
// Each call is atomic under a mutex: any thread may call at any time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "tokenize/encoding.h"
#include "tokenize/pretokenize/first_pre_token.h"

namespace ctx::tokenize {

class Appender {
 public:
  explicit Appender(std::shared_ptr<const Encoding> encoding);
  /// Shares the ids until one of the two changes.
  Appender(const Appender& other);
  Appender& operator=(const Appender&) = delete;

  /// Adds text, in which spellings of special tokens count if it is `trusted`. O(text + open part),
  /// where the open part is the last pre-token and what hangs on it; of a pre-token of many
  /// kilobytes (an encoding without a pre-tokenizer has but one) only the end, amortized. Where a
  /// normalizer promises nothing (Normalizer::StablePrefix), all since the last special token is
  /// open. When memory runs out (std::bad_alloc), nothing has changed. Returns count().
  std::int64_t Append(std::string_view utf8, bool trusted);

  std::int64_t count() const;
  /// What Append would return; nothing changes. O(text + open part).
  std::int64_t CountWith(std::string_view utf8, bool trusted) const;
  /// Index of the first id that the last Append changed or added.
  std::size_t changed_from() const;
  /// The ids as of now; they stay as they are when the appender goes on.
  std::shared_ptr<const std::vector<TokenId>> ids() const;

 private:
  /// What appended text may still change: the text since the last final pre-token.
  struct Open {
    std::string normalized;  // from the first open pre-token on, as far as the normalizer is done
    std::string raw;         // what follows it, which the normalizer may still change
    Normalizer::Position position = Normalizer::Position::kInputStart;  // of `raw`
    std::size_t num_ids = 0;                                            // what all this gave
    // When all this begins with a long pre-token: what its bytes in `normalized` give, so that only
    // its end is merged again.
    std::vector<Rank> ranks;
    std::size_t num_merged_bytes = 0;
    std::size_t num_ids_of_ranks = 0;        // so many ids at the front are those of the ranks
    std::optional<FirstPreToken> pre_token;  // where a scanner cuts

    void ForgetRanks() noexcept {
      ranks.clear();
      num_merged_bytes = num_ids_of_ranks = 0;
      pre_token.reset();
    }
  };

  /// Where what is open begins with a long pre-token and that goes on, appends without a copy of
  /// it. False, and nothing changed, where it is not so.
  bool LengthenPreToken(std::string_view utf8, bool trusted);
  /// Where the long pre-token ends, which was open with `size_before` bytes and is now followed by
  /// `tail`; 0 when it is final or only a look at all of it would tell.
  std::size_t EndOfLengthened(Open& open, std::size_t size_before, std::string_view tail) const;
  void AppendToCopy(std::string_view utf8, bool trusted);
  void AppendSections(std::string_view utf8, bool trusted, Open& open,
                      std::vector<TokenId>& ids) const;
  void AppendOrdinary(std::string_view text, Open& open, std::vector<TokenId>& ids) const;
  /// Adds text to the open one, normalized as far as it can be.
  void TakeText(std::string_view text, Open& open) const;
  void EncodeOpen(Open& open, std::vector<TokenId>& ids) const;
  /// Likewise, where it begins with a long pre-token of so many bytes, and `tail` is not in
  /// open.normalized yet. Returns the index of the first id that changed. On std::bad_alloc the ids
  /// have not changed, and of `open` the ranks have to be forgotten.
  std::size_t EncodeLongOpen(Open& open, std::size_t num_bytes, std::string_view tail,
                             std::vector<TokenId>& ids) const;

  const std::shared_ptr<const Encoding> encoding_;
  mutable std::mutex mutex_;
  std::shared_ptr<std::vector<TokenId>> ids_;
  Open open_;
  std::size_t changed_from_ = 0;
};

}  // namespace ctx::tokenize
