// truncate and split of `_core.Encoding`. ctxengine/tokenize/ documents what users call.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "tokenize/cuts.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {
namespace {

using tokenize::Encoding;

py::str StrOf(std::string_view utf8) {
  auto text = py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr));
  if (!text) throw py::error_already_set();
  return text;
}

/// The part of the text that can matter: as many characters as `limit` tokens can have bytes. So
/// that no more than that is ever made UTF-8.
py::object NearEnd(const Encoding& encoding, py::handle text, std::int64_t limit, bool keep_end) {
  const Py_ssize_t num_chars = PyUnicode_GET_LENGTH(text.ptr());
  const auto max_bytes = encoding.max_text_bytes_of_token();
  if (!max_bytes || num_chars / static_cast<std::int64_t>(*max_bytes) <= limit) {
    return py::reinterpret_borrow<py::object>(text);
  }
  const auto num_kept = static_cast<Py_ssize_t>(limit * static_cast<std::int64_t>(*max_bytes));
  auto part = py::reinterpret_steal<py::object>(
      keep_end ? PyUnicode_Substring(text.ptr(), num_chars - num_kept, num_chars)
               : PyUnicode_Substring(text.ptr(), 0, num_kept));
  if (!part) throw py::error_already_set();
  return part;
}

py::str Truncate(const Encoding& encoding, Str<"text"> text, std::int64_t limit, bool keep_end) {
  const py::object part = NearEnd(encoding, text.object, limit, keep_end);
  const Utf8Text utf8(part);
  std::string_view kept = utf8.view();
  {
    const ReleaseGilForLongWork release(kept.size());
    kept = keep_end ? kept.substr(tokenize::LongestSuffix(encoding, kept, limit))
                    : kept.substr(0, tokenize::LongestPrefix(encoding, kept, limit));
  }
  return StrOf(kept);
}

py::list Split(const Encoding& encoding, Str<"text"> text, std::int64_t max_tokens,
               std::int64_t overlap) {
  const Utf8Text utf8(text.object);
  std::vector<tokenize::TextSpan> spans;
  {
    const ReleaseGilForLongWork release(utf8.view().size());
    spans = tokenize::Split(encoding, utf8.view(), max_tokens, overlap);
  }
  py::list chunks(spans.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    chunks[i] = StrOf(utf8.view().substr(spans[i].begin, spans[i].end - spans[i].begin));
  }
  return chunks;
}

}  // namespace

void RegisterCuts(py::module_& module) {
  using EncodingClass = py::class_<Encoding, std::shared_ptr<Encoding>>;
  py::reinterpret_borrow<EncodingClass>(module.attr("Encoding"))
      .def("truncate", &Truncate, py::arg("text"), py::arg("limit"), py::arg("keep_end"),
           py::pos_only())
      .def("split", &Split, py::arg("text"), py::arg("max_tokens"), py::arg("overlap"),
           py::pos_only());
}

}  // namespace ctx::bindings
