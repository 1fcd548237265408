// `_core.EncodingCalls`, the base class of `ctxengine.Encoding`: the calls for one text or one list
// of ids, straight from the interpreter (fast_call.h). What a user may pass beyond the usual is
// judged in Python: `_special_modes`.
#include <Python.h>
#include <structmember.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/encoding_docs.h"
#include "bindings/fast_call.h"
#include "bindings/id_buffer.h"
#include "bindings/special_check.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/decoder.h"
#include "tokenize/encoding.h"
#include "tokenize/text_counter.h"

namespace ctx::bindings {
namespace {

using tokenize::Decoder;
using tokenize::Encoding;
using tokenize::IdMemory;
using tokenize::SpecialTokens;

/// The Python object; all null until `_bind` is called.
struct EncodingCalls {
  PyObject_HEAD;
  PyObject* native;                       // the `_core.Encoding`, which keeps `encoding` alive
  std::atomic<const Encoding*> encoding;  // set once
  std::atomic<const Decoder*> decoder;    // made when it is first needed
};

const Encoding& EncodingOf(const EncodingCalls& self) {
  const Encoding* const encoding = self.encoding.load(std::memory_order_acquire);
  if (encoding == nullptr) throw py::type_error("Encoding.__init__() has not been called");
  return *encoding;
}

const Decoder& DecoderOf(EncodingCalls& self) {
  const Decoder* known = self.decoder.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  auto made = std::make_unique<const Decoder>(EncodingOf(self));
  if (self.decoder.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *known;  // another thread was first
}

// --- life ---

PyObject* Bind(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<1> kParameters{"_bind", {"native"}, 1, 1};
  const auto [native] = kParameters.Bind(given);
  if (!py::isinstance<Encoding>(native)) ThrowWrongType("native", "_core.Encoding", native);
  const Encoding* expected = nullptr;
  const Encoding* const encoding = py::cast<const Encoding*>(py::handle(native));
  if (!self.encoding.compare_exchange_strong(expected, encoding)) {
    throw py::type_error("an Encoding never changes: __init__() was called before");
  }
  self.native = Py_NewRef(native);
  Py_RETURN_NONE;
}

void Deallocate(PyObject* object) {
  auto* const self = reinterpret_cast<EncodingCalls*>(object);
  delete self->decoder.load();
  Py_XDECREF(self->native);
  PyTypeObject* const type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

// --- special tokens in text ---

/// Which spellings become special tokens and which are refused.
struct SpecialModes {
  const SpecialTokens* allowed;     // null: none
  const SpecialTokens* disallowed;  // null: none
  py::object owner;                 // backs them when they were made in Python
};

bool IsAll(PyObject* mode) {
  return PyUnicode_Check(mode) != 0 && PyUnicode_CompareWithASCIIString(mode, "all") == 0;
}

bool IsEmpty(PyObject* mode) {
  return (PyAnySet_CheckExact(mode) && PySet_GET_SIZE(mode) == 0) ||
         (PyTuple_CheckExact(mode) && PyTuple_GET_SIZE(mode) == 0);
}

/// Null arguments stand for the defaults: nothing allowed, all else disallowed.
SpecialModes ModesOf(EncodingCalls& self, const Encoding& encoding, PyObject* allowed,
                     PyObject* disallowed) {
  const SpecialTokens* const all = &encoding.special_tokens();
  const bool disallow_all = disallowed == nullptr || IsAll(disallowed);
  if (allowed == nullptr || IsEmpty(allowed)) {
    if (disallow_all) return {nullptr, all, {}};
    if (IsEmpty(disallowed)) return {nullptr, nullptr, {}};
  } else if (IsAll(allowed) && (disallow_all || IsEmpty(disallowed))) {
    return {all, nullptr, {}};
  }
  const py::object given_allowed =
      allowed == nullptr ? py::tuple() : py::reinterpret_borrow<py::object>(allowed);
  const py::object given_disallowed =
      disallowed == nullptr ? py::str("all") : py::reinterpret_borrow<py::object>(disallowed);
  const py::tuple pair = py::handle(reinterpret_cast<PyObject*>(&self))
                             .attr("_special_modes")(given_allowed, given_disallowed);
  return {&py::cast<const SpecialTokens&>(pair[0]), &py::cast<const SpecialTokens&>(pair[1]), pair};
}

/// Appends the ids of the text.
void EncodeText(EncodingCalls& self, PyObject* text, PyObject* allowed, PyObject* disallowed,
                IdMemory& ids) {
  const Encoding& encoding = EncodingOf(self);
  RequireStr(text, "text");
  const SpecialModes modes = ModesOf(self, encoding, allowed, disallowed);
  const Utf8Text utf8(text);
  ReserveForText(ids, utf8.view().size());
  if (modes.disallowed != nullptr) RefuseSpecialTokens(*modes.disallowed, utf8.view());
  const ReleaseGilForLongWork release(utf8.view().size());
  if (modes.allowed == nullptr) {
    encoding.EncodeOrdinary(utf8.view(), ids);
  } else {
    encoding.Encode(utf8.view(), *modes.allowed, ids);
  }
}

// --- text to ids ---

PyObject* Encode(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<3> kParameters{
      "encode", {"text", "allowed_special", "disallowed_special"}, 1, 1};
  const auto [text, allowed, disallowed] = kParameters.Bind(given);
  IdMemory ids;
  EncodeText(self, text, allowed, disallowed, ids);
  return ListOfIds(ids.view()).release().ptr();
}

PyObject* EncodeToNumpy(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<3> kParameters{
      "encode_to_numpy", {"text", "allowed_special", "disallowed_special"}, 1, 1};
  const auto [text, allowed, disallowed] = kParameters.Bind(given);
  IdMemory ids;
  EncodeText(self, text, allowed, disallowed, ids);
  return ArrayOfIds(ids).release().ptr();
}

PyObject* EncodeInto(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<4> kParameters{
      "encode_into", {"text", "buffer", "allowed_special", "disallowed_special"}, 2, 2};
  const auto [text, buffer, allowed, disallowed] = kParameters.Bind(given);
  IdMemory ids;
  EncodeText(self, text, allowed, disallowed, ids);
  const IdBuffer room(buffer);
  const std::size_t capacity = room.ids().size();
  if (ids.size() > capacity) {
    throw CapacityError(StrCat("the text has ", ids.size(), " tokens, the buffer holds ", capacity),
                        static_cast<std::int64_t>(ids.size()), static_cast<std::int64_t>(capacity));
  }
  // Copied at the end: a call that fails, for want of room too, leaves the buffer as it was.
  std::copy(ids.view().begin(), ids.view().end(), room.ids().begin());
  return PyLong_FromSize_t(ids.size());
}

PyObject* EncodeOrdinary(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<1> kParameters{"encode_ordinary", {"text"}, 1, 1};
  const auto [text] = kParameters.Bind(given);
  const Encoding& encoding = EncodingOf(self);
  RequireStr(text, "text");
  const Utf8Text utf8(text);
  IdMemory ids;
  ReserveForText(ids, utf8.view().size());
  {
    const ReleaseGilForLongWork release(utf8.view().size());
    encoding.EncodeOrdinary(utf8.view(), ids);
  }
  return ListOfIds(ids.view()).release().ptr();
}

PyObject* EncodeBytes(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<1> kParameters{"encode_bytes", {"data"}, 1, 1};
  const auto [data] = kParameters.Bind(given);
  const Encoding& encoding = EncodingOf(self);
  const std::string_view bytes = RequireBytes(data, "data");
  IdMemory ids;
  ReserveForText(ids, bytes.size());
  {
    const ReleaseGilForLongWork release(bytes.size());
    encoding.EncodeBytes(bytes, ids);
  }
  return ListOfIds(ids.view()).release().ptr();
}

// --- counting ---

/// Counts a long text without making all its UTF-8, up to the limit; nothing when the encoding, or
/// this text, needs it in one place, or when it lies there.
std::optional<std::int64_t> CountInChunks(const Encoding& encoding, PyObject* text,
                                          std::int64_t limit) {
  const auto num_chars = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
  if (num_chars <= Utf8Chunks::kMaxChars || Utf8Text::Ready(text) || !encoding.CountsInChunks()) {
    return std::nullopt;
  }
  Utf8Chunks chunks(text);
  const ReleaseGilForLongWork release(num_chars);
  tokenize::TextCounter counter(encoding, limit);
  while (!counter.Full()) {
    const std::string_view chunk = chunks.Next();
    if (chunk.empty()) break;
    counter.Feed(chunk);
  }
  counter.EndSection();
  return counter.count();
}

PyObject* Count(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<1> kParameters{"count", {"text"}, 1, 1};
  const auto [text] = kParameters.Bind(given);
  const Encoding& encoding = EncodingOf(self);
  RequireStr(text, "text");
  auto count = CountInChunks(encoding, text, INT64_MAX);
  if (!count) {
    const Utf8Text utf8(text);
    const ReleaseGilForLongWork release(utf8.view().size());
    count = encoding.CountOrdinary(utf8.view());
  }
  return PyLong_FromLongLong(*count);
}

/// Any int, those beyond 64 bits as the nearest.
std::int64_t LimitFrom(PyObject* limit) {
  if (PyIndex_Check(limit) == 0) ThrowWrongType("limit", "int", limit);
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(limit));
  if (!number) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) return overflow < 0 ? INT64_MIN : INT64_MAX;
  return value;
}

bool TextFits(const Encoding& encoding, PyObject* text, std::int64_t limit) {
  // Before making UTF-8, which is O(text): a character has at least one byte, two surrogates that
  // make up one character included.
  const auto num_chars = static_cast<std::uint64_t>(PyUnicode_GET_LENGTH(text));
  const auto max_bytes = encoding.max_text_bytes_of_token();
  if (limit < 0) return false;
  if (max_bytes && num_chars / *max_bytes > static_cast<std::uint64_t>(limit)) return false;
  if (const auto count = CountInChunks(encoding, text, limit)) return *count <= limit;
  const Utf8Text utf8(text);
  const ReleaseGilForLongWork release(utf8.view().size());
  return encoding.FitsOrdinary(utf8.view(), limit);
}

PyObject* Fits(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<2> kParameters{"fits", {"text", "limit"}, 2, 2};
  const auto [text, limit] = kParameters.Bind(given);
  const Encoding& encoding = EncodingOf(self);
  const std::int64_t max_tokens = LimitFrom(limit);
  RequireStr(text, "text");
  return PyBool_FromLong(TextFits(encoding, text, max_tokens) ? 1 : 0);
}

// --- ids to text ---

/// A bytes object that grows.
class BytesMemory : public tokenize::TextMemory {
 public:
  std::span<char> Grow(std::size_t size_bytes) override {
    if (bytes_) {
      Resize(size_bytes);
    } else {
      bytes_ = py::reinterpret_steal<py::object>(
          PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size_bytes)));
      if (!bytes_) throw py::error_already_set();
    }
    return {PyBytes_AS_STRING(bytes_.ptr()), size_bytes};
  }
  /// The object with its first bytes.
  py::object Take(std::size_t num_bytes) {
    Resize(num_bytes);
    return std::move(bytes_);
  }

 private:
  void Resize(std::size_t num_bytes) {
    PyObject* bytes = bytes_.release().ptr();
    if (_PyBytes_Resize(&bytes, static_cast<Py_ssize_t>(num_bytes)) != 0) {
      throw py::error_already_set();
    }
    bytes_ = py::reinterpret_steal<py::object>(bytes);
  }

  py::object bytes_;
};

/// Bytes on their way to a str; few of them on the stack.
class ScratchMemory : public tokenize::TextMemory {
 public:
  ~ScratchMemory() override { std::free(many_); }
  std::span<char> Grow(std::size_t size_bytes) override {
    if (size_bytes <= few_.size()) return few_;
    auto* const more = static_cast<char*>(std::realloc(many_, size_bytes));
    if (more == nullptr) throw std::bad_alloc();
    if (many_ == nullptr) std::copy(few_.begin(), few_.end(), more);
    many_ = more;
    return {many_, size_bytes};
  }
  const char* data() const noexcept { return many_ == nullptr ? few_.data() : many_; }

 private:
  std::array<char, 1024> few_;
  char* many_ = nullptr;
};

PyObject* DecodeBytes(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<1> kParameters{"decode_bytes", {"tokens"}, 1, 1};
  const auto [tokens] = kParameters.Bind(given);
  const Decoder& decoder = DecoderOf(self);
  const GivenIds ids(tokens);
  BytesMemory memory;
  const Decoder::Text text = decoder.Write(ids.values(), /*skip_special_tokens=*/false, memory);
  return memory.Take(text.num_bytes).release().ptr();
}

PyObject* Decode(EncodingCalls& self, const CallArguments& given) {
  static constexpr Parameters<3> kParameters{
      "decode", {"tokens", "errors", "skip_special_tokens"}, 2, 1};
  const auto [tokens, errors, skip_argument] = kParameters.Bind(given);
  const Decoder& decoder = DecoderOf(self);
  const std::string policy(errors == nullptr ? "replace" : RequireUtf8(errors, "errors"));
  const int skip = skip_argument == nullptr ? 0 : PyObject_IsTrue(skip_argument);
  if (skip < 0) throw py::error_already_set();
  const GivenIds ids(tokens);
  ScratchMemory memory;
  const Decoder::Text text = decoder.Write(ids.values(), skip != 0, memory);
  const auto num_bytes = static_cast<Py_ssize_t>(text.num_bytes);
  if (!text.is_ascii) return PyUnicode_DecodeUTF8(memory.data(), num_bytes, policy.c_str());
  PyObject* const made = PyUnicode_New(num_bytes, 127);
  if (made != nullptr) std::memcpy(PyUnicode_DATA(made), memory.data(), text.num_bytes);
  return made;
}

template <PyObject* (*kMethod)(EncodingCalls&, const CallArguments&)>
PyMethodDef Method(const char* name, const char* doc) {
  return FastMethod<EncodingCalls, kMethod>(name, doc);
}

}  // namespace

void RegisterEncodingCalls(py::module_& module) {
  static PyMethodDef methods[] = {
      Method<&Bind>("_bind", docs::kBind),
      Method<&Encode>("encode", docs::kEncode),
      Method<&EncodeOrdinary>("encode_ordinary", docs::kEncodeOrdinary),
      Method<&EncodeToNumpy>("encode_to_numpy", docs::kEncodeToNumpy),
      Method<&EncodeInto>("encode_into", docs::kEncodeInto),
      Method<&EncodeBytes>("encode_bytes", docs::kEncodeBytes),
      Method<&Count>("count", docs::kCount),
      Method<&Fits>("fits", docs::kFits),
      Method<&Decode>("decode", docs::kDecode),
      Method<&DecodeBytes>("decode_bytes", docs::kDecodeBytes),
      {},
  };
  static PyMemberDef members[] = {
      {"_native", T_OBJECT_EX, offsetof(EncodingCalls, native), READONLY, nullptr},
      {},
  };
  PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(&Deallocate)},
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {0, nullptr},
  };
  PyType_Spec spec = {"ctxengine._core.EncodingCalls", sizeof(EncodingCalls), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  module.attr("EncodingCalls") = type;
}

}  // namespace ctx::bindings
