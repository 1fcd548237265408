// The registration functions of the extension module `ctxengine._core`: one per layer, each in its
// own bind_<layer>.cc. Nothing outside this folder includes pybind11, and nothing includes this
// folder, so that the binding library can be changed without touching the core.
#pragma once

#include <pybind11/pybind11.h>

namespace ctx::bindings {

void RegisterExceptions(pybind11::module_& module);
void RegisterPretokenize(pybind11::module_& module);
void RegisterSpecialTokens(pybind11::module_& module);
void RegisterTokenize(pybind11::module_& module);
void RegisterEncodeArrays(pybind11::module_& module);
void RegisterEncodingCalls(pybind11::module_& module);
void RegisterAppender(pybind11::module_& module);
void RegisterCuts(pybind11::module_& module);
void RegisterDecodeStream(pybind11::module_& module);
void RegisterChat(pybind11::module_& module);
void RegisterConversation(pybind11::module_& module);
void RegisterHistory(pybind11::module_& module);
void RegisterBudget(pybind11::module_& module);
void RegisterCachePlan(pybind11::module_& module);
void RegisterPrefix(pybind11::module_& module);
void RegisterKv(pybind11::module_& module);
void RegisterLimits(pybind11::module_& module);
void RegisterCuda(pybind11::module_& module);

}  // namespace ctx::bindings
