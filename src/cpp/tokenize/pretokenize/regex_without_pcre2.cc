// The regular expressions of a build without PCRE2: none.
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/regex.h"

namespace ctx::tokenize {

struct RegexMatcher::State {};

Regex::Regex(std::string_view pattern, PreTokenizerStep::Flavor /*flavor*/) : pattern_(pattern) {
  throw LoadError(StrCat("regular expression ", pattern_,
                         ": ctxengine was built without PCRE2 (CTXENGINE_PCRE2=OFF)"));
}

RegexMatcher::RegexMatcher(const Regex& regex) : regex_(regex) {}
RegexMatcher::~RegexMatcher() = default;

bool RegexMatcher::Find(std::string_view /*text*/, std::size_t /*from*/, RegexMatch& /*match*/) {
  return false;  // there is no Regex to search with
}

RegexMatcher::Outcome RegexMatcher::FindFinal(std::string_view /*text*/, std::size_t /*from*/,
                                              RegexMatch& /*match*/) {
  return Outcome::kNeedsMoreText;
}

}  // namespace ctx::tokenize
