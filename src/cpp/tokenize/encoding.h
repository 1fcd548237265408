// A byte-level BPE encoding: pre-tokenizer pattern, vocabulary and special tokens.
//
// Token ids equal tiktoken's for the same tables. Immutable after construction: every const member
// function may be called from any number of threads at once. Texts must be valid UTF-8 (unchecked);
// EncodeBytes and EncodePreToken take any bytes.
//
// Unless a name says otherwise the ids are appended to the vector; when a call throws
// (std::bad_alloc alone), the vector holds what it held before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "tokenize/bpe/vocabulary.h"
#include "tokenize/pretokenize/scanner.h"
#include "tokenize/special_tokens.h"

namespace ctx::tokenize {

/// A piece of a rendered prompt. Only trusted text can spell special tokens.
struct Segment {
  std::string_view text;
  bool trusted;
};

class Encoding {
 public:
  /// Throws LoadError when the id of a special token is also that of an ordinary token, or is 2^31
  /// or more. Two spellings may share an id; it decodes to the one that sorts first.
  Encoding(std::string name, Pattern pattern, Vocabulary vocabulary, SpecialTokens special_tokens);

  /// Every byte is ordinary text: spellings of special tokens are text like any other. O(text).
  void EncodeOrdinary(std::string_view utf8, std::vector<TokenId>& ids) const;

  /// How many ids EncodeOrdinary would append; stores nothing.
  std::int64_t CountOrdinary(std::string_view utf8) const;

  /// Whether CountOrdinary(utf8) <= limit, in O(limit): it stops as soon as the answer is known.
  bool FitsOrdinary(std::string_view utf8, std::int64_t limit) const;

  /// The spellings in `allowed` become their ids, all else is ordinary text.
  void Encode(std::string_view utf8, const SpecialTokens& allowed, std::vector<TokenId>& ids) const;

  /// As Encode; also returns how many of the last ids could change if text were appended: those of
  /// the last pre-token and, if it is blank, of the blank ids before it (tiktoken's rule). 0 when
  /// the text is empty or ends in a special token.
  std::size_t EncodeWithUnstable(std::string_view utf8, const SpecialTokens& allowed,
                                 std::vector<TokenId>& ids) const;

  /// Encodes the concatenation of the segments. A special token is recognised only where its
  /// spelling lies wholly inside one trusted segment; everything else is ordinary text and is
  /// pre-tokenized across segment borders, as if the prompt had been rendered to one string.
  void EncodeSegments(std::span<const Segment> segments, std::vector<TokenId>& ids) const;
  std::int64_t CountSegments(std::span<const Segment> segments) const;

  /// Any bytes, UTF-8 or not; decoding the ids gives the bytes back. Valid UTF-8 is encoded as by
  /// EncodeOrdinary; otherwise the unstable ids (as above) of the text before the first malformed
  /// byte are given up and everything from there on is merged as one pre-token, as tiktoken does.
  void EncodeBytes(std::string_view bytes, std::vector<TokenId>& ids) const;

  /// `bytes` merged as one pre-token, without consulting the pattern.
  void EncodePreToken(std::string_view bytes, std::vector<TokenId>& ids) const;

  std::optional<TokenId> SpecialTokenId(std::string_view spelling) const noexcept {
    return special_tokens_.IdOf(spelling);
  }
  /// The bytes of an ordinary token; empty when there is none of this id.
  std::string_view TokenBytes(TokenId id) const noexcept {
    return vocabulary_.Bytes(vocabulary_.RankOf(id));
  }
  /// Nothing when `id` is no special token.
  const SpecialToken* FindSpecialToken(TokenId id) const noexcept;

  /// The id whose bytes are exactly these, ordinary or special; throws UnknownTokenError.
  TokenId EncodeSingleToken(std::string_view bytes) const;

  const std::string& name() const noexcept { return name_; }
  Pattern pattern() const noexcept { return pattern_; }
  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }
  const SpecialTokens& special_tokens() const noexcept { return special_tokens_; }
  /// Special tokens sorted by id.
  const std::vector<SpecialToken>& special_tokens_by_id() const noexcept { return by_id_; }
  TokenId max_token_id() const noexcept { return max_token_id_; }

  /// 32 hexadecimal digits over pattern, tokens and special tokens (not the name): equal exactly
  /// when every text gets the same ids. The same in every process; not a cryptographic hash.
  const std::string& fingerprint() const noexcept { return fingerprint_; }

 private:
  std::size_t NumUnstable(std::span<const TokenId> ids, std::size_t num_last) const noexcept;

  std::string name_;
  Pattern pattern_;
  Vocabulary vocabulary_;
  SpecialTokens special_tokens_;
  std::vector<SpecialToken> by_id_;
  TokenId max_token_id_ = 0;
  std::string fingerprint_;
};

}  // namespace ctx::tokenize
