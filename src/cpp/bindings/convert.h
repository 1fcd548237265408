// Between Python objects and the core's types, for the hot paths. All functions need the GIL (or an
// attached thread) and throw py::error_already_set when Python raised.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bindings/int_array.h"
#include "bindings/release_gil.h"
#include "common/ids.h"

namespace ctx::bindings {

namespace py = pybind11;

/// The UTF-8 of a str, which must outlive it. Pairs of surrogates become the character that they
/// spell and lone surrogates U+FFFD, as tiktoken has it. ASCII is used where it lies; of other text
/// a copy is made and given up again, for what CPython makes stays with the str as long as it
/// lives. The GIL is not needed.
class Utf8Text {
 public:
  explicit Utf8Text(py::handle text) {
    if (PyUnicode_IS_COMPACT_ASCII(text.ptr())) [[likely]] {
      view_ = {static_cast<const char*>(PyUnicode_DATA(text.ptr())),
               static_cast<std::size_t>(PyUnicode_GET_LENGTH(text.ptr()))};
    } else {
      Transcode(text.ptr());
    }
  }
  std::string_view view() const noexcept { return view_; }

 private:
  void Transcode(PyObject* text);

  std::unique_ptr<char[]> copy_;
  std::string_view view_;
};

/// Releases the GIL while alive when there is work enough to pay for it.
class ReleaseGilForLongWork {
 public:
  explicit ReleaseGilForLongWork(std::size_t size_bytes) {
    if (size_bytes >= kThresholdBytes) release_.emplace();
  }

 private:
  static constexpr std::size_t kThresholdBytes = 2048;
  std::optional<ReleaseGil> release_;
};

/// An empty vector whose memory the next call on this thread uses again.
class ScratchIds {
 public:
  ScratchIds() noexcept;
  ~ScratchIds();
  ScratchIds(const ScratchIds&) = delete;
  ScratchIds& operator=(const ScratchIds&) = delete;
  std::vector<TokenId>& operator*() noexcept { return ids_; }
  std::vector<TokenId>* operator->() noexcept { return &ids_; }

 private:
  std::vector<TokenId> ids_;
};

/// list[int]. The int objects of ids below 2^18 are made once and shared.
py::list ListOfIds(std::span<const TokenId> ids);

/// uint32[n] that takes over the vector's memory.
py::array_t<TokenId> ArrayOfIds(std::vector<TokenId>&& ids);

/// As ArrayOfIds; a small array is a copy, which is cheaper.
py::object NewArrayOfIds(std::vector<TokenId>& ids);

/// An id out of an int or what can be an index. Throws as IdsFrom.
TokenId IdFrom(py::handle item);

/// Ids out of an integer array or any sequence of int. Throws UnknownTokenError for negative
/// numbers and those of 2^32 or more, TypeError for what is no integer.
class GivenIds : public IntArray<TokenId> {
 public:
  explicit GivenIds(py::handle ids);
};

/// The same, copied.
std::vector<TokenId> IdsFrom(py::handle ids);

}  // namespace ctx::bindings
