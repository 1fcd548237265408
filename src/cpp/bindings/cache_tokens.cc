// How the tokens of a request are shared between its blocks.
#include <array>

#include "bindings/cache_blocks.h"
#include "budget/cache_plan.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

std::int64_t Checked(std::string_view name, std::int64_t tokens) {
  if (tokens < 0) throw ArgumentError(StrCat(name, ": tokens must not be negative: ", tokens));
  return tokens;
}

std::int64_t Sum(std::int64_t sum, std::int64_t more) {
  if (more > budget::kMaxCacheTokens - sum) {
    throw ArgumentError("tokens: more than 2^40 together");
  }
  return sum + more;
}

std::int64_t CountFrom(py::handle number, const std::string& path) {
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(number.ptr()));
  int overflow = 0;
  long long count = -1;
  if (index) count = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (!index || overflow != 0) {
    PyErr_Clear();
    Refuse(path, StrCat("expected a number of tokens, got ", TypeName(number)));
  }
  if (count > budget::kMaxCacheTokens) Refuse(path, "more than 2^40 tokens");
  return Checked(path, count);
}

}  // namespace

void CacheBlocks::Allot(const py::object& tools, const py::object& system,
                        const py::object& messages, std::int64_t tail_tokens) {
  std::vector<std::int64_t> tokens(blocks_.size());
  std::size_t from = 0;
  constexpr std::array<const char*, 3> kNames = {"tools", "system", "messages"};
  const std::array<const py::object*, 3> given = {&tools, &system, &messages};
  for (const Section section : {kTools, kSystem, kMessages}) {
    std::size_t to = from;
    while (to < blocks_.size() && blocks_[to].section == section) ++to;
    AllotSection(kNames[section], *given[section], section, from, to, tokens);
    from = to;
  }
  std::int64_t sum = 0;
  for (const std::int64_t count : tokens) sum = Sum(sum, count);
  const std::int64_t total = Sum(sum, Checked("template", tail_tokens));
  std::int64_t after = 0;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    after += tokens[i];
    blocks_[i].tokens_after = after;
  }
  total_tokens_ = total;
}

// Shares `total` between blocks by their size; the parts add up.
void CacheBlocks::Share(std::int64_t total, std::size_t from, std::size_t to,
                        std::vector<std::int64_t>& tokens) const {
  if (from == to) return;
  budget::Amount sizes = 0;
  for (std::size_t i = from; i < to; ++i) sizes += blocks_[i].size + 1;
  budget::Amount seen = 0;
  std::int64_t given = 0;
  for (std::size_t i = from; i < to; ++i) {
    seen += blocks_[i].size + 1;
    const auto up_to = static_cast<std::int64_t>(total * seen / sizes);
    tokens[i] = up_to - given;
    given = up_to;
  }
}

void CacheBlocks::AllotSection(const char* name, const py::object& given, Section section,
                               std::size_t from, std::size_t to,
                               std::vector<std::int64_t>& tokens) const {
  if (given.is_none()) {
    if (from != to) Refuse(StrCat("tokens.", name), "missing");
    return;
  }
  if (!PySequence_Check(given.ptr()) || PyUnicode_Check(given.ptr())) {
    const std::int64_t total = CountFrom(given, StrCat("tokens.", name));
    if (from == to && total > 0) Refuse(StrCat("tokens.", name), "the request has none");
    Share(total, from, to, tokens);
    return;
  }
  const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(given.ptr(), ""));
  if (!items) throw py::error_already_set();
  const auto size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
  if (size != num_items_[section]) {
    Refuse(StrCat("tokens.", name),
           StrCat(size, " counts for ", num_items_[section], " of the request"));
  }
  for (std::size_t i = 0; i < size; ++i) {
    std::size_t end = from;
    while (end < to && static_cast<std::size_t>(blocks_[end].item) == i) ++end;
    const py::handle item = PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i));
    if (PyLong_Check(item.ptr())) {
      const std::int64_t total = CountFrom(item, name);
      if (from == end && total > 0) {
        Refuse(StrCat("tokens.", name, "[", i, "]"), "tokens of what holds nothing");
      }
      Share(total, from, end, tokens);
    } else {
      AllotItem(StrCat("tokens.", name, "[", i, "]"), item, from, end, tokens);
    }
    from = end;
  }
}

void CacheBlocks::AllotItem(const std::string& path, py::handle given, std::size_t from,
                            std::size_t to, std::vector<std::int64_t>& tokens) const {
  if (!PySequence_Check(given.ptr()) || PyUnicode_Check(given.ptr())) {
    Share(CountFrom(given, path), from, to, tokens);
    return;
  }
  const auto counts = py::reinterpret_steal<py::object>(PySequence_Fast(given.ptr(), ""));
  if (!counts) throw py::error_already_set();
  const auto size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(counts.ptr()));
  if (size != to - from) Refuse(path, StrCat(size, " counts for ", to - from, " blocks"));
  for (std::size_t i = 0; i < size; ++i) {
    tokens[from + i] =
        CountFrom(PySequence_Fast_GET_ITEM(counts.ptr(), static_cast<Py_ssize_t>(i)), path);
  }
}

}  // namespace ctx::bindings
