// `_core.Appender`. ctxengine/tokenize/appender.py documents what users call.
#include <memory>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/release_gil.h"
#include "tokenize/appender.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {
namespace {

using tokenize::Appender;
using tokenize::Encoding;

// All calls wait for the appender's mutex without the GIL: who appends holds it for long.

std::int64_t Append(Appender& appender, const py::str& text, bool trusted) {
  const Utf8Text utf8(text);
  const ReleaseGil release;
  return appender.Append(utf8.view(), trusted);
}

std::int64_t CountWith(const Appender& appender, const py::str& text, bool trusted) {
  const Utf8Text utf8(text);
  const ReleaseGil release;
  return appender.CountWith(utf8.view(), trusted);
}

/// A read-only view that keeps the ids alive, as they are now.
py::array_t<TokenId> Ids(const Appender& appender) {
  using Shared = std::shared_ptr<const std::vector<TokenId>>;
  auto ids = std::make_unique<Shared>();
  {
    const ReleaseGil release;
    *ids = appender.ids();
  }
  const TokenId* const data = (*ids)->data();
  const auto size = static_cast<py::ssize_t>((*ids)->size());
  const py::capsule owner(ids.get(), [](void* kept) { delete static_cast<Shared*>(kept); });
  ids.release();
  py::array_t<TokenId> view(size, data, owner);
  view.attr("setflags")(py::arg("write") = false);
  return view;
}

std::unique_ptr<Appender> Copy(const Appender& appender) {
  const ReleaseGil release;
  return std::make_unique<Appender>(appender);
}

std::int64_t Count(const Appender& appender) {
  const ReleaseGil release;
  return appender.count();
}

std::size_t ChangedFrom(const Appender& appender) {
  const ReleaseGil release;
  return appender.changed_from();
}

}  // namespace

void RegisterAppender(py::module_& module) {
  py::class_<Appender>(module, "Appender")
      .def(py::init([](std::shared_ptr<Encoding> encoding) {
             return std::make_unique<Appender>(std::move(encoding));
           }),
           py::arg("encoding"), py::pos_only())
      .def("append", &Append, py::arg("text"), py::arg("trusted"), py::pos_only())
      .def("count_with", &CountWith, py::arg("text"), py::arg("trusted"), py::pos_only())
      .def("copy", &Copy)
      .def_property_readonly("count", &Count)
      .def_property_readonly("changed_from", &ChangedFrom)
      .def_property_readonly("ids", &Ids);
}

}  // namespace ctx::bindings
