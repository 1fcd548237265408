// Giving up the GIL for a while.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

namespace ctx::bindings {

/// Releases the GIL (or detaches the thread) while alive; needs it at construction.
///
/// When the interpreter ends meanwhile, Python up to 3.13 ends the thread that asks for the GIL by
/// unwinding its stack, through destructors that must not throw or that touch Python objects:
/// std::terminate, or worse. Such a thread sleeps here instead until the process is gone, which is
/// what later versions do.
class ReleaseGil {
 public:
  ReleaseGil() : state_(PyEval_SaveThread()) {}
  ~ReleaseGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      for (;;) pause();
    }
  }
  ReleaseGil(const ReleaseGil&) = delete;
  ReleaseGil& operator=(const ReleaseGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace ctx::bindings
