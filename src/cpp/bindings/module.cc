#include "bindings/bindings.h"
#include "common/version.h"

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  namespace bindings = ctx::bindings;
  module.doc() = "The native core of ctxengine; use the public modules instead.";
  module.attr("__version__") = ctx::Version();
  bindings::RegisterExceptions(module);
  bindings::RegisterPretokenize(module);
  bindings::RegisterSpecialTokens(module);
  bindings::RegisterTokenize(module);
  bindings::RegisterEncodeArrays(module);
  bindings::RegisterAppender(module);
  bindings::RegisterDecodeStream(module);
  bindings::RegisterChat(module);
  bindings::RegisterBudget(module);
  bindings::RegisterPrefix(module);
  bindings::RegisterKv(module);
  bindings::RegisterLimits(module);
  bindings::RegisterCuda(module);
}
