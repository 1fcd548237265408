// What an encoding is made of, as plain data: the loaders write it, Encoding compiles it, pickling
// carries it. The steps are those of Hugging Face's tokenizer.json, in the order in which text
// passes them:
//
//     text -> special tokens cut out -> normalizer -> pre_tokenizer -> model -> ids
//
// Nothing here is checked: the constructor of Encoding does that (check_definition.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"

namespace ctx::tokenize {

inline constexpr std::size_t kMaxTokenBytes = 65535;  ///< of one token or spelling
inline constexpr TokenId kMaxTokenId = 0x7FFFFFFF;    ///< of special tokens; others are smaller

struct NormalizerStep {
  enum class Kind : std::uint8_t {
    kNfc,
    kNfkc,
    kLowercase,      ///< each character by itself, as Hugging Face does: no final sigma
    kReplace,        ///< every `pattern`, leftmost first, by `content`
    kPrepend,        ///< `content` before a text that is not empty
    kPrependUnless,  ///< likewise, unless the text begins with `content`
    kPrependFirst,   ///< likewise, and only where the whole input begins
  };
  Kind kind;
  std::string pattern;
  std::string content;
  friend bool operator==(const NormalizerStep&, const NormalizerStep&) = default;
};

struct PreTokenizerStep {
  enum class Kind : std::uint8_t {
    kRegex,        ///< split at matches of the regular expression `pattern`
    kLiteral,      ///< split at occurrences of the string `pattern`
    kDigits,       ///< split off runs of numbers (`behavior` kContiguous) or each one (kIsolated)
    kPunctuation,  ///< split at each punctuation character
  };
  /// What becomes of the delimiter, by Hugging Face's names.
  enum class Behavior : std::uint8_t {
    kIsolated,
    kRemoved,
    kMergedWithPrevious,
    kMergedWithNext,
    kContiguous,
  };
  /// Whose reading of `pattern` holds; they differ in ^, $ and in what a class may hold.
  enum class Flavor : std::uint8_t { kTiktoken, kHuggingFace };
  Kind kind = Kind::kRegex;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  ///< the matches are the pieces and what lies between is the delimiter
  Flavor flavor = Flavor::kTiktoken;
  std::string pattern;
  friend bool operator==(const PreTokenizerStep&, const PreTokenizerStep&) = default;
};

/// An ordinary token.
struct TokenDefinition {
  std::string bytes;  ///< as the model sees them, after the normalizer
  TokenId id;
  friend bool operator==(const TokenDefinition&, const TokenDefinition&) = default;
};

struct ModelDefinition {
  /// What is merged first.
  enum class MergeRule : std::uint8_t {
    kRanks,  ///< the pair whose joined bytes come first in `tokens`
    kPairs,  ///< the pair that comes first in `merges`
  };
  /// What merging begins with.
  enum class Symbols : std::uint8_t {
    kBytes,
    kCharacters,  ///< a character that no merge takes up and that is no token becomes `byte_ids`
  };
  MergeRule merge_rule = MergeRule::kRanks;
  Symbols symbols = Symbols::kBytes;
  /// Whether a pre-token that is a token is taken whole, however merging would end (Hugging Face's
  /// ignore_merges; tiktoken's rule).
  bool whole_first = true;
  std::vector<TokenDefinition> tokens;  ///< kRanks: in order of rank
  /// kRanks: the rank of each of `tokens`, ascending; empty when they are 0, 1, 2, ... Of pairs of
  /// equal rank the leftmost is merged first, whichever token it gives (SentencePiece's rule).
  std::vector<std::uint32_t> ranks;
  std::vector<std::pair<TokenId, TokenId>> merges;  ///< kPairs: ids of the parts, in order of rank
  std::vector<TokenId> byte_ids;  ///< kCharacters: the 256 tokens <0x00> to <0xFF>, not in `tokens`
  /// kCharacters: strings that are one symbol wherever the normalized text has them, trusted or
  /// not, from left to right and the longest first; they are never merged with anything
  /// (SentencePiece's user-defined symbols). None of them is among `tokens`.
  std::vector<TokenDefinition> user_defined;
  // What CanonicalModel sorts out of `tokens`; loaders leave these empty.
  std::vector<TokenDefinition> whole_tokens;   ///< found whole, never by merging
  std::vector<TokenDefinition> unused_tokens;  ///< never found in text, but decoded
  friend bool operator==(const ModelDefinition&, const ModelDefinition&) = default;
};

/// A special or added token: a spelling that is one token wherever trusted text has it. Its id is
/// no ordinary token's, but for one with `special` false that is the ordinary token of these bytes.
struct SpecialTokenDefinition {
  std::string spelling;  ///< not empty
  TokenId id = 0;
  bool special = true;       ///< a control token, left out by skip_special_tokens
  bool single_word = false;  ///< only where no word character is beside it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space after it along
  friend bool operator==(const SpecialTokenDefinition&, const SpecialTokenDefinition&) = default;
};

/// How the bytes of tokens become text again. Bytes are joined either way.
struct DecoderDefinition {
  /// "▁" (U+2581) in a token stands for a space, and the text loses one space at its front if it
  /// has one there and `strip_leading_space` is set.
  bool metaspace = false;
  bool strip_leading_space = false;
  friend bool operator==(const DecoderDefinition&, const DecoderDefinition&) = default;
};

/// Ids put before and after every text when special tokens are asked for.
struct PostProcessorDefinition {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
  friend bool operator==(const PostProcessorDefinition&, const PostProcessorDefinition&) = default;
};

struct EncodingDefinition {
  std::string name;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  ModelDefinition model;
  std::vector<SpecialTokenDefinition> special_tokens;
  DecoderDefinition decoder;
  PostProcessorDefinition post_processor;
  friend bool operator==(const EncodingDefinition&, const EncodingDefinition&) = default;
};

}  // namespace ctx::tokenize
