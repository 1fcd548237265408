// `_core.DecodeStream` and `_core.DecodeStreamBatch`. ctxengine/tokenize/stream.py documents what
// users call. The GIL is kept throughout: the work is a copy of the tokens' bytes, and making the
// str objects takes longer.
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/int_array.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/decode_stream.h"
#include "tokenize/stream_batch.h"

namespace ctx::bindings {
namespace {

using tokenize::Encoding;
using tokenize::StopStrings;
using tokenize::StreamBatch;
using tokenize::StreamDecoder;
using tokenize::StreamState;

/// For pickles: num_bytes, node, stop, incomplete bytes, has_text, finished.
using StateTuple = std::tuple<std::int64_t, std::uint32_t, std::int32_t, py::bytes, bool, bool>;

py::str StrOf(std::string_view utf8) {
  auto text = py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr));
  if (!text) throw py::error_already_set();
  return text;
}

std::shared_ptr<const StreamDecoder> MakeDecoder(std::shared_ptr<const Encoding> encoding,
                                                 const py::tuple& stops, bool skip_special_tokens) {
  std::vector<std::string> strings;
  for (const py::handle stop : stops) {
    if (!py::isinstance<py::str>(stop)) throw py::type_error("stop strings must be str");
    strings.emplace_back(Utf8Text(stop).view());
  }
  return std::make_shared<const StreamDecoder>(
      std::move(encoding), std::make_shared<const StopStrings>(std::move(strings)),
      skip_special_tokens);
}

StateTuple TupleOf(const StreamState& state) {
  return {state.num_bytes, state.node,
          state.stop,      py::bytes(state.incomplete.data(), state.num_incomplete),
          state.has_text,  state.finished};
}

StreamState StateFrom(const StreamDecoder& decoder, const StateTuple& tuple) {
  StreamState state;
  py::bytes incomplete;
  std::tie(state.num_bytes, state.node, state.stop, incomplete, state.has_text, state.finished) =
      tuple;
  const auto bytes = py::cast<std::string_view>(incomplete);
  if (bytes.size() > state.incomplete.size()) throw ArgumentError("no stream has such a state");
  bytes.copy(state.incomplete.data(), bytes.size());
  state.num_incomplete = static_cast<std::uint8_t>(bytes.size());
  if (!decoder.IsPossible(state)) throw ArgumentError("no stream has such a state");
  return state;
}

/// One sequence, safe to use from several threads.
class DecodeStream {
 public:
  explicit DecodeStream(StreamBatch::Row row) : row_(std::move(row)) {}
  DecodeStream(const DecodeStream& other) : row_(other.row()) {}
  DecodeStream& operator=(const DecodeStream&) = delete;

  py::str Feed(const py::object& ids) {
    const bool is_one = PyLong_Check(ids.ptr()) != 0 ||
                        (PyIndex_Check(ids.ptr()) != 0 && !py::hasattr(ids, "__len__"));
    const std::vector<TokenId> values = is_one ? std::vector{IdFrom(ids)} : IdsFrom(ids);
    return Advance([&](const StreamDecoder& decoder, StreamState& state, std::string& out) {
      decoder.Feed(state, values, out);
    });
  }

  py::str Finish() {
    return Advance([](const StreamDecoder& decoder, StreamState& state, std::string& out) {
      decoder.Finish(state, out);
    });
  }

  StreamBatch::Row row() const {
    const std::lock_guard lock(mutex_);
    return row_;
  }

 private:
  /// Changes the state once the str is made, and not at all when that fails.
  template <typename Step>
  py::str Advance(Step step) {
    const std::lock_guard lock(mutex_);
    StreamState next = row_.state;
    std::string out;
    step(*row_.decoder, next, out);
    py::str text = StrOf(out);
    row_.state = next;
    return text;
  }

  mutable std::mutex mutex_;
  StreamBatch::Row row_;
};

std::unique_ptr<DecodeStream> Begin(std::shared_ptr<const Encoding> encoding,
                                    const py::tuple& stops, bool skip_special_tokens) {
  return std::make_unique<DecodeStream>(
      StreamBatch::Row{MakeDecoder(std::move(encoding), stops, skip_special_tokens), {}});
}

std::unique_ptr<DecodeStream> Restored(const DecodeStream& like, const StateTuple& state) {
  std::shared_ptr<const StreamDecoder> decoder = like.row().decoder;
  const StreamState restored = StateFrom(*decoder, state);
  return std::make_unique<DecodeStream>(StreamBatch::Row{std::move(decoder), restored});
}

py::tuple StopsOf(const DecodeStream& stream) {
  const StreamBatch::Row row = stream.row();
  const std::vector<std::string>& strings = row.decoder->stops().stops();
  py::tuple stops(strings.size());
  for (std::size_t i = 0; i < strings.size(); ++i) stops[i] = StrOf(strings[i]);
  return stops;
}

py::object Stopped(const DecodeStream& stream) {
  const StreamBatch::Row row = stream.row();
  if (row.state.stop < 0) return py::none();
  return StrOf(row.decoder->stops().stops()[static_cast<std::size_t>(row.state.stop)]);
}

std::size_t NumHeldChars(const StreamBatch::Row& row) {
  return row.decoder->NumHeldChars(row.state);
}

// --- many sequences ---

/// Row numbers; the batch checks the upper end.
class RowNumbers : public IntArray<std::int64_t> {
 public:
  explicit RowNumbers(const py::object& rows) : IntArray(rows, "rows", INT64_MIN, INT64_MAX) {}
};

/// A list of this length, made before the batch is locked: that can run other Python code.
py::list FilledList(std::size_t size) {
  py::list list(size);
  for (std::size_t i = 0; i < size; ++i) list[i] = py::none();
  return list;
}

py::list FeedBatch(StreamBatch& batch, const py::object& rows, const py::object& ids) {
  const RowNumbers numbers(rows);
  const std::vector<TokenId> values = IdsFrom(ids);
  py::list texts = FilledList(numbers.values().size());
  batch.Feed(numbers.values(), values,
             [&](std::size_t i, std::string_view utf8) { texts[i] = StrOf(utf8); });
  return texts;
}

py::list FinishBatch(StreamBatch& batch, const py::object& rows) {
  const RowNumbers numbers(rows);
  py::list texts = FilledList(numbers.values().size());
  batch.Finish(numbers.values(),
               [&](std::size_t i, std::string_view utf8) { texts[i] = StrOf(utf8); });
  return texts;
}

template <typename T, typename ValueOf>
py::array_t<T> ArrayOver(const StreamBatch& batch, ValueOf value_of) {
  py::array_t<T> values(static_cast<py::ssize_t>(batch.num_rows()));
  T* const data = values.mutable_data();
  batch.ForEach([&](std::size_t i, const StreamBatch::Row& row) { data[i] = value_of(row); });
  return values;
}

std::unique_ptr<StreamBatch> MakeBatch(std::int64_t num_rows, const DecodeStream& like) {
  if (num_rows < 1) throw ArgumentError(StrCat("num_rows must be >= 1, got ", num_rows));
  return std::make_unique<StreamBatch>(static_cast<std::size_t>(num_rows), like.row());
}

}  // namespace

void RegisterDecodeStream(py::module_& module) {
  py::class_<DecodeStream>(module, "DecodeStream")
      .def(py::init(&Begin), py::arg("encoding"), py::arg("stops"), py::arg("skip_special_tokens"),
           py::pos_only())
      .def("feed", &DecodeStream::Feed, py::arg("ids"), py::pos_only())
      .def("finish", &DecodeStream::Finish)
      .def("copy",
           [](const DecodeStream& stream) { return std::make_unique<DecodeStream>(stream); })
      .def("state", [](const DecodeStream& stream) { return TupleOf(stream.row().state); })
      .def("restored", &Restored, py::arg("state"), py::pos_only())
      .def_property_readonly("stops", &StopsOf)
      .def_property_readonly(
          "skip_special_tokens",
          [](const DecodeStream& s) { return s.row().decoder->skip_special_tokens(); })
      .def_property_readonly("stopped", &Stopped)
      .def_property_readonly("num_held_chars",
                             [](const DecodeStream& s) { return NumHeldChars(s.row()); })
      .def_property_readonly("num_bytes",
                             [](const DecodeStream& s) { return s.row().state.num_bytes; });

  py::class_<StreamBatch>(module, "DecodeStreamBatch")
      .def(py::init(&MakeBatch), py::arg("num_rows"), py::arg("like"), py::pos_only())
      .def("feed", &FeedBatch, py::arg("rows"), py::arg("ids"), py::pos_only())
      .def("finish", &FinishBatch, py::arg("rows"), py::pos_only())
      .def(
          "reset",
          [](StreamBatch& batch, const py::object& rows, const DecodeStream& like) {
            batch.Reset(RowNumbers(rows).values(), like.row());
          },
          py::arg("rows"), py::arg("like"), py::pos_only())
      .def(
          "row",
          [](const StreamBatch& batch, std::int64_t row) {
            return std::make_unique<DecodeStream>(batch.At(row));
          },
          py::arg("row"), py::pos_only())
      .def("copy", [](const StreamBatch& batch) { return std::make_unique<StreamBatch>(batch); })
      .def_property_readonly("num_rows", &StreamBatch::num_rows)
      .def_property_readonly("stopped",
                             [](const StreamBatch& batch) {
                               return ArrayOver<bool>(batch, [](const StreamBatch::Row& row) {
                                 return row.state.stop >= 0;
                               });
                             })
      .def_property_readonly(
          "num_held_chars",
          [](const StreamBatch& batch) { return ArrayOver<std::int64_t>(batch, &NumHeldChars); })
      .def_property_readonly("num_bytes", [](const StreamBatch& batch) {
        return ArrayOver<std::int64_t>(
            batch, [](const StreamBatch::Row& row) { return row.state.num_bytes; });
      });
}

}  // namespace ctx::bindings
