#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "bindings/bindings.h"
#include "limits/limiter.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using limits::Key;
using limits::Limit;
using limits::Limiter;
using limits::Micros;
using limits::Ticket;

std::shared_ptr<Limiter> MakeLimiter(
    const std::vector<std::tuple<std::int64_t, Micros, std::int64_t>>& numbers) {
  std::vector<Limit> all;
  for (const auto& [tokens, period_us, burst_tokens] : numbers) {
    all.push_back({tokens, period_us, burst_tokens});
  }
  return Limiter::Make(std::move(all));
}

// A ticket, or (microseconds to wait, index of the limit).
py::object Reserve(const Key& key, std::int64_t num_tokens, std::optional<Micros> now_us) {
  auto result = key.Reserve(num_tokens, now_us);
  if (auto* const ticket = std::get_if<Ticket>(&result)) return py::cast(std::move(*ticket));
  const auto& retry = std::get<limits::RetryAfter>(result);
  return py::make_tuple(retry.wait_us, retry.limit_index);
}

}  // namespace

void RegisterLimits(py::module_& module) {
  py::class_<Ticket>(module, "LimiterTicket")
      .def("settle", &Ticket::Settle, py::arg(), py::arg(), py::pos_only())
      .def("release", &Ticket::Release, py::arg(), py::pos_only());
  py::class_<Key>(module, "LimiterKey")
      .def("reserve", Reserve, py::arg(), py::arg(), py::pos_only());
  py::class_<Limiter, std::shared_ptr<Limiter>>(module, "Limiter")
      .def(py::init(&MakeLimiter), py::arg(), py::pos_only())
      .def(
          "key",
          [](Limiter& limiter, const std::vector<std::string>& descriptors,
             std::optional<Micros> now_us) { return limiter.Resolve(descriptors, now_us); },
          py::arg(), py::arg(), py::pos_only())
      .def_property_readonly("num_states", &Limiter::num_states);
}

}  // namespace ctx::bindings
