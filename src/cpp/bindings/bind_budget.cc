#include "bindings/bindings.h"

namespace ctx::bindings {

void RegisterBudget(pybind11::module_& /*module*/) {}

}  // namespace ctx::bindings
