#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <deque>
#include <numeric>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/identity.h"
#include "bindings/int_array.h"
#include "bindings/release_gil.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "prefix/block_hasher.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using prefix::BlockHasher;

constexpr std::size_t kReleaseGilTokens = 4096;  // about 25 us of hashing

std::span<const std::uint8_t> BytesOf(std::string_view bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
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

BlockHasher MakeHasher(Int<"block_size"> block_size, Str<"scheme"> scheme,
                       const py::object& cache_salt, const py::object& extra_keys,
                       const py::object& root) {
  const auto parsed = prefix::ParseScheme(RequireUtf8(scheme.object, "scheme"));
  // A block size that the hasher refuses hashes no embeddings either.
  const bool is_size = block_size.value > 0 && block_size.value <= BlockHasher::kMaxBlockSize;
  return BlockHasher(block_size.value, parsed,
                     ParseIdentity(cache_salt, extra_keys, is_size ? block_size.value : 1),
                     ParseRoot(root));
}

/// The arguments of one run, which must outlive it.
class RunArguments {
 public:
  RunArguments(const BlockHasher& hasher, py::handle token_ids, py::handle parent,
               std::int64_t start, const char* name = "token_ids")
      : ids_(token_ids, name), run_{ids_.values(), std::nullopt, start} {
    if (!parent.is_none()) run_.parent = BytesOf(RequireBytes(parent, "parent"));
    hasher.Check(run_);
  }
  const prefix::Run& run() const noexcept { return run_; }

 private:
  TokenIds ids_;
  prefix::Run run_;
};

/// Calls `work` without the GIL when there is much to do.
template <typename Work>
void Run(std::size_t num_tokens, Work work) {
  if (num_tokens < kReleaseGilTokens) {
    work();
  } else {
    const ReleaseGil release;
    work();
  }
}

using Make = PyObject* (*)(std::span<const std::uint8_t> digest);  // returns a new reference

PyObject* NewBytes(std::span<const std::uint8_t> digest) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(digest.data()),
                                   static_cast<Py_ssize_t>(digest.size()));
}

Py_UCS1 HexDigit(std::uint8_t nibble) {
  return static_cast<Py_UCS1>(nibble + '0' + (nibble > 9 ? 'a' - '0' - 10 : 0));
}

PyObject* NewHex(std::span<const std::uint8_t> digest) {
  PyObject* const text = PyUnicode_New(2 * static_cast<Py_ssize_t>(digest.size()), 127);
  if (text == nullptr) return nullptr;
  Py_UCS1* const out = PyUnicode_1BYTE_DATA(text);
  for (std::size_t i = 0; i < digest.size(); ++i) {  // vector code: no table
    out[2 * i] = HexDigit(digest[i] >> 4);
    out[2 * i + 1] = HexDigit(digest[i] & 15);
  }
  return text;
}

/// Fills a list with what `make` returns for one digest after the other.
struct ListFiller {
  py::list list;
  std::size_t digest_size;
  Make make;
  Py_ssize_t next = 0;

  void Add(const std::uint8_t* digest) {
    PyObject* const item = make({digest, digest_size});
    if (item == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), next++, item);
  }
};

py::list ListOf(std::span<const std::uint8_t> digests, std::size_t digest_size, Make make) {
  ListFiller filler{py::list(digests.size() / digest_size), digest_size, make};
  for (std::size_t i = 0; i < digests.size(); i += digest_size) filler.Add(digests.data() + i);
  return std::move(filler.list);
}

py::list HashToList(const BlockHasher& hasher, const py::object& token_ids,
                    const py::object& parent, Int<"start"> start, Make make) {
  constexpr std::size_t kHoldGilTokens = 1 << 16;  // some 500 us
  const RunArguments arguments(hasher, token_ids, parent, start.value);
  const prefix::Run& run = arguments.run();
  const std::size_t size = hasher.digest_size();
  std::vector<std::uint8_t> digests(hasher.NumBlocks(run) * size);
  if (run.token_ids.size() > kHoldGilTokens) {
    Run(run.token_ids.size(), [&] { hasher.Hash(run, digests.data()); });
    return ListOf(digests, size, make);
  }
  // Objects are made while the next block is hashed: faster than without the GIL, one by one.
  ListFiller filler{py::list(hasher.NumBlocks(run)), size, make};
  hasher.HashEach(
      run, digests.data(),
      [](void* to, const std::uint8_t* digest) { static_cast<ListFiller*>(to)->Add(digest); },
      &filler);
  return std::move(filler.list);
}

py::list Hash(const BlockHasher& hasher, const py::object& token_ids, const py::object& parent,
              Int<"start"> start) {
  return HashToList(hasher, token_ids, parent, start, NewBytes);
}

py::list HashHex(const BlockHasher& hasher, const py::object& token_ids, const py::object& parent,
                 Int<"start"> start) {
  return HashToList(hasher, token_ids, parent, start, NewHex);
}

py::array_t<std::uint8_t> HashToNumpy(const BlockHasher& hasher, const py::object& token_ids,
                                      const py::object& parent, Int<"start"> start) {
  const RunArguments arguments(hasher, token_ids, parent, start.value);
  const prefix::Run& run = arguments.run();
  py::array_t<std::uint8_t> result({hasher.NumBlocks(run), hasher.digest_size()});
  std::uint8_t* const out = result.mutable_data();
  Run(run.token_ids.size(), [&] { hasher.Hash(run, out); });
  return result;
}

py::array_t<std::uint64_t> HashInt64(const BlockHasher& hasher, const py::object& token_ids,
                                     const py::object& parent, Int<"start"> start) {
  const RunArguments arguments(hasher, token_ids, parent, start.value);
  const prefix::Run& run = arguments.run();
  py::array_t<std::uint64_t> result(static_cast<py::ssize_t>(hasher.NumBlocks(run)));
  std::uint64_t* const out = result.mutable_data();
  Run(run.token_ids.size(), [&] { hasher.HashInt64(run, out); });
  return result;
}

/// Hashes runs by twos: the longest two, the next two, and so on.
void HashPairs(const BlockHasher& hasher, const std::vector<const prefix::Run*>& runs,
               const std::vector<std::uint8_t*>& digests) {
  std::vector<std::size_t> order(runs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return runs[a]->token_ids.size() > runs[b]->token_ids.size();
  });
  std::size_t i = 0;
  for (; i + 1 < order.size(); i += 2) {
    hasher.HashTwo({*runs[order[i]], *runs[order[i + 1]]},
                   {digests[order[i]], digests[order[i + 1]]});
  }
  if (i < order.size()) hasher.Hash(*runs[order[i]], digests[order[i]]);
}

py::list HashBatch(const BlockHasher& hasher, const py::object& prompts) {
  if (PyList_Check(prompts.ptr()) == 0 && PyTuple_Check(prompts.ptr()) == 0) {
    ThrowWrongType("prompts", "a list or a tuple", prompts);
  }
  const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(prompts.ptr()));
  if (!items) throw py::error_already_set();
  std::deque<RunArguments> arguments;
  std::vector<const prefix::Run*> runs;
  std::vector<std::size_t> begins;
  std::size_t num_tokens = 0, num_bytes = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string name = StrCat("prompts[", i, "]");
    arguments.emplace_back(hasher, items[i], py::none(), 0, name.c_str());
    runs.push_back(&arguments.back().run());
    begins.push_back(num_bytes);
    num_tokens += runs.back()->token_ids.size();
    num_bytes += hasher.NumBlocks(*runs.back()) * hasher.digest_size();
  }
  std::vector<std::uint8_t> digests(num_bytes);
  std::vector<std::uint8_t*> outs;
  for (const std::size_t begin : begins) outs.push_back(digests.data() + begin);
  Run(num_tokens, [&] { HashPairs(hasher, runs, outs); });
  py::list result(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::size_t size = hasher.NumBlocks(*runs[i]) * hasher.digest_size();
    result[i] = ListOf({outs[i], size}, hasher.digest_size(), NewBytes);
  }
  return result;
}

}  // namespace

void RegisterPrefix(py::module_& module) {
  py::class_<BlockHasher> hasher(module, "BlockHasher");
  hasher.def(py::init(&MakeHasher), py::arg("block_size"), py::arg("scheme"), py::arg("cache_salt"),
             py::arg("extra_keys"), py::arg("root"), py::pos_only());
  hasher.def_property_readonly("block_size", &BlockHasher::block_size);
  hasher.def_property_readonly("digest_size", &BlockHasher::digest_size);
  const auto def = [&](const char* name, auto function) {
    hasher.def(name, function, py::arg("token_ids"), py::arg("parent").none(true), py::arg("start"),
               py::pos_only());
  };
  def("hash", &Hash);
  def("hash_hex", &HashHex);
  def("hash_to_numpy", &HashToNumpy);
  def("hash_int64", &HashInt64);
  hasher.def("hash_batch", &HashBatch, py::arg("prompts"), py::pos_only());
}

}  // namespace ctx::bindings
