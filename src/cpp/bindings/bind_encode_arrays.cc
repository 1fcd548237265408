// The calls of `_core.Encoding` that take many texts or fill an array. ctxengine/tokenize/
// documents what users call.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/parallel.h"
#include "bindings/release_gil.h"
#include "bindings/special_check.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {
namespace {

using tokenize::Encoding;
using tokenize::IdMemory;
using tokenize::SpecialTokens;

/// Starting a thread costs about as much as this much text.
constexpr std::size_t kBytesForAThread = std::size_t{1} << 15;

/// To copy fewer ids, no thread is worth starting.
constexpr std::int64_t kIdsForThreads = std::int64_t{1} << 18;

/// Short texts are worth being encoded together.
constexpr std::size_t kTextsAtATime = 64;

/// Neighbouring texts: text numbers begin to end - 1.
struct Chunk {
  std::size_t begin;
  std::size_t end;
};

/// The strings of a sequence, alive.
class TextBatch {
 public:
  explicit TextBatch(const py::object& texts) {
    if (py::isinstance<py::str>(texts)) {
      throw py::type_error("a batch must be a sequence of str, not a str");
    }
    items_ = py::tuple(texts);
    ready_.reserve(items_.size());
    for (const py::handle item : items_) {
      RequireStr(item, "each text of a batch");
      ready_.push_back(Utf8Text::Ready(item));
      size_bytes_ += size_bytes(ready_.size() - 1);
    }
  }
  std::size_t size() const noexcept { return ready_.size(); }
  std::size_t size_bytes() const noexcept { return size_bytes_; }
  /// About what the text has in UTF-8: else what it takes in Python.
  std::size_t size_bytes(std::size_t i) const noexcept {
    if (ready_[i]) return ready_[i]->size();
    PyObject* const text = Item(i).ptr();
    return static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)) *
           static_cast<std::size_t>(PyUnicode_KIND(text));
  }
  std::size_t size_bytes(Chunk chunk) const noexcept {
    std::size_t size = 0;
    for (std::size_t i = chunk.begin; i < chunk.end; ++i) size += size_bytes(i);
    return size;
  }
  /// Needs no GIL: what a str holds never changes.
  Utf8Text operator[](std::size_t i) const { return Utf8Text(Item(i), ready_[i]); }

 private:
  py::handle Item(std::size_t i) const noexcept {
    return PyTuple_GET_ITEM(items_.ptr(), static_cast<Py_ssize_t>(i));
  }

  py::tuple items_;
  std::vector<std::optional<std::string_view>> ready_;
  std::size_t size_bytes_ = 0;
};

/// 0 stands for as many as the machine has processors and the texts are worth.
std::size_t NumThreads(std::int64_t asked, std::size_t size_bytes) {
  if (asked < 0) throw ArgumentError(StrCat("num_threads must be >= 1, got ", asked));
  if (asked > 0) return static_cast<std::size_t>(asked);
  const std::size_t num_processors = std::max(1u, std::thread::hardware_concurrency());
  return std::min(num_processors, 1 + size_bytes / kBytesForAThread);
}

/// Cuts the batch into chunks that are each worth being handed to a thread; one chunk for one
/// thread.
std::vector<Chunk> Chunks(const TextBatch& batch, std::size_t num_threads) {
  std::vector<Chunk> chunks;
  const std::size_t size_bytes = num_threads == 1 ? SIZE_MAX : kBytesForAThread;
  for (std::size_t begin = 0; begin < batch.size();) {
    std::size_t end = begin;
    for (std::size_t size = 0; end < batch.size() && size < size_bytes; ++end) {
      size += batch.size_bytes(end) + 1;
    }
    chunks.push_back({begin, end});
    begin = end;
  }
  return chunks;
}

/// Calls work(chunk number, number of the first text, UTF-8 of it and of those that follow) for all
/// texts, those of a chunk in order on one thread, without the GIL. Throws SpecialTokenError for
/// the first text that holds a disallowed spelling.
template <typename Work>
void ForTexts(const TextBatch& batch, std::span<const Chunk> chunks,
              const SpecialTokens& disallowed, std::size_t num_threads, Work work) {
  std::atomic<std::size_t> first_refused = batch.size();
  {
    const ReleaseGil release;
    ParallelFor(chunks.size(), num_threads, [&](std::size_t chunk) {
      std::vector<Utf8Text> texts;
      std::vector<std::string_view> views;
      for (std::size_t begin = chunks[chunk].begin; begin < chunks[chunk].end;) {
        if (first_refused.load(std::memory_order_relaxed) < begin) return;
        texts.clear();
        views.clear();
        const std::size_t end = std::min(begin + kTextsAtATime, chunks[chunk].end);
        for (std::size_t i = begin; i < end; ++i) {
          texts.push_back(batch[i]);
          views.push_back(texts.back().view());
          if (disallowed.Find(views.back())) {
            std::size_t first = first_refused;
            while (i < first && !first_refused.compare_exchange_weak(first, i)) continue;
            return;
          }
        }
        work(chunk, begin, std::span<const std::string_view>(views));
        begin = end;
      }
    });
  }
  if (first_refused < batch.size()) RefuseSpecialTokens(disallowed, batch[first_refused].view());
}

/// The ids of all texts, chunk by chunk.
struct BatchIds {
  std::size_t num_threads;
  std::vector<Chunk> chunks;
  std::unique_ptr<IdMemory[]> ids;
};

/// ends[i] becomes where the ids of text i end in its chunk.
BatchIds EncodeTexts(const Encoding& encoding, const TextBatch& batch, const SpecialTokens& allowed,
                     const SpecialTokens& disallowed, std::int64_t num_threads,
                     std::int64_t* ends) {
  const std::size_t num_checked_threads = NumThreads(num_threads, batch.size_bytes());
  BatchIds result{num_checked_threads, Chunks(batch, num_checked_threads), nullptr};
  result.ids = std::make_unique<IdMemory[]>(result.chunks.size());
  ForTexts(batch, result.chunks, disallowed, num_checked_threads,
           [&](std::size_t chunk, std::size_t first, std::span<const std::string_view> texts) {
             IdMemory& ids = result.ids[chunk];
             if (ids.size() == 0) ReserveForText(ids, batch.size_bytes(result.chunks[chunk]));
             if (allowed.empty()) return encoding.EncodeTexts(texts, ids, ends + first);
             for (std::size_t i = 0; i < texts.size(); ++i) {
               encoding.Encode(texts[i], allowed, ids);
               ends[first + i] = static_cast<std::int64_t>(ids.size());
             }
           });
  return result;
}

#if PY_VERSION_HEX < 0x030C0000
/// While alive, making objects does not collect garbage, which before Python 3.12 it does in the
/// middle: thousands of new lists would be gone through again and again. Needs the GIL all the
/// time.
class NoCollection {
 public:
  NoCollection() : was_enabled_(PyGC_Disable() != 0) {}
  ~NoCollection() {
    if (was_enabled_) PyGC_Enable();
  }
  NoCollection(const NoCollection&) = delete;
  NoCollection& operator=(const NoCollection&) = delete;

 private:
  bool was_enabled_;
};
#else
struct NoCollection {};
#endif

py::list EncodeBatch(const Encoding& encoding, const py::object& texts,
                     const SpecialTokens& allowed, const SpecialTokens& disallowed,
                     Int<"num_threads"> num_threads) {
  const TextBatch batch(texts);
  std::vector<std::int64_t> ends(batch.size());
  const BatchIds encoded =
      EncodeTexts(encoding, batch, allowed, disallowed, num_threads.value, ends.data());
  [[maybe_unused]] const NoCollection no_collection;
  py::list lists(batch.size());
  for (std::size_t chunk = 0; chunk < encoded.chunks.size(); ++chunk) {
    const std::span<const TokenId> ids = encoded.ids[chunk].view();
    std::size_t begin = 0;
    for (std::size_t i = encoded.chunks[chunk].begin; i < encoded.chunks[chunk].end; ++i) {
      const auto end = static_cast<std::size_t>(ends[i]);
      PyList_SET_ITEM(lists.ptr(), static_cast<Py_ssize_t>(i),
                      ListOfIds(ids.subspan(begin, end - begin)).release().ptr());
      begin = end;
    }
  }
  return lists;
}

/// All ids in one array, and where those of each text begin in it, with the end as the last.
std::pair<py::object, py::array_t<std::int64_t>> EncodeRagged(const Encoding& encoding,
                                                              const py::object& texts,
                                                              const SpecialTokens& allowed,
                                                              const SpecialTokens& disallowed,
                                                              Int<"num_threads"> num_threads) {
  const TextBatch batch(texts);
  py::array_t<std::int64_t> offsets(static_cast<py::ssize_t>(batch.size()) + 1);
  std::int64_t* const ends = offsets.mutable_data() + 1;
  ends[-1] = 0;
  const BatchIds encoded =
      EncodeTexts(encoding, batch, allowed, disallowed, num_threads.value, ends);
  if (encoded.chunks.size() == 1) return {ArrayOfIds(encoded.ids[0]), std::move(offsets)};
  std::vector<std::int64_t> begins;  // of each chunk
  std::int64_t num_ids = 0;
  for (std::size_t chunk = 0; chunk < encoded.chunks.size(); ++chunk) {
    begins.push_back(num_ids);
    num_ids += static_cast<std::int64_t>(encoded.ids[chunk].size());
  }
  py::array_t<TokenId> all_ids(num_ids);
  TokenId* const first_id = all_ids.mutable_data();
  {
    const ReleaseGil release;
    const std::size_t num_copying = num_ids < kIdsForThreads ? 1 : encoded.num_threads;
    ParallelFor(encoded.chunks.size(), num_copying, [&](std::size_t chunk) {
      const auto [first, last] = encoded.chunks[chunk];
      for (std::size_t i = first; i < last; ++i) ends[i] += begins[chunk];
      const std::span<const TokenId> ids = encoded.ids[chunk].view();
      std::copy(ids.begin(), ids.end(), first_id + begins[chunk]);
      encoded.ids[chunk].Take();  // and gives it up
    });
  }
  return {std::move(all_ids), std::move(offsets)};
}

py::array_t<std::int64_t> CountBatch(const Encoding& encoding, const py::object& texts,
                                     Int<"num_threads"> num_threads) {
  const TextBatch batch(texts);
  py::array_t<std::int64_t> counts(static_cast<py::ssize_t>(batch.size()));
  std::int64_t* const data = counts.mutable_data();
  const std::size_t num_checked_threads = NumThreads(num_threads.value, batch.size_bytes());
  ForTexts(batch, Chunks(batch, num_checked_threads), SpecialTokens(), num_checked_threads,
           [&](std::size_t /*chunk*/, std::size_t first, std::span<const std::string_view> views) {
             std::int64_t* const sizes = data + first;
             encoding.CountTexts(views, sizes);
             for (std::size_t i = views.size(); --i > 0;) sizes[i] -= sizes[i - 1];
           });
  return counts;
}

}  // namespace

void RegisterEncodeArrays(py::module_& module) {
  using EncodingClass = py::class_<Encoding, std::shared_ptr<Encoding>>;
  py::reinterpret_borrow<EncodingClass>(module.attr("Encoding"))
      .def("encode_batch", &EncodeBatch, py::arg("texts"), py::arg("allowed"),
           py::arg("disallowed"), py::arg("num_threads"), py::pos_only())
      .def("encode_ragged", &EncodeRagged, py::arg("texts"), py::arg("allowed"),
           py::arg("disallowed"), py::arg("num_threads"), py::pos_only())
      .def("count_batch", &CountBatch, py::arg("texts"), py::arg("num_threads"), py::pos_only());
}

}  // namespace ctx::bindings
