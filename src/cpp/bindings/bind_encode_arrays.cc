// The calls of `_core.Encoding` that take many texts or fill an array. ctxengine/tokenize/
// documents what users call.
#include <algorithm>
#include <cstdint>
#include <memory>
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
using tokenize::SpecialTokens;

/// Starting a thread costs about as much as this much text.
constexpr std::size_t kBytesForAThread = std::size_t{1} << 15;

/// The strings of a sequence, alive and in UTF-8.
class TextBatch {
 public:
  explicit TextBatch(const py::object& texts) {
    if (py::isinstance<py::str>(texts)) {
      throw py::type_error("a batch must be a sequence of str, not a str");
    }
    items_ = py::tuple(texts);
    texts_.reserve(items_.size());
    for (const py::handle item : items_) {
      if (!py::isinstance<py::str>(item)) {
        ThrowWrongType("each text of a batch", "str", item);
      }
      texts_.emplace_back(item);
      size_bytes_ += texts_.back().view().size();
    }
  }
  std::size_t size() const noexcept { return texts_.size(); }
  std::size_t size_bytes() const noexcept { return size_bytes_; }
  std::string_view operator[](std::size_t i) const noexcept { return texts_[i].view(); }

 private:
  py::tuple items_;
  std::vector<Utf8Text> texts_;
  std::size_t size_bytes_ = 0;
};

/// 0 stands for as many as the machine has processors and the texts are worth.
std::size_t NumThreads(std::int64_t asked, std::size_t size_bytes) {
  if (asked < 0) throw ArgumentError(StrCat("num_threads must be >= 1, got ", asked));
  if (asked > 0) return static_cast<std::size_t>(asked);
  const std::size_t num_processors = std::max(1u, std::thread::hardware_concurrency());
  return std::min(num_processors, 1 + size_bytes / kBytesForAThread);
}

/// Neighbouring texts: text numbers begin to end - 1.
struct Chunk {
  std::size_t begin;
  std::size_t end;
};

/// Cuts the batch into chunks that are each worth being handed to a thread.
std::vector<Chunk> Chunks(const TextBatch& batch) {
  std::vector<Chunk> chunks;
  for (std::size_t begin = 0; begin < batch.size();) {
    std::size_t end = begin;
    for (std::size_t size = 0; end < batch.size() && size < kBytesForAThread; ++end) {
      size += batch[end].size() + 1;
    }
    chunks.push_back({begin, end});
    begin = end;
  }
  return chunks;
}

/// Calls work(chunk number, text number) for all texts, those of a chunk in order on one thread,
/// without the GIL.
template <typename Work>
void ForTexts(const TextBatch& batch, std::span<const Chunk> chunks, std::int64_t num_threads,
              Work work) {
  const std::size_t num_checked_threads = NumThreads(num_threads, batch.size_bytes());
  const ReleaseGil release;
  ParallelFor(chunks.size(), num_checked_threads, [&](std::size_t chunk) {
    for (std::size_t i = chunks[chunk].begin; i < chunks[chunk].end; ++i) work(chunk, i);
  });
}

void RefuseSpecialTokensOf(const TextBatch& batch, const SpecialTokens& disallowed) {
  for (std::size_t i = 0; i < batch.size(); ++i) RefuseSpecialTokens(disallowed, batch[i]);
}

py::list EncodeBatch(const Encoding& encoding, const py::object& texts,
                     const SpecialTokens& allowed, const SpecialTokens& disallowed,
                     Int<"num_threads"> num_threads) {
  const TextBatch batch(texts);
  RefuseSpecialTokensOf(batch, disallowed);
  std::vector<std::vector<TokenId>> ids(batch.size());
  ForTexts(batch, Chunks(batch), num_threads.value, [&](std::size_t /*chunk*/, std::size_t i) {
    encoding.Encode(batch[i], allowed, ids[i]);
  });
  py::list lists(batch.size());
  for (std::size_t i = 0; i < ids.size(); ++i) lists[i] = ListOfIds(ids[i]);
  return lists;
}

/// All ids in one array, and where those of each text begin in it, with the end as the last.
std::pair<py::array_t<TokenId>, py::array_t<std::int64_t>> EncodeRagged(
    const Encoding& encoding, const py::object& texts, const SpecialTokens& allowed,
    const SpecialTokens& disallowed, Int<"num_threads"> num_threads) {
  const TextBatch batch(texts);
  RefuseSpecialTokensOf(batch, disallowed);
  const std::vector<Chunk> chunks = Chunks(batch);
  std::vector<std::vector<TokenId>> ids_of(chunks.size());
  py::array_t<std::int64_t> offsets(static_cast<py::ssize_t>(batch.size()) + 1);
  std::int64_t* const begins = offsets.mutable_data();
  ForTexts(batch, chunks, num_threads.value, [&](std::size_t chunk, std::size_t i) {
    begins[i] = static_cast<std::int64_t>(ids_of[chunk].size());  // in the chunk, for now
    encoding.Encode(batch[i], allowed, ids_of[chunk]);
  });
  std::int64_t num_ids = 0;
  for (std::size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    for (std::size_t i = chunks[chunk].begin; i < chunks[chunk].end; ++i) begins[i] += num_ids;
    num_ids += static_cast<std::int64_t>(ids_of[chunk].size());
  }
  begins[batch.size()] = num_ids;
  py::array_t<TokenId> all_ids(num_ids);
  TokenId* at = all_ids.mutable_data();
  for (std::vector<TokenId>& ids : ids_of) {
    at = std::copy(ids.begin(), ids.end(), at);
    std::vector<TokenId>().swap(ids);
  }
  return {std::move(all_ids), std::move(offsets)};
}

py::array_t<std::int64_t> CountBatch(const Encoding& encoding, const py::object& texts,
                                     Int<"num_threads"> num_threads) {
  const TextBatch batch(texts);
  py::array_t<std::int64_t> counts(static_cast<py::ssize_t>(batch.size()));
  std::int64_t* const data = counts.mutable_data();
  ForTexts(batch, Chunks(batch), num_threads.value, [&](std::size_t /*chunk*/, std::size_t i) {
    data[i] = encoding.CountOrdinary(batch[i]);
  });
  return counts;
}

std::size_t EncodeInto(const Encoding& encoding, Str<"text"> text, const py::object& buffer,
                       const SpecialTokens& allowed, const SpecialTokens& disallowed) {
  if (PyObject_CheckBuffer(buffer.ptr()) == 0) {
    ThrowWrongType("buffer", "a writable buffer", buffer);
  }
  const py::buffer_info info = py::reinterpret_borrow<py::buffer>(buffer).request(
      /*writable=*/true);
  const bool is_integer =
      info.format == "I" || info.format == "i" || info.format == "L" || info.format == "l";
  if (info.ndim != 1 || info.itemsize != sizeof(TokenId) || !is_integer ||
      (info.size > 1 && info.strides[0] != info.itemsize)) {
    throw py::type_error("buffer must be a contiguous one-dimensional array of uint32 or int32");
  }
  const Utf8Text utf8(text.object);
  RefuseSpecialTokens(disallowed, utf8.view());
  std::vector<TokenId> ids;
  {
    const ReleaseGilForLongWork release(utf8.view().size());
    encoding.Encode(utf8.view(), allowed, ids);
  }
  const auto capacity = static_cast<std::size_t>(info.size);
  if (ids.size() > capacity) {
    throw CapacityError(StrCat("the text has ", ids.size(), " tokens, the buffer holds ", capacity),
                        static_cast<std::int64_t>(ids.size()), static_cast<std::int64_t>(capacity));
  }
  std::copy(ids.begin(), ids.end(), static_cast<TokenId*>(info.ptr));
  return ids.size();
}

}  // namespace

void RegisterEncodeArrays(py::module_& module) {
  using EncodingClass = py::class_<Encoding, std::shared_ptr<Encoding>>;
  py::reinterpret_borrow<EncodingClass>(module.attr("Encoding"))
      .def("encode_into", &EncodeInto, py::arg("text"), py::arg("buffer"), py::arg("allowed"),
           py::arg("disallowed"), py::pos_only())
      .def("encode_batch", &EncodeBatch, py::arg("texts"), py::arg("allowed"),
           py::arg("disallowed"), py::arg("num_threads"), py::pos_only())
      .def("encode_ragged", &EncodeRagged, py::arg("texts"), py::arg("allowed"),
           py::arg("disallowed"), py::arg("num_threads"), py::pos_only())
      .def("count_batch", &CountBatch, py::arg("texts"), py::arg("num_threads"), py::pos_only());
}

}  // namespace ctx::bindings
