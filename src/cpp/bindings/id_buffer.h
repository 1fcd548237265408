// Memory of the caller's that ids are written into.
#pragma once

#include <pybind11/pybind11.h>

#include <span>

#include "common/ids.h"

namespace ctx::bindings {

/// A writable, contiguous, one-dimensional array of uint32 or int32, held for as long as this
/// lives. Construction and destruction need the GIL, ids() does not.
class IdBuffer {
 public:
  /// Throws TypeError for anything else, BufferError (as py::error_already_set) for what is
  /// read-only.
  explicit IdBuffer(pybind11::handle object);
  ~IdBuffer() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }
  IdBuffer(const IdBuffer&) = delete;
  IdBuffer& operator=(const IdBuffer&) = delete;

  std::span<TokenId> ids() const noexcept { return ids_; }

 private:
  bool IsPlainArray(pybind11::handle object);

  Py_buffer view_{};  // view_.obj is null for a numpy array, which the caller keeps alive
  std::span<TokenId> ids_;
};

}  // namespace ctx::bindings
