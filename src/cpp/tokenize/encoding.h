// A BPE encoding: special tokens, normalizer, pre-tokenizer and vocabulary, which text passes in
// this order.
//
// Token ids equal those of tiktoken, tokenizers or sentencepiece for the same tables. Immutable
// after construction: every const member function may be called from any number of threads at once.
// Texts must be valid UTF-8 (unchecked); EncodeBytes and EncodePreToken take any bytes.
//
// Unless a name says otherwise the ids are appended to the output or vector; when a call throws
// (std::bad_alloc alone), that holds what it held before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "tokenize/bpe/vocabulary.h"
#include "tokenize/definition.h"
#include "tokenize/id_output.h"
#include "tokenize/pretokenize/pre_tokenizer.h"
#include "tokenize/special_tokens.h"
#include "tokenize/unicode/normalizer.h"

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
  Encoding(std::string name, Pattern pattern, Vocabulary vocabulary, SpecialTokens special_tokens,
           std::vector<NormalizerStep> normalizer = {});

  /// Throws LoadError as above and for whatever else the definition cannot mean
  /// (check_definition.h). Regular expressions that no scanner of ours knows need `allow_regex`;
  /// without it they are a LoadError too.
  Encoding(const EncodingDefinition& definition, bool allow_regex);

  /// What the second constructor makes an equal encoding of (the model in canonical form).
  EncodingDefinition Definition() const;

  /// Every byte is ordinary text: spellings of special tokens are text like any other. O(text).
  void EncodeOrdinary(std::string_view utf8, IdOutput& ids) const;
  void EncodeOrdinary(std::string_view utf8, std::vector<TokenId>& ids) const;

  /// As EncodeOrdinary for one text after the other, of short ones faster; sizes[i] becomes how
  /// many ids there are after text i.
  void EncodeTexts(std::span<const std::string_view> texts, IdOutput& ids,
                   std::int64_t* sizes) const;

  /// The same sizes, from 0 on, of ids that are not stored.
  void CountTexts(std::span<const std::string_view> texts, std::int64_t* sizes) const;

  /// How many ids EncodeOrdinary would append; stores nothing.
  std::int64_t CountOrdinary(std::string_view utf8) const;

  /// Whether a TextCounter does with chunks of the text what CountOrdinary does with all of it,
  /// unless it gives up.
  bool CountsInChunks() const noexcept;

  /// Whether CountOrdinary(utf8) <= limit, in O(limit): it stops as soon as the answer is known.
  /// (O(text) where a normalizer promises nothing, or normalizer or pre-tokenizer may take text
  /// away.)
  bool FitsOrdinary(std::string_view utf8, std::int64_t limit) const;

  /// The spellings in `allowed` become their ids, all else is ordinary text.
  void Encode(std::string_view utf8, const SpecialTokens& allowed, IdOutput& ids) const;
  void Encode(std::string_view utf8, const SpecialTokens& allowed, std::vector<TokenId>& ids) const;

  /// As Encode; also returns how many of the last ids could change if text were appended: those of
  /// the last pre-token and, if it is blank, of the blank ids before it (tiktoken's rule). 0 when
  /// the text is empty or ends in a special token.
  std::size_t EncodeWithUnstable(std::string_view utf8, const SpecialTokens& allowed,
                                 std::vector<TokenId>& ids) const;

  /// Encodes the concatenation of the segments. A special token is recognised only where its
  /// spelling lies wholly inside one trusted segment; everything else is ordinary text and is
  /// pre-tokenized across segment borders, as if the prompt had been rendered to one string.
  void EncodeSegments(std::span<const Segment> segments, IdOutput& ids) const;
  void EncodeSegments(std::span<const Segment> segments, std::vector<TokenId>& ids) const;
  std::int64_t CountSegments(std::span<const Segment> segments) const;

  /// Text that has passed the normalizer: those of its pre-tokens that begin before byte `limit`,
  /// the end of one of them.
  void EncodeNormalized(std::string_view utf8, std::size_t limit, std::vector<TokenId>& ids) const;
  /// How many ids those are.
  std::int64_t CountNormalized(std::string_view utf8, std::size_t limit) const;

  /// Any bytes, UTF-8 or not; decoding the ids gives the bytes back where the normalizer does.
  /// Valid UTF-8 is encoded as by EncodeOrdinary. Otherwise, without a normalizer and with bytes
  /// for symbols, the unstable ids (as above) of the text before the first malformed byte are given
  /// up and everything from there on is merged as one pre-token, as tiktoken does; else each
  /// malformed byte becomes its byte token and what lies between is encoded as text.
  void EncodeBytes(std::string_view bytes, IdOutput& ids) const;
  void EncodeBytes(std::string_view bytes, std::vector<TokenId>& ids) const;

  /// `bytes` merged as one pre-token, without consulting the pattern.
  void EncodePreToken(std::string_view bytes, IdOutput& ids) const;
  void EncodePreToken(std::string_view bytes, std::vector<TokenId>& ids) const;

  std::optional<TokenId> SpecialTokenId(std::string_view spelling) const noexcept {
    return special_tokens_.IdOf(spelling);
  }
  /// The bytes of an ordinary token as text has them (the model may see "▁" for a space); empty
  /// when there is none of this id.
  std::string_view TokenBytes(TokenId id) const noexcept {
    const Rank rank = vocabulary_.RankOf(id);
    return rank < text_of_.size() ? text_of_[rank] : vocabulary_.Bytes(rank);
  }
  /// Whether decoded text loses a space that it begins with: the normalizer put one there.
  bool strips_leading_space() const noexcept { return decoder_.strip_leading_space; }
  /// The ids that an id list gets before and after when special tokens are asked for.
  const PostProcessorDefinition& post_processor() const noexcept { return post_processor_; }
  /// No token stands for more bytes of text; nothing when a token may stand for any number.
  std::optional<std::size_t> max_text_bytes_of_token() const noexcept { return max_text_bytes_; }
  /// Nothing when `id` is no special token.
  const SpecialToken* FindSpecialToken(TokenId id) const noexcept;

  /// The id whose bytes are exactly these, ordinary or special; throws UnknownTokenError.
  TokenId EncodeSingleToken(std::string_view bytes) const;

  const std::string& name() const noexcept { return name_; }
  const Normalizer& normalizer() const noexcept { return normalizer_; }
  const PreTokenizer& pre_tokenizer() const noexcept { return pre_tokenizer_; }
  /// Spellings that normalized text always has as tokens.
  const SpecialTokens& user_defined() const noexcept { return user_defined_; }
  /// How many bytes the pre-tokens at the front of normalized text have that nothing that follows
  /// can change.
  std::size_t FinalPrefix(std::string_view normalized) const;
  /// Where the first pre-token of normalized text ends, when the rest is cut as it would be by
  /// itself; 0 where nobody knows, or there are user-defined symbols.
  std::size_t FirstPreToken(std::string_view normalized) const;
  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }
  const SpecialTokens& special_tokens() const noexcept { return special_tokens_; }
  /// Special tokens sorted by id.
  const std::vector<SpecialToken>& special_tokens_by_id() const noexcept { return by_id_; }
  TokenId max_token_id() const noexcept { return max_token_id_; }

  /// 32 hexadecimal digits over pattern, tokens and special tokens (not the name): equal exactly
  /// when every text gets the same ids. The same in every process; not a cryptographic hash. The
  /// first call is O(vocabulary).
  const std::string& fingerprint() const;

 private:
  template <typename Sink>
  void ForNormalized(std::string_view text, std::size_t limit, Sink& sink) const;
  template <typename Sink>
  void ForPreTokens(std::string_view text, std::size_t limit, Sink& sink) const;
  template <typename Sink>
  void ForOrdinary(std::string_view text, Normalizer::Position position, Sink& sink) const;
  template <typename Sink>
  void ForSegments(const SpecialTokens& special_tokens, std::span<const Segment> segments,
                   Sink& sink) const;
  template <typename Sink>
  void ForTexts(std::span<const std::string_view> texts, Sink& sink, std::int64_t* sizes) const;
  std::size_t NumUnstable(std::span<const TokenId> ids, std::size_t num_last) const noexcept;
  bool IsCountedInChunks(std::size_t size_bytes) const noexcept;
  void Finish();
  void MakeTokenTexts();
  std::string MakeFingerprint() const;

  std::string name_;
  std::vector<NormalizerStep> normalizer_steps_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Vocabulary vocabulary_;
  SpecialTokens user_defined_;
  SpecialTokens special_tokens_;
  DecoderDefinition decoder_;
  PostProcessorDefinition post_processor_;
  std::vector<SpecialToken> by_id_;
  std::string texts_;                      // backs text_of_
  std::vector<std::string_view> text_of_;  // by rank; empty when tokens are text as they are
  std::optional<std::size_t> max_text_bytes_;
  TokenId max_token_id_ = 0;
  mutable std::once_flag fingerprint_made_;
  mutable std::string fingerprint_;
};

}  // namespace ctx::tokenize
