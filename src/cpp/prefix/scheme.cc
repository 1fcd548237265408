#include "prefix/scheme.h"

#include <string>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::prefix {
namespace {

using enum IntegerForm;

// In the order of Scheme.
constexpr SchemeFacts kFacts[] = {
    {"vllm_sha256", 32, kLast, true, true, true, true},
    {"vllm_sha256_cbor", 32, kLast, true, true, true, true},
    {"vllm_xxhash", 16, kLast, true, true, true, true},
    {"vllm_xxhash_cbor", 16, kLast, true, true, true, true},
    {"sglang", 32, kFirst, true, false, false, false},
    {"dynamo", 8, kLast, false, true, true, false},
    {"dynamo_sequence", 8, kLast, false, true, true, false},
    {"lmcache", 32, kFirst, false, false, false, false},
    {"keyed128", 16, kLast, true, true, true, true},
};

}  // namespace

const SchemeFacts& FactsOf(Scheme scheme) noexcept {
  return kFacts[static_cast<std::size_t>(scheme)];
}

Scheme ParseScheme(std::string_view name) {
  std::string known;
  for (const SchemeFacts& facts : kFacts) {
    if (facts.name == name) return static_cast<Scheme>(&facts - kFacts);
    known.append(known.empty() ? "" : ", ").append(facts.name);
  }
  throw ArgumentError(StrCat("unknown scheme '", name, "'; known: ", known));
}

}  // namespace ctx::prefix
