// Between Python objects and the core's types, for the hot paths. All functions need the GIL (or an
// attached thread) and throw py::error_already_set when Python raised.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string_view>
#include <vector>

#include "bindings/release_gil.h"
#include "common/ids.h"

namespace ctx::bindings {

namespace py = pybind11;

/// The UTF-8 of a str, which must outlive it. Pairs of surrogates become the character that they
/// spell and lone surrogates U+FFFD, as tiktoken has it. O(1) for ASCII, and for any str whose
/// UTF-8 was asked for before.
class Utf8Text {
 public:
  explicit Utf8Text(py::handle text);
  std::string_view view() const noexcept { return view_; }

 private:
  py::object replaced_;  // set only when there were surrogates
  std::string_view view_;
};

/// Releases the GIL while alive when there is work enough to pay for it.
class ReleaseGilForLongWork {
 public:
  explicit ReleaseGilForLongWork(std::size_t size_bytes) {
    if (size_bytes >= kThresholdBytes) release_.emplace();
  }

 private:
  static constexpr std::size_t kThresholdBytes = 4096;
  std::optional<ReleaseGil> release_;
};

/// list[int]. The int objects of ids below 2^18 are made once and shared.
py::list ListOfIds(const std::vector<TokenId>& ids);

/// uint32[n] that takes over the vector's memory.
py::array_t<TokenId> ArrayOfIds(std::vector<TokenId>&& ids);

/// An id out of an int or what can be an index. Throws as IdsFrom.
TokenId IdFrom(py::handle item);

/// Ids out of an integer array or any sequence of int. Throws UnknownTokenError for negative
/// numbers and those of 2^32 or more, TypeError for what is no integer.
std::vector<TokenId> IdsFrom(const py::object& ids);

}  // namespace ctx::bindings
