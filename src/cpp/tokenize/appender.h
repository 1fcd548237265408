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
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "tokenize/encoding.h"

namespace ctx::tokenize {

class Appender {
 public:
  explicit Appender(std::shared_ptr<const Encoding> encoding);
  /// Shares the ids until one of the two changes.
  Appender(const Appender& other);
  Appender& operator=(const Appender&) = delete;

  /// Adds text, in which spellings of special tokens count if it is `trusted`. O(text + open part),
  /// where the open part is the last pre-token and what hangs on it. A pre-token of many kilobytes
  /// (an encoding without a pre-tokenizer has but one) is not merged again, only its end. Where a
  /// normalizer promises nothing (Normalizer::StablePrefix), all since the last special token is
  /// open. When memory runs out (std::bad_alloc), nothing has changed. Returns count().
  std::int64_t Append(std::string_view utf8, bool trusted);

  std::int64_t count() const;
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
    // When all this is one long pre-token: what `normalized` gives, so that only its end is merged
    // again.
    std::vector<Rank> ranks;
    std::size_t num_merged_bytes = 0;
    bool ids_are_of_ranks = false;  // and of nothing more

    void ForgetRanks() noexcept {
      ranks.clear();
      num_merged_bytes = 0;
      ids_are_of_ranks = false;
    }
  };

  void AppendSections(std::string_view utf8, bool trusted, Open& open,
                      std::vector<TokenId>& ids) const;
  void AppendOrdinary(std::string_view text, Open& open, std::vector<TokenId>& ids) const;
  void EncodeOpen(Open& open, std::vector<TokenId>& ids) const;

  const std::shared_ptr<const Encoding> encoding_;
  mutable std::mutex mutex_;
  std::shared_ptr<std::vector<TokenId>> ids_;
  Open open_;
  std::size_t changed_from_ = 0;
};

}  // namespace ctx::tokenize
