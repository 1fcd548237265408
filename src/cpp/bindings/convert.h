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
#include "tokenize/id_output.h"

namespace ctx::bindings {

namespace py = pybind11;

/// The UTF-8 of a str, which must outlive it. Pairs of surrogates become the character that they
/// spell and lone surrogates U+FFFD, as tiktoken has it. ASCII, and UTF-8 that the str has already,
/// are used where they lie; of other text a copy is made and given up again, for what CPython makes
/// stays with the str as long as it lives.
class Utf8Text {
 public:
  explicit Utf8Text(py::handle text) : Utf8Text(text, Ready(text)) {}
  std::string_view view() const noexcept { return view_; }

  /// What needs no copy.
  static std::optional<std::string_view> Ready(py::handle text) noexcept {
    if (PyUnicode_IS_COMPACT_ASCII(text.ptr())) [[likely]] {
      return std::string_view(static_cast<const char*>(PyUnicode_DATA(text.ptr())),
                              static_cast<std::size_t>(PyUnicode_GET_LENGTH(text.ptr())));
    }
#ifndef Py_GIL_DISABLED  // else another thread may be about to make it
    const auto* const compact = reinterpret_cast<const PyCompactUnicodeObject*>(text.ptr());
    if (compact->utf8 != nullptr) {
      return std::string_view(compact->utf8, static_cast<std::size_t>(compact->utf8_length));
    }
#endif
    return std::nullopt;
  }

  /// Of a str that is `ready`, if it was when the GIL was last held; needs none.
  Utf8Text(py::handle text, std::optional<std::string_view> ready) {
    if (ready) [[likely]] {
      view_ = *ready;
    } else {
      Transcode(text.ptr());
    }
  }

 private:
  void Transcode(PyObject* text);

  std::unique_ptr<char[]> copy_;
  std::string_view view_;
};

/// Whether a str holds surrogates, which no UTF-8 spells: decoded, its UTF-8 is another str.
bool HasSurrogates(py::handle text);

/// The same text in chunks of whole characters, for who needs no more at a time. The GIL is not
/// needed.
class Utf8Chunks {
 public:
  /// What has fewer characters is one chunk.
  static constexpr std::size_t kMaxChars = std::size_t{1} << 15;

  explicit Utf8Chunks(py::handle text);
  /// The next one, until the next call; empty when there are no more.
  std::string_view Next();

 private:
  PyObject* text_;
  std::size_t done_ = 0;
  std::size_t num_chars_ = 1024;  // of the next one: few at first, in case no more are wanted
  std::unique_ptr<char[]> chunk_;
  std::size_t chunk_bytes_ = 0;  // the room it has
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

/// list[int]. The int objects of ids below 2^18 are made once and shared.
py::list ListOfIds(std::span<const TokenId> ids);

/// uint32[n] that takes over the vector's memory.
py::array_t<TokenId> ArrayOfIds(std::vector<TokenId>&& ids);

/// uint32[n] that takes over the ids' memory; of few it is a copy, which is cheaper.
py::object ArrayOfIds(tokenize::IdMemory& ids);

/// Room for the ids of a text of so many bytes, as a guess.
void ReserveForText(tokenize::IdMemory& ids, std::size_t size_bytes);

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
