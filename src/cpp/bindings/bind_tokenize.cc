#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterTokenize(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
