// Reads the regular expressions of published tokenizers and writes them for PCRE2.
//
// The subset: literals and escapes; classes, nested ones and && included; groups, (?i) in front and
// (?i:...); lookaround, lookbehind of fixed lengths; greedy, lazy and possessive quantifiers;
// alternation; . ^ $ \A \z \b \B; \s \d \w \h and \p{..} with general categories, scripts,
// Alphabetic and White_Space.
//
// Everything that depends on Unicode is written as ranges of code points from our own tables
// (Unicode 16.0), case folding too, so that PCRE2's own tables never matter. The two flavors, by
// their engines, differ in this:
//
//                    tiktoken (fancy-regex)      Hugging Face (Oniguruma, Ruby syntax)
//   ^ $              ends of the text            ends of a line
//   \w \b            with joiners                outside of [], with ² ³ ¹ ¼ ½ ¾
//   {m,n}+           possessive                  {m,n}, repeated
//   {,n}             refused                     {0,n}
//   (?i)             simple folding              full folding; refused where that differs
//   && under (?i)    folds both sides            refused
//
// Pure functions: callable from any thread.
#pragma once

#include <string>
#include <string_view>

#include "tokenize/definition.h"

namespace ctx::tokenize {

struct TranslatedRegex {
  std::string pcre2;  ///< for PCRE2 with UTF on and no other option
  bool can_match_empty;
  bool looks_behind;  ///< at what stands before a match: lookbehind, ^ \A \b \B
};

/// Throws LoadError, naming byte and construct, for what is not in the subset. O(pattern) apart
/// from classes, which cost O(ranges log(ranges)) each.
TranslatedRegex TranslateRegex(std::string_view pattern, PreTokenizerStep::Flavor flavor);

/// The pattern for an error message: in quotes, cut after 200 bytes.
std::string QuotedPattern(std::string_view pattern);

}  // namespace ctx::tokenize
