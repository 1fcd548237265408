#include "bindings/convert.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "bindings/arguments.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::bindings {
namespace {

constexpr std::size_t kNumSharedInts = std::size_t{1} << 18;

/// A new reference to the int object of `id`.
PyObject* IntOf(TokenId id) {
  static std::array<std::atomic<PyObject*>, kNumSharedInts> shared_ints;
  if (id >= kNumSharedInts) return PyLong_FromUnsignedLong(id);
  PyObject* known = shared_ints[id].load(std::memory_order_acquire);
  if (known == nullptr) {
    PyObject* const made = PyLong_FromUnsignedLong(id);
    if (made == nullptr) return nullptr;
    if (shared_ints[id].compare_exchange_strong(known, made, std::memory_order_acq_rel)) {
      known = made;  // the table keeps the reference
    } else {
      Py_DECREF(made);  // another thread was first
    }
  }
  Py_INCREF(known);
  return known;
}

[[noreturn]] void ThrowNoToken(const char* /*name*/, std::size_t /*index*/, const std::string& id,
                               std::int64_t /*low*/, std::int64_t /*high*/) {
  throw UnknownTokenError(StrCat("no token has the id ", id));
}

bool IsHighSurrogate(char32_t unit) noexcept { return unit >> 10 == 0xD800 >> 10; }
bool IsLowSurrogate(char32_t unit) noexcept { return unit >> 10 == 0xDC00 >> 10; }

/// Writes the UTF-8 of the units (code points but for surrogates), returns how many bytes it has.
template <typename Unit>
std::size_t WriteUtf8(std::span<const Unit> units, char* const to) noexcept {
  constexpr std::size_t kRun = 32;
  char* at = to;
  for (std::size_t i = 0; i < units.size();) {
    if (units.size() - i >= kRun) {
      const Unit* const run = units.data() + i;
      Unit all = 0;
      for (std::size_t j = 0; j < kRun; ++j) all = static_cast<Unit>(all | run[j]);
      if (all < 0x80) {
        for (std::size_t j = 0; j < kRun; ++j) at[j] = static_cast<char>(run[j]);
        at += kRun;
        i += kRun;
        continue;
      }
    }
    // No run of ASCII: as many characters one by one.
    for (const std::size_t end = std::min(i + kRun, units.size()); i < end;) {
      char32_t c = units[i++];
      if constexpr (sizeof(Unit) > 1) {
        if (IsHighSurrogate(c) && i < units.size() && IsLowSurrogate(units[i])) {
          c = 0x10000 + ((c & 0x3FF) << 10) + (units[i++] & 0x3FF);
        } else if (IsHighSurrogate(c) || IsLowSurrogate(c)) {
          c = 0xFFFD;
        }
      }
      at += tokenize::EncodeUtf8(c, at);
    }
  }
  return static_cast<std::size_t>(at - to);
}

/// So many bytes a unit has at most.
template <typename Unit>
constexpr std::size_t MaxUtf8Bytes(std::span<const Unit> /*units*/) noexcept {
  return std::min<std::size_t>(4, 1 + sizeof(Unit));
}

/// Calls function(span of the str's units), of 1, 2 or 4 bytes each.
template <typename Function>
void WithUnits(PyObject* text, Function function) {
  const auto size = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
  const void* const data = PyUnicode_DATA(text);
  switch (PyUnicode_KIND(text)) {
    case PyUnicode_1BYTE_KIND:
      return function(std::span(static_cast<const Py_UCS1*>(data), size));
    case PyUnicode_2BYTE_KIND:
      return function(std::span(static_cast<const Py_UCS2*>(data), size));
    default:
      return function(std::span(static_cast<const Py_UCS4*>(data), size));
  }
}

/// Makes a str of the old kind a usual one.
void RequireReady([[maybe_unused]] PyObject* text) {
#if PY_VERSION_HEX < 0x030C0000
  if (PyUnicode_READY(text) != 0) throw py::error_already_set();
#endif
}

}  // namespace

void Utf8Text::Transcode(PyObject* text) {
  RequireReady(text);
  const auto size = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
  if (PyUnicode_IS_ASCII(text)) {
    view_ = {static_cast<const char*>(PyUnicode_DATA(text)), size};
    return;
  }
  WithUnits(text, [&](auto units) {
    copy_ = std::make_unique_for_overwrite<char[]>(size * MaxUtf8Bytes(units));
    view_ = {copy_.get(), WriteUtf8(units, copy_.get())};
  });
}

bool HasSurrogates(py::handle text) {
  RequireReady(text.ptr());
  bool found = false;
  WithUnits(text.ptr(), [&](auto units) {
    using Unit = std::remove_const_t<typename decltype(units)::element_type>;
    if constexpr (sizeof(Unit) > 1) {
      Unit any = 0;
      for (const Unit unit : units) any |= static_cast<Unit>((unit & ~Unit{0x7FF}) == 0xD800);
      found = any != 0;
    }
  });
  return found;
}

Utf8Chunks::Utf8Chunks(py::handle text) : text_(text.ptr()) { RequireReady(text_); }

std::string_view Utf8Chunks::Next() {
  std::string_view chunk;
  WithUnits(text_, [&](auto units) {
    auto rest = units.subspan(done_);
    if (rest.size() > num_chars_) {
      const bool halves = IsHighSurrogate(rest[num_chars_ - 1]) && IsLowSurrogate(rest[num_chars_]);
      rest = rest.first(num_chars_ + (halves ? 1 : 0));
    }
    done_ += rest.size();
    const std::size_t max_bytes = rest.size() * MaxUtf8Bytes(units);
    if (max_bytes > chunk_bytes_) {
      chunk_ = std::make_unique_for_overwrite<char[]>(max_bytes);
      chunk_bytes_ = max_bytes;
    }
    chunk = {chunk_.get(), WriteUtf8(rest, chunk_.get())};
  });
  num_chars_ = std::min(kMaxChars, 2 * num_chars_);
  return chunk;
}

py::list ListOfIds(std::span<const TokenId> ids) {
  auto list = py::reinterpret_steal<py::list>(PyList_New(static_cast<Py_ssize_t>(ids.size())));
  if (!list) throw py::error_already_set();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    PyObject* const number = IntOf(ids[i]);
    if (number == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), number);
  }
  return list;
}

py::array_t<TokenId> ArrayOfIds(std::vector<TokenId>&& ids) {
  auto owned = std::make_unique<std::vector<TokenId>>(std::move(ids));
  const auto size = static_cast<py::ssize_t>(owned->size());
  TokenId* const data = owned->data();
  py::capsule owner(owned.get(),
                    [](void* vector) { delete static_cast<std::vector<TokenId>*>(vector); });
  owned.release();
  return py::array_t<TokenId>(size, data, owner);
}

py::object ArrayOfIds(tokenize::IdMemory& ids) {
  constexpr std::size_t kMaxCopied = 1024;
  const py::detail::npy_api& numpy = py::detail::npy_api::get();
  const auto size = static_cast<Py_ssize_t>(ids.size());
  std::unique_ptr<TokenId[], tokenize::IdMemory::Free> taken;
  if (ids.size() > kMaxCopied) taken = ids.Take();
  auto array = py::reinterpret_steal<py::object>(numpy.PyArray_NewFromDescr_(
      numpy.PyArray_Type_, numpy.PyArray_DescrFromType_(py::detail::npy_api::NPY_UINT32_), 1, &size,
      nullptr, taken.get(), taken ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : 0, nullptr));
  if (!array) throw py::error_already_set();
  if (taken) {
    py::capsule owner(taken.get(), [](void* memory) { std::free(memory); });
    taken.release();
    if (numpy.PyArray_SetBaseObject_(array.ptr(), owner.release().ptr()) != 0) {
      throw py::error_already_set();
    }
  } else {
    const std::span<const TokenId> view = ids.view();
    std::copy(view.begin(), view.end(),
              reinterpret_cast<TokenId*>(py::detail::array_proxy(array.ptr())->data));
  }
  return array;
}

void ReserveForText(tokenize::IdMemory& ids, std::size_t size_bytes) {
  constexpr std::size_t kBytesOfAnId = 4;  // of English text
  constexpr std::size_t kMostIds = std::size_t{1} << 24;
  ids.Room(std::min(size_bytes / kBytesOfAnId, kMostIds));
}

TokenId IdFrom(py::handle item) {
  if (PyIndex_Check(item.ptr()) == 0) ThrowWrongType("a token id", "int", item);
  return IdsFrom(py::make_tuple(item)).front();
}

GivenIds::GivenIds(py::handle ids) : IntArray(ids, "ids", 0, UINT32_MAX, &ThrowNoToken) {}

std::vector<TokenId> IdsFrom(py::handle ids) { return GivenIds(ids).Take(); }

}  // namespace ctx::bindings
