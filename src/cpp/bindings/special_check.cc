#include "bindings/special_check.h"

#include <pybind11/pybind11.h>

#include <string>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {

namespace py = pybind11;

void RefuseSpecialTokens(const tokenize::SpecialTokens& disallowed, std::string_view text) {
  const auto match = disallowed.Find(text);
  if (!match) return;
  const std::string quoted =
      py::repr(py::str(text.data() + match->begin, match->end - match->begin));
  throw SpecialTokenError(StrCat(
      "Encountered text corresponding to disallowed special token ", quoted,
      ".\nIf you want this text to be encoded as a special token, pass it to `allowed_special`, "
      "e.g. `allowed_special={",
      quoted,
      ", ...}`.\n"
      "If you want this text to be encoded as normal text, disable the check for this token by "
      "passing `disallowed_special=(enc.special_tokens_set - {",
      quoted,
      "})`.\n"
      "To disable this check for all special tokens, pass `disallowed_special=()`.\n"));
}

}  // namespace ctx::bindings
