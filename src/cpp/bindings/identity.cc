#include "bindings/identity.h"

#include <algorithm>

#include "bindings/arguments.h"
#include "bindings/release_gil.h"
#include "common/error.h"
#include "common/sha256.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

std::string Text(py::handle object, const std::string& what) {
  if (!py::isinstance<py::str>(object)) throw ArgumentError(StrCat(what, " must be a str"));
  return std::string(RequireUtf8(object, what));
}

/// A buffer that is released at the end.
class Buffer {
 public:
  explicit Buffer(py::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_STRIDES) != 0) throw py::error_already_set();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  const Py_buffer& view() const noexcept { return view_; }

 private:
  Py_buffer view_{};
};

/// The SHA-256 of the rows of each block.
std::vector<Sha256Digest> HashEmbeds(py::handle object, const std::string& where,
                                     std::int64_t block_size) {
  if (PyObject_CheckBuffer(object.ptr()) == 0) {
    throw ArgumentError(StrCat(where, " must be an array"));
  }
  const Buffer buffer(object);
  const Py_buffer& view = buffer.view();
  if (view.ndim != 2 || PyBuffer_IsContiguous(&view, 'C') == 0) {
    throw ArgumentError(
        StrCat(where, " must be an array of two dimensions, one row per token, ", "without gaps"));
  }
  const auto num_rows = static_cast<std::size_t>(view.shape[0]);
  const std::size_t row_size = num_rows == 0 ? 0 : static_cast<std::size_t>(view.len) / num_rows;
  const auto* data = static_cast<const std::uint8_t*>(view.buf);
  const auto rows_per_block = static_cast<std::size_t>(block_size);
  std::vector<Sha256Digest> digests((num_rows + rows_per_block - 1) / rows_per_block);
  std::size_t row = 0;
  const ReleaseGil release;
  for (Sha256Digest& digest : digests) {
    const std::size_t num_here = std::min(rows_per_block, num_rows - row);
    digest = Sha256({data + row * row_size, num_here * row_size});
    row += num_here;
  }
  return digests;
}

void ParseEntry(const py::tuple& entry, const std::string& where, std::int64_t block_size,
                prefix::Identity* identity) {
  const std::string tag = entry.empty() ? "" : Text(entry[0], StrCat(where, "[0]"));
  if (tag == "lora" && entry.size() == 3) {
    if (identity->lora) throw ArgumentError(StrCat(where, ": a second \"lora\" entry"));
    identity->lora = {Text(entry[1], StrCat(where, "[1]")), Text(entry[2], StrCat(where, "[2]"))};
  } else if (tag == "mm" && entry.size() == 4) {
    identity->media.push_back({Text(entry[1], StrCat(where, "[1]")),
                               RequireInt(entry[2], StrCat(where, "[2]")),
                               RequireInt(entry[3], StrCat(where, "[3]"))});
  } else if (tag == "prompt_embeds" && entry.size() == 2 && block_size > 0) {
    if (identity->prompt_embeds) {
      throw ArgumentError(StrCat(where, ": a second \"prompt_embeds\" entry"));
    }
    identity->prompt_embeds = HashEmbeds(entry[1], StrCat(where, "[1]"), block_size);
  } else {
    throw ArgumentError(StrCat(where, " is neither (\"lora\", name, path) nor ",
                               "(\"mm\", identifier, offset, length)",
                               block_size > 0 ? " nor (\"prompt_embeds\", array)" : ""));
  }
}

}  // namespace

prefix::Identity ParseIdentity(py::handle cache_salt, py::handle extra_keys,
                               std::int64_t block_size) {
  prefix::Identity identity;
  if (!cache_salt.is_none()) identity.cache_salt = Text(cache_salt, "cache_salt");
  if (!extra_keys.is_none()) {
    std::size_t i = 0;
    for (const py::handle entry : extra_keys) {
      const std::string where = StrCat("extra_keys[", i++, "]");
      if (!py::isinstance<py::tuple>(entry)) throw ArgumentError(StrCat(where, " is not a tuple"));
      ParseEntry(py::reinterpret_borrow<py::tuple>(entry), where, block_size, &identity);
    }
  }
  prefix::Validate(identity);
  return identity;
}

}  // namespace ctx::bindings
