#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/identity.h"
#include "bindings/int_array.h"
#include "bindings/release_gil.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "kv/manager.h"

namespace ctx::bindings {
namespace py = pybind11;
namespace {

using kv::KVCacheManager;

constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kCopiedSlots = 1024;
constexpr std::size_t kReleaseGilTokens = 4096;  // about 30 us of hashing

using Int64s = IntArray<std::int64_t>;

Int64s Rows(const py::object& rows) { return {rows, "rows", -kInt64Max, kInt64Max}; }

/// An int, numpy's included; not a sequence of them.
bool IsOneInt(const py::object& object) {
  if (PyLong_Check(object.ptr())) return true;
  if (!PyIndex_Check(object.ptr())) return false;
  if (PyObject_Size(object.ptr()) >= 0)
    return false;  // an array has a length, unless it has no dimension
  if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) throw py::error_already_set();
  PyErr_Clear();
  return true;
}

/// One value per row, or a single int for all of them.
class PerRow {
 public:
  PerRow(const py::object& object, const char* name, std::size_t num_rows)
      : is_repeated_(IsOneInt(object)),
        array_(is_repeated_ ? py::make_tuple(object) : object, name, -kInt64Max, kInt64Max) {
    if (is_repeated_) repeated_.assign(num_rows, array_.values()[0]);
  }
  std::span<const std::int64_t> values() const {
    return is_repeated_ ? std::span<const std::int64_t>(repeated_) : array_.values();
  }

 private:
  bool is_repeated_;
  Int64s array_;
  std::vector<std::int64_t> repeated_;
};

/// A [n, num_columns] int32 array of the leading fields of n structs of int32.
template <typename Entry>
py::array_t<std::int32_t> Int32Table(const std::vector<Entry>& entries, std::size_t num_columns) {
  py::array_t<std::int32_t> result(
      {static_cast<py::ssize_t>(entries.size()), static_cast<py::ssize_t>(num_columns)});
  std::int32_t* out = entries.empty() ? nullptr : result.mutable_data();
  for (const Entry& entry : entries) {
    std::memcpy(out, &entry, num_columns * sizeof(std::int32_t));
    out += num_columns;
  }
  return result;
}

/// With one group, arrays have no axis for it.
bool HasOneGroup(const KVCacheManager& manager) { return manager.groups().size() == 1; }

/// (num_tokens, node, chain), or nothing for None.
std::optional<kv::Match> ParseMatch(const py::object& object) {
  if (object.is_none()) return std::nullopt;
  if (!py::isinstance<py::tuple>(object) || PyTuple_GET_SIZE(object.ptr()) != 3) {
    ThrowWrongType("resume", "a Match", object);
  }
  const auto fields = py::reinterpret_borrow<py::tuple>(object);
  return kv::Match{RequireInt(fields[0], "resume.num_tokens"), RequireInt(fields[1], "resume.node"),
                   RequireInt(fields[2], "resume.chain")};
}

template <typename Call>
auto WithoutGilForLong(const TokenIds& ids, Call call) {
  if (ids.values().size() < kReleaseGilTokens) return call();
  const ReleaseGil release;
  return call();
}

py::object Acquire(KVCacheManager& manager, const py::object& token_ids,
                   const py::object& cache_salt, const py::object& extra_keys,
                   const py::object& resume) {
  const TokenIds ids(token_ids);
  const prefix::Identity identity = ParseIdentity(cache_salt, extra_keys);
  const std::optional<kv::Match> from = ParseMatch(resume);
  const auto acquired = WithoutGilForLong(
      ids, [&] { return manager.Acquire(ids.values(), identity, from ? &*from : nullptr); });
  if (!acquired) return py::none();
  return py::make_tuple(acquired->row, acquired->num_cached_tokens);
}

py::tuple Match(const KVCacheManager& manager, const py::object& token_ids,
                const py::object& cache_salt, const py::object& extra_keys,
                const py::object& resume) {
  const TokenIds ids(token_ids);
  const prefix::Identity identity = ParseIdentity(cache_salt, extra_keys);
  const std::optional<kv::Match> from = ParseMatch(resume);
  const kv::Match match = WithoutGilForLong(
      ids, [&] { return manager.Lookup(ids.values(), identity, from ? &*from : nullptr); });
  return py::make_tuple(match.num_tokens, match.node, match.chain);
}

py::tuple Arrays(const KVCacheManager& manager, kv::Step step) {
  const bool one_group = HasOneGroup(manager);
  std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(step.num_slots)};
  if (!one_group) {
    const auto num_groups = static_cast<py::ssize_t>(manager.groups().size());
    shape = {num_groups, shape[0] / num_groups};
  }
  Slot* const data = step.slots.get();
  py::array_t<std::int64_t> slots;
  if (step.num_slots < kCopiedSlots) {  // an owner costs more than the copy
    slots = py::array_t<std::int64_t>(shape, data);
  } else {
    const py::capsule owner(data, [](void* memory) { delete[] static_cast<Slot*>(memory); });
    step.slots.release();
    slots = py::array_t<std::int64_t>(shape, data, owner);
  }
  return py::make_tuple(
      slots, Int32Table(step.table_patch, one_group ? 3 : 4), Int32Table(step.copies, 2),
      step.oom_row == kv::kNoRow ? py::object(py::none()) : py::int_(step.oom_row));
}

py::tuple Reserve(KVCacheManager& manager, const py::object& rows, const py::object& num_new,
                  bool slots) {
  const Int64s row_ids = Rows(rows);
  const PerRow counts(num_new, "num_new", row_ids.values().size());
  return Arrays(manager, manager.Reserve(row_ids.values(), counts.values(), slots));
}

void Tell(KVCacheManager& manager, const py::object& rows, const py::object& token_ids,
          const py::object& indptr) {
  const Int64s row_ids = Rows(rows);
  const TokenIds ids(token_ids);
  if (indptr.is_none()) {
    manager.Tell(row_ids.values(), ids.values(), {});
    return;
  }
  const Int64s offsets(indptr, "indptr", 0, kInt64Max);
  if (offsets.values().empty())
    throw ArgumentError("indptr is empty; it has one entry per row plus one");
  manager.Tell(row_ids.values(), ids.values(), offsets.values());
}

void Settle(KVCacheManager& manager, const py::object& rows, const py::object& num_accepted,
            const py::object& token_ids, const py::object& indptr) {
  const Int64s row_ids = Rows(rows);
  const PerRow counts(num_accepted, "num_accepted", row_ids.values().size());
  if (token_ids.is_none()) {
    if (!indptr.is_none()) throw ArgumentError("indptr cuts token_ids, which are not given");
    manager.SettleLate(row_ids.values(), counts.values());
    return;
  }
  const TokenIds ids(token_ids);
  if (indptr.is_none()) {
    manager.Settle(row_ids.values(), counts.values(), ids.values(), {});
    return;
  }
  const Int64s offsets(indptr, "indptr", 0, kInt64Max);
  if (offsets.values().empty())
    throw ArgumentError("indptr is empty; it has one entry per row plus one");
  manager.Settle(row_ids.values(), counts.values(), ids.values(), offsets.values());
}

py::object Fork(KVCacheManager& manager, Int<"row"> row) {
  const std::optional<kv::RowId> child = manager.Fork(row.value);
  return child ? py::object(py::int_(*child)) : py::none();
}

void Free(KVCacheManager& manager, const py::object& rows, const py::object& fence) {
  const Int64s row_ids = Rows(rows);
  std::optional<std::int64_t> ticket;
  if (!fence.is_none()) {
    ticket = RequireInt(fence, "fence");
    if (*ticket < 0) throw ArgumentError(StrCat("fence is ", *ticket, "; it must be 0 or more"));
  }
  manager.Free(row_ids.values(), ticket);
}

py::array_t<std::int32_t> PreemptCandidates(const KVCacheManager& manager,
                                            Int<"num_blocks"> num_blocks) {
  const std::vector<kv::RowId> rows = manager.PreemptCandidates(num_blocks.value);
  return py::array_t<std::int32_t>(static_cast<py::ssize_t>(rows.size()), rows.data());
}

py::array_t<std::int32_t> Evict(KVCacheManager& manager, Int<"num_blocks"> num_blocks) {
  const std::vector<BlockId> blocks = manager.Evict(num_blocks.value);
  return py::array_t<std::int32_t>(static_cast<py::ssize_t>(blocks.size()), blocks.data());
}

py::array_t<std::int64_t> SlotMapping(const KVCacheManager& manager, const py::object& rows,
                                      const py::object& positions, const py::object& out,
                                      Int<"group"> group) {
  const Int64s row_ids = Rows(rows);
  const Int64s tokens(positions, "positions", -kInt64Max, kInt64Max);
  const std::size_t count = row_ids.values().size();
  if (tokens.values().size() != count) {
    throw ArgumentError(
        StrCat("rows has ", count, " entries, positions has ", tokens.values().size()));
  }
  py::array_t<std::int64_t> slots;
  if (out.is_none()) {
    slots = py::array_t<std::int64_t>(static_cast<py::ssize_t>(count));
  } else {
    using Exact = py::array_t<std::int64_t, py::array::c_style>;
    if (!Exact::check_(out)) throw ArgumentError("out must be a contiguous int64 array");
    slots = py::reinterpret_borrow<Exact>(out);
    if (slots.ndim() != 1 || static_cast<std::size_t>(slots.size()) != count ||
        !slots.writeable()) {
      throw ArgumentError(StrCat("out must be writable and of shape (", count, ",)"));
    }
  }
  manager.SlotMapping(row_ids.values(), tokens.values(), group.value,
                      {slots.mutable_data(), count});
  return slots;
}

py::array BlockTables(const py::object& self) {
  const auto& manager = self.cast<const KVCacheManager&>();
  std::vector<std::int64_t> shape = {manager.max_rows(), manager.max_row_blocks()};
  if (!HasOneGroup(manager)) {
    shape.insert(shape.begin(), static_cast<std::int64_t>(manager.groups().size()));
  }
  const auto view = py::array_t<std::int32_t>(shape, manager.block_tables(), self);
  view.attr("setflags")(py::arg("write") = false);
  return view;
}

py::dict Stats(const KVCacheManager& manager) {
  const kv::Stats stats = manager.GetStats();
  py::dict result;
  result["num_blocks"] = stats.num_blocks;
  result["num_free"] = stats.num_free;
  result["num_idle"] = stats.num_idle;
  result["num_referenced"] = stats.num_referenced;
  result["num_rows"] = stats.num_rows;
  result["num_queried_tokens"] = stats.num_queried_tokens;
  result["num_hit_tokens"] = stats.num_hit_tokens;
  result["num_evicted"] = stats.num_evicted;
  result["num_copied"] = stats.num_copied;
  result["num_duplicates"] = stats.num_duplicates;
  result["num_coming"] = stats.num_coming;
  return result;
}

py::dict Snapshot(const KVCacheManager& manager) {
  const kv::Snapshot snapshot = manager.GetSnapshot();
  py::dict rows;
  for (const auto& row : snapshot.rows) {
    py::dict state;
    state["num_tokens"] = row.num_tokens;
    state["num_computed"] = row.num_computed;
    state["num_reserved"] = row.num_reserved;
    state["is_loading"] = row.is_loading;
    state["reservations"] = row.reservations;
    py::list groups;
    for (const auto& group : row.groups) {
      py::dict columns;
      columns["begin"] = group.begin;
      columns["end"] = group.end;
      columns["num_patched"] = group.num_patched;
      columns["blocks"] = group.blocks;
      groups.append(columns);
    }
    state["groups"] = groups;
    state["token_ids"] = row.token_ids;
    rows[py::int_(row.row)] = state;
  }
  py::dict published;
  for (const auto& block : snapshot.published) {
    py::dict state;
    state["chain"] = block.chain;
    state["parent_chain"] = block.parent_chain;
    state["group"] = block.group;
    state["token_ids"] = block.token_ids;
    published[py::int_(block.block)] = state;
  }
  py::dict result;
  result["rows"] = rows;
  result["free_stack"] = snapshot.free_stack;
  result["num_touched"] = snapshot.num_touched;
  result["idle"] = snapshot.idle;
  result["published"] = published;
  result["ref_counts"] = snapshot.ref_counts;
  result["deferred"] = snapshot.deferred;
  return result;
}

}  // namespace

void RegisterKv(py::module_& module) {
  py::class_<KVCacheManager>(module, "KVCacheManager")
      .def(py::init([](Int<"num_blocks"> num_blocks, Int<"block_size"> block_size,
                       Int<"max_rows"> max_rows, Int<"max_row_tokens"> max_row_tokens,
                       const std::vector<std::pair<int, std::int64_t>>& groups,
                       Int<"watermark_blocks"> watermark_blocks, bool partial_hits, int hash_bits) {
             kv::Options options{.num_blocks = num_blocks.value,
                                 .block_size = block_size.value,
                                 .max_rows = max_rows.value,
                                 .max_row_tokens = max_row_tokens.value,
                                 .hash_bits = hash_bits,
                                 .watermark_blocks = watermark_blocks.value,
                                 .partial_hits = partial_hits,
                                 .groups = {}};
             for (const auto& [kind, window] : groups) {
               options.groups.push_back({static_cast<kv::GroupKind>(kind), window});
             }
             return std::make_unique<KVCacheManager>(options);
           }),
           py::arg("num_blocks"), py::arg("block_size"), py::arg("max_rows"),
           py::arg("max_row_tokens"), py::arg("groups"), py::arg("watermark_blocks"),
           py::arg("partial_hits"), py::arg("hash_bits"), py::pos_only())
      .def_property_readonly("num_blocks", &KVCacheManager::num_blocks)
      .def_property_readonly("block_size", &KVCacheManager::block_size)
      .def_property_readonly("max_rows", &KVCacheManager::max_rows)
      .def_property_readonly("max_row_blocks", &KVCacheManager::max_row_blocks)
      .def_property_readonly("block_tables", &BlockTables)
      .def("acquire", &Acquire, py::arg("token_ids"), py::arg("cache_salt"), py::arg("extra_keys"),
           py::arg("resume"), py::pos_only())
      .def("match", &Match, py::arg("token_ids"), py::arg("cache_salt"), py::arg("extra_keys"),
           py::arg("resume"), py::pos_only())
      .def(
          "can_admit",
          [](const KVCacheManager& self, Int<"num_tokens"> num_tokens) {
            return self.CanAdmit(num_tokens.value);
          },
          py::arg("num_tokens"), py::pos_only())
      .def("reserve", &Reserve, py::arg("rows"), py::arg("num_new"), py::arg("slots"),
           py::pos_only())
      .def("settle", &Settle, py::arg("rows"), py::arg("num_accepted"), py::arg("token_ids"),
           py::arg("indptr"), py::pos_only())
      .def("tell", &Tell, py::arg("rows"), py::arg("token_ids"), py::arg("indptr"), py::pos_only())
      .def(
          "begin_load",
          [](KVCacheManager& self, Int<"row"> row, Int<"num_tokens"> num_tokens) {
            return Arrays(self, self.BeginLoad(row.value, num_tokens.value));
          },
          py::arg("row"), py::arg("num_tokens"), py::pos_only())
      .def(
          "finish_load", [](KVCacheManager& self, Int<"row"> row) { self.FinishLoad(row.value); },
          py::arg("row"), py::pos_only())
      .def(
          "fail_load",
          [](KVCacheManager& self, Int<"row"> row, Int<"num_loaded"> num_loaded) {
            self.FailLoad(row.value, num_loaded.value);
          },
          py::arg("row"), py::arg("num_loaded"), py::pos_only())
      .def("fork", &Fork, py::arg("row"), py::pos_only())
      .def(
          "truncate",
          [](KVCacheManager& self, Int<"row"> row, Int<"num_tokens"> num_tokens) {
            self.Truncate(row.value, num_tokens.value);
          },
          py::arg("row"), py::arg("num_tokens"), py::pos_only())
      .def("free", &Free, py::arg("rows"), py::arg("fence"), py::pos_only())
      .def(
          "advance_fence",
          [](KVCacheManager& self, Int<"fence"> fence) { self.AdvanceFence(fence.value); },
          py::arg("fence"), py::pos_only())
      .def("preempt_candidates", &PreemptCandidates, py::arg("num_blocks"), py::pos_only())
      .def("evict", &Evict, py::arg("num_blocks"), py::pos_only())
      .def("slot_mapping", &SlotMapping, py::arg("rows"), py::arg("positions"), py::arg("out"),
           py::arg("group"), py::pos_only())
      .def("stats", &Stats)
      .def("snapshot", &Snapshot)
      .def("check", &KVCacheManager::Check);
}

}  // namespace ctx::bindings
