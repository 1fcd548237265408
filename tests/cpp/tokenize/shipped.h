// The shipped encodings, each loaded once for all tests.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "tokenize/shipped_encodings.h"

namespace ctx::tokenize::testing {

inline const std::shared_ptr<const Encoding>& SharedShipped(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Encoding>> loaded;
  std::shared_ptr<const Encoding>& encoding = loaded[name];
  if (!encoding) encoding = LoadShippedEncoding(name, CTXENGINE_VOCABULARY_DIR);
  return encoding;
}

inline const Encoding& Shipped(const std::string& name) { return *SharedShipped(name); }

}  // namespace ctx::tokenize::testing
