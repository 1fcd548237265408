#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/identity.h"
#include "bindings/int_array.h"
#include "bindings/release_gil.h"
#include "common/error.h"
#include "prefix/block_hasher.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using prefix::BlockHasher;

constexpr std::size_t kReleaseGilTokens = 4096;  // about 30 us of hashing

std::span<const std::uint8_t> BytesOf(const py::bytes& bytes) {
  const std::string_view view = bytes;
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

prefix::Root ParseRoot(const py::object& root) {
  if (root.is_none()) return {};
  if (py::isinstance<py::str>(root)) return std::string(RequireUtf8(root, "root"));
  if (py::isinstance<py::bytes>(root)) {
    const auto bytes = BytesOf(root.cast<py::bytes>());
    return std::vector<std::uint8_t>(bytes.begin(), bytes.end());
  }
  throw ArgumentError("root must be str, bytes or None");
}

std::vector<std::uint8_t> Digests(const BlockHasher& hasher, const py::object& token_ids,
                                  const py::object& parent) {
  const TokenIds ids(token_ids);
  std::optional<std::span<const std::uint8_t>> parent_bytes;
  if (!parent.is_none()) {
    RequireBytes(parent, "parent");
    parent_bytes = BytesOf(py::reinterpret_borrow<py::bytes>(parent));
  }
  if (ids.values().size() < kReleaseGilTokens) return hasher.Hash(ids.values(), parent_bytes);
  const ReleaseGil release;
  return hasher.Hash(ids.values(), parent_bytes);
}

py::list Hash(const BlockHasher& hasher, const py::object& token_ids, const py::object& parent) {
  const std::vector<std::uint8_t> digests = Digests(hasher, token_ids, parent);
  const std::size_t size = hasher.digest_size();
  py::list result(digests.size() / size);
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = py::bytes(reinterpret_cast<const char*>(digests.data() + i * size), size);
  }
  return result;
}

py::array_t<std::uint64_t> HashInt64(const BlockHasher& hasher, const py::object& token_ids,
                                     const py::object& parent) {
  const std::vector<std::uint8_t> digests = Digests(hasher, token_ids, parent);
  const std::size_t size = hasher.digest_size();
  py::array_t<std::uint64_t> result(static_cast<py::ssize_t>(digests.size() / size));
  std::uint64_t* out = result.mutable_data();
  for (std::size_t begin = 0; begin < digests.size(); begin += size) {
    *out++ = prefix::LowBits({digests.data() + begin, size});
  }
  return result;
}

}  // namespace

void RegisterPrefix(py::module_& module) {
  py::class_<BlockHasher>(module, "BlockHasher")
      .def(py::init([](Int<"block_size"> block_size, Str<"scheme"> scheme,
                       const py::object& cache_salt, const py::object& extra_keys,
                       const py::object& root) {
             return BlockHasher(
                 block_size.value,
                 prefix::ParseScheme(std::string(RequireUtf8(scheme.object, "scheme"))),
                 ParseIdentity(cache_salt, extra_keys), ParseRoot(root));
           }),
           py::arg("block_size"), py::arg("scheme"), py::arg("cache_salt"), py::arg("extra_keys"),
           py::arg("root"), py::pos_only())
      .def_property_readonly("block_size", &BlockHasher::block_size)
      .def_property_readonly("digest_size", &BlockHasher::digest_size)
      .def("hash", &Hash, py::arg("token_ids"), py::arg("parent").none(true), py::pos_only())
      .def("hash_int64", &HashInt64, py::arg("token_ids"), py::arg("parent").none(true),
           py::pos_only());
}

}  // namespace ctx::bindings
