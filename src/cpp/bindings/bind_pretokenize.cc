// The pre-tokenizers by themselves: for tests, and for looking at where a text is cut.
#include <string>
#include <string_view>

#include "bindings/bindings.h"
#include "bindings/pattern_names.h"
#include "tokenize/pretokenize/scanner.h"

namespace ctx::bindings {
namespace {

namespace py = pybind11;
py::list Pretokenize(std::string_view pattern_name, const py::str& text) {
  const tokenize::Pattern pattern = PatternOf(pattern_name);
  Py_ssize_t size_bytes = 0;
  const char* const data = PyUnicode_AsUTF8AndSize(text.ptr(), &size_bytes);
  if (data == nullptr) throw py::error_already_set();
  py::list ends;
  std::size_t end = 0;
  tokenize::ForEachPreToken(pattern, {data, static_cast<std::size_t>(size_bytes)},
                            [&](std::string_view pre_token) {
                              end += pre_token.size();
                              ends.append(end);
                            });
  return ends;
}

py::bytes CharClasses() {
  constexpr std::size_t kNumCodePoints = 0x110000;
  std::string classes(kNumCodePoints, '\0');
  constexpr std::size_t kBlockSize = std::size_t{1} << tokenize::kClassBlockBits;
  for (std::size_t i = 0; i < kNumCodePoints; ++i) {
    const auto& block = tokenize::kClassBlocks[tokenize::kClassBlockOf[i / kBlockSize]];
    classes[i] = static_cast<char>(block[i % kBlockSize]);
  }
  return py::bytes(classes);
}

}  // namespace

void RegisterPretokenize(py::module_& module) {
  module.def("pretokenize", &Pretokenize, py::arg("pattern"), py::arg("text"), py::pos_only(),
             "Byte offsets in the UTF-8 of text at which its pre-tokens end.");
  module.def("char_classes", &CharClasses,
             "Class bits (tokenize/unicode/unicode_tables.h) of each code point from U+0000 on.");
}

}  // namespace ctx::bindings
