// The words of a shape: a pointer for an immutable object; for a dict, a list and a tuple the
// number of its elements and a mark in the lowest bits, then the elements, of a dict key and value
// in its own order.
#include "bindings/message_memory.h"

#include <algorithm>
#include <cstring>

#include "chat/fold_hash.h"

namespace ctx::bindings {
namespace {

constexpr std::uintptr_t kMarkBits = 7;
constexpr std::uintptr_t kDict = 1;
constexpr std::uintptr_t kList = 2;
constexpr std::uintptr_t kTuple = 3;
constexpr int kSizeShift = 3;

constexpr std::size_t kMaxWords = 4096;
constexpr int kMaxDepth = 32;

// Spreads what is looked up; contents are compared. That others cannot aim at collisions matters
// little: a set of slots holds four entries.
constexpr chat::FoldKey kHashKey = {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
                                    0xd6e8feb86659fd93};

std::uintptr_t WordOf(std::size_t size, std::uintptr_t mark) noexcept {
  return static_cast<std::uintptr_t>(size) << kSizeShift | mark;
}

bool IsPlainLeaf(PyObject* value) noexcept {
  if (PyLong_CheckExact(value)) {
    int overflow = 0;
    PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0;
  }
  return PyUnicode_CheckExact(value) || value == Py_None || PyBool_Check(value) ||
         PyFloat_CheckExact(value) || PyBytes_CheckExact(value);
}

std::string_view BytesOf(PyObject* text) noexcept {
  return {static_cast<const char*>(PyUnicode_DATA(text)),
          static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)) * PyUnicode_KIND(text)};
}

// Of different objects, of which `known` is a plain leaf.
bool IsEqualLeaf(PyObject* known, PyObject* value) noexcept {
  if (Py_TYPE(known) != Py_TYPE(value)) return false;
  if (PyUnicode_CheckExact(known)) {
    if (PyUnicode_GET_LENGTH(known) != PyUnicode_GET_LENGTH(value) ||
        PyUnicode_KIND(known) != PyUnicode_KIND(value)) {
      return false;
    }
    const std::string_view bytes = BytesOf(known);
    return std::memcmp(bytes.data(), PyUnicode_DATA(value), bytes.size()) == 0;
  }
  if (PyLong_CheckExact(known)) {
    int overflow = 0;
    const long long other = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow == 0 && PyLong_AsLongLong(known) == other;
  }
  if (PyFloat_CheckExact(known)) {
    const double a = PyFloat_AS_DOUBLE(known);
    const double b = PyFloat_AS_DOUBLE(value);
    return std::memcmp(&a, &b, sizeof a) == 0;
  }
  return false;
}

// With `adopts`, the objects of the value replace those of the shape where they are equal.
bool IsSameLeaf(std::uintptr_t& word, PyObject* value, bool adopts) noexcept {
  if (word == reinterpret_cast<std::uintptr_t>(value)) [[likely]]
    return true;
  if ((word & kMarkBits) != 0) return false;
  auto* const known = reinterpret_cast<PyObject*>(word);
  if (!IsEqualLeaf(known, value)) return false;
  if (!adopts) return true;
  Py_INCREF(value);
  word = reinterpret_cast<std::uintptr_t>(value);
  Py_DECREF(known);  // of a type that runs no code when it goes
  return true;
}

// The sizes are compared on the way, so that nothing is read beyond the end of the words.
bool IsSameValue(std::uintptr_t*& at, PyObject* value, bool adopts) {
  std::uintptr_t& word = *at++;
  if (PyDict_CheckExact(value)) {
    const auto size = static_cast<std::size_t>(PyDict_GET_SIZE(value));
    if (word != WordOf(size, kDict)) return false;
    PyObject* key = nullptr;
    PyObject* inner = nullptr;
    Py_ssize_t next = 0;
    while (PyDict_Next(value, &next, &key, &inner) != 0) {
      if (!IsSameLeaf(*at++, key, adopts)) return false;
      if (*at == reinterpret_cast<std::uintptr_t>(inner)) {
        ++at;
      } else if (!IsSameValue(at, inner, adopts)) {
        return false;
      }
    }
    return true;
  }
  const bool is_list = PyList_CheckExact(value);
  if (is_list || PyTuple_CheckExact(value)) {
    const auto size = static_cast<std::size_t>(Py_SIZE(value));
    if (word != WordOf(size, is_list ? kList : kTuple)) return false;
    PyObject* const* const items = is_list ? reinterpret_cast<PyListObject*>(value)->ob_item
                                           : reinterpret_cast<PyTupleObject*>(value)->ob_item;
    for (std::size_t i = 0; i < size; ++i) {
      if (!IsSameValue(at, items[i], adopts)) return false;
    }
    return true;
  }
  return IsSameLeaf(word, value, adopts);
}

// Writes the shape of a value, without references.
class Describer {
 public:
  explicit Describer(std::vector<std::uintptr_t>& words) : words_(words) { words_.clear(); }

  std::uint64_t hash() const noexcept { return hash_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }

  bool Add(PyObject* value, int depth = 0) {
    if (PyDict_CheckExact(value)) {
      if (!Open(static_cast<std::size_t>(PyDict_GET_SIZE(value)), kDict, depth)) return false;
      PyObject* key = nullptr;
      PyObject* inner = nullptr;
      Py_ssize_t next = 0;
      while (PyDict_Next(value, &next, &key, &inner) != 0) {
        if (!PyUnicode_CheckExact(key) || !AddLeaf(key) || !Add(inner, depth + 1)) return false;
      }
      return true;
    }
    const bool is_list = PyList_CheckExact(value);
    if (is_list || PyTuple_CheckExact(value)) {
      const auto size = static_cast<std::size_t>(Py_SIZE(value));
      if (!Open(size, is_list ? kList : kTuple, depth)) return false;
      for (std::size_t i = 0; i < size; ++i) {
        PyObject* const item = is_list ? PyList_GET_ITEM(value, static_cast<Py_ssize_t>(i))
                                       : PyTuple_GET_ITEM(value, static_cast<Py_ssize_t>(i));
        if (!Add(item, depth + 1)) return false;
      }
      return true;
    }
    return IsPlainLeaf(value) && AddLeaf(value);
  }

 private:
  bool Open(std::size_t size, std::uintptr_t mark, int depth) {
    if (depth == kMaxDepth || size > kMaxWords) return false;
    return AddWord(WordOf(size, mark), WordOf(size, mark));
  }

  bool AddWord(std::uintptr_t word, std::uint64_t hashed) {
    if (words_.size() == kMaxWords) return false;
    words_.push_back(word);
    hash_ = chat::Fold(hash_ ^ kHashKey[0], hashed ^ kHashKey[1]);
    return true;
  }

  bool AddLeaf(PyObject* value) {
    std::uint64_t hashed = 0;
    if (PyUnicode_CheckExact(value)) {
      const std::string_view bytes = BytesOf(value);
      size_bytes_ += bytes.size() + sizeof(PyASCIIObject);
      hashed = Sample(bytes);
    } else if (PyBytes_CheckExact(value)) {
      size_bytes_ += static_cast<std::size_t>(PyBytes_GET_SIZE(value)) + sizeof(PyBytesObject);
    }
    return AddWord(reinterpret_cast<std::uintptr_t>(value), hashed);
  }

  // All of a short text; of a long one its beginning, its end and some of what is between.
  static std::uint64_t Sample(std::string_view bytes) noexcept {
    constexpr std::size_t kEnd = 128;
    constexpr std::size_t kSamples = 16;
    if (bytes.size() <= 2 * kEnd) return chat::FoldHash(kHashKey, 0, bytes);
    std::uint64_t hash = chat::FoldHash(kHashKey, bytes.size(), bytes.substr(0, kEnd));
    const std::size_t step = (bytes.size() - 8) / kSamples;
    for (std::size_t i = 1; i < kSamples; ++i) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i * step, sizeof word);
      hash = chat::Fold(hash ^ kHashKey[2], word ^ kHashKey[3]);
    }
    return chat::FoldHash(kHashKey, hash, bytes.substr(bytes.size() - kEnd));
  }

  std::vector<std::uintptr_t>& words_;
  std::uint64_t hash_ = 0;
  std::size_t size_bytes_ = 0;
};

py::object CopyOf(const std::uintptr_t*& at) {
  const std::uintptr_t word = *at++;
  const std::size_t size = word >> kSizeShift;
  switch (word & kMarkBits) {
    case kDict: {
      py::dict copy;
      for (std::size_t i = 0; i < size; ++i) {
        const py::object key = CopyOf(at);
        const py::object value = CopyOf(at);
        if (PyDict_SetItem(copy.ptr(), key.ptr(), value.ptr()) != 0) throw py::error_already_set();
      }
      return copy;
    }
    case kList: {
      py::list copy;
      for (std::size_t i = 0; i < size; ++i) copy.append(CopyOf(at));
      return copy;
    }
    case kTuple: {
      py::tuple copy(size);
      for (std::size_t i = 0; i < size; ++i) {
        PyTuple_SET_ITEM(copy.ptr(), static_cast<Py_ssize_t>(i), CopyOf(at).release().ptr());
      }
      return copy;
    }
    default:
      return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(word));
  }
}

bool IsReference(std::uintptr_t word) noexcept { return (word & kMarkBits) == 0; }

}  // namespace

py::object MessageMemory::Entry::Copy() const {
  const std::uintptr_t* at = words_.data();
  return CopyOf(at);
}

MessageMemory::MessageMemory(std::size_t capacity_bytes)
    : capacity_bytes_(capacity_bytes), slots_(std::make_unique<Entry*[]>(kNumSlots)) {}

MessageMemory::~MessageMemory() { Clear(); }

void MessageMemory::Free(Entry* entry) noexcept {
  for (const std::uintptr_t word : entry->words_) {
    if (IsReference(word)) Py_DECREF(reinterpret_cast<PyObject*>(word));
  }
  delete entry;
}

bool MessageMemory::IsSame(PyObject* message, Entry& entry) const {
  // Who comes with new objects every time need not pay for giving up the old ones every time; who
  // comes with the same ones is known by them soon.
  constexpr std::uint32_t kAdoptEvery = 8;
  std::uintptr_t* at = entry.words_.data();
  return IsSameValue(at, message, now_ % kAdoptEvery == 0);
}

MessageMemory::Entry* MessageMemory::Search(PyObject* message, Entry* previous) {
  Describer describer(scratch_);
  if (!describer.Add(message)) return nullptr;
  const std::size_t set = describer.hash() % kNumSlots / kNumWays * kNumWays;
  for (std::size_t slot = set; slot < set + kNumWays; ++slot) {
    Entry* const entry = slots_[slot];
    if (entry == nullptr || entry->hash_ != describer.hash() || !IsSame(message, *entry)) continue;
    entry->used_ = now_;
    if (previous != nullptr) previous->next_ = entry->slot_;
    return entry;
  }
  return nullptr;
}

std::optional<MessageMemory::Reference> MessageMemory::Describe(PyObject* message) {
#ifdef Py_GIL_DISABLED
  return std::nullopt;
#else
  Describer describer(scratch_);
  if (!PyDict_CheckExact(message) || !describer.Add(message)) return std::nullopt;
  auto entry = std::make_unique<Entry>();
  entry->hash_ = describer.hash();
  entry->words_ = scratch_;
  entry->size_bytes_ =
      sizeof(Entry) + scratch_.size() * sizeof(std::uintptr_t) + describer.size_bytes();
  if (entry->size_bytes_ > capacity_bytes_ / 8) return std::nullopt;
  for (const std::uintptr_t word : entry->words_) {
    if (IsReference(word)) Py_INCREF(reinterpret_cast<PyObject*>(word));
  }
  return Reference(entry.release());
#endif
}

void MessageMemory::Insert(const Reference& entry, Entry* previous) {
  MakeRoom(entry->size_bytes_);
  const std::size_t set = entry->hash_ % kNumSlots / kNumWays * kNumWays;
  std::size_t slot = set;
  for (std::size_t way = set; way < set + kNumWays; ++way) {
    if (slots_[way] == nullptr) {
      slot = way;
      break;
    }
    if (now_ - slots_[way]->used_ > now_ - slots_[slot]->used_) slot = way;
  }
  Remove(slot);
  entry->slot_ = static_cast<std::uint32_t>(slot);
  entry->used_ = now_;
  if (previous != nullptr) previous->next_ = entry->slot_;
  slots_[slot] = Reference(entry).Release();
  size_bytes_ += entry->size_bytes_;
  ++num_entries_;
}

void MessageMemory::Remove(std::size_t slot) noexcept {
  Entry* const entry = std::exchange(slots_[slot], nullptr);
  if (entry == nullptr) return;
  size_bytes_ -= entry->size_bytes_;
  --num_entries_;
  Reference::Adopt(entry);
}

// What this call and the one before it used is passed over for a while.
void MessageMemory::MakeRoom(std::size_t size_bytes) noexcept {
  constexpr std::size_t kPatience = 64;
  std::size_t num_passed = 0;
  while (size_bytes_ + size_bytes > capacity_bytes_) {
    const std::size_t slot = hand_;
    hand_ = (hand_ + 1) % kNumSlots;
    if (slots_[slot] == nullptr) continue;
    if (now_ - slots_[slot]->used_ > 1 || num_passed++ == kPatience) {
      Remove(slot);
      num_passed = 0;
    }
  }
}

std::uint64_t MessageMemory::ContextOf(const ChatTemplate& family,
                                       const tokenize::Encoding& encoding) {
  for (const Context& context : contexts_) {
    if (context.family == family.family && context.fingerprint == encoding.fingerprint() &&
        context.options == family.options) {
      return context.number;
    }
  }
  Context made{last_context_ + 1, family.family, family.options,
               std::string(encoding.fingerprint())};
  if (contexts_.size() == kMaxContexts) contexts_.erase(contexts_.begin());
  contexts_.push_back(std::move(made));
  return ++last_context_;
}

std::uint64_t MessageMemory::HashOf(std::string_view content) noexcept {
  return chat::FoldHash(kHashKey, 0, content);
}

void MessageMemory::Clear() noexcept {
  for (std::size_t slot = 0; slot < kNumSlots; ++slot) Remove(slot);
}

}  // namespace ctx::bindings
