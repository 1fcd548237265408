#include "bindings/identity.h"

#include "bindings/arguments.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

std::string Text(py::handle object, const std::string& what) {
  if (!py::isinstance<py::str>(object)) throw ArgumentError(StrCat(what, " must be a str"));
  return std::string(RequireUtf8(object, what));
}

void ParseEntry(const py::tuple& entry, const std::string& where, prefix::Identity* identity) {
  const std::string tag = entry.empty() ? "" : Text(entry[0], StrCat(where, "[0]"));
  if (tag == "lora" && entry.size() == 3) {
    if (identity->lora) throw ArgumentError(StrCat(where, ": a second \"lora\" entry"));
    identity->lora = {Text(entry[1], StrCat(where, "[1]")), Text(entry[2], StrCat(where, "[2]"))};
  } else if (tag == "mm" && entry.size() == 4) {
    identity->media.push_back({Text(entry[1], StrCat(where, "[1]")),
                               RequireInt(entry[2], StrCat(where, "[2]")),
                               RequireInt(entry[3], StrCat(where, "[3]"))});
  } else {
    throw ArgumentError(StrCat(where,
                               " is neither (\"lora\", name, path) nor "
                               "(\"mm\", identifier, offset, length)"));
  }
}

}  // namespace

prefix::Identity ParseIdentity(py::handle cache_salt, py::handle extra_keys) {
  prefix::Identity identity;
  if (!cache_salt.is_none()) identity.cache_salt = Text(cache_salt, "cache_salt");
  if (!extra_keys.is_none()) {
    std::size_t i = 0;
    for (const py::handle entry : extra_keys) {
      const std::string where = StrCat("extra_keys[", i++, "]");
      if (!py::isinstance<py::tuple>(entry)) throw ArgumentError(StrCat(where, " is not a tuple"));
      ParseEntry(py::reinterpret_borrow<py::tuple>(entry), where, &identity);
    }
  }
  prefix::Validate(identity);
  return identity;
}

}  // namespace ctx::bindings
