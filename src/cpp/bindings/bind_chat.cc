#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterChat(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
