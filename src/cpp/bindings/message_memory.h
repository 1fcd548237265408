// What is known of messages that were counted before.
//
// A message of plain objects (dict, list and tuple of str, int, float, bytes, bool and None, and of
// no subclass of these) is an entry: its shape, word by word, with a reference to every immutable
// object in it, and what was found out about it. Whether a message is that of an entry is found by
// walking both side by side. Where the objects are the same, nothing is read; where they are others
// of equal content, their bytes are compared. So an entry is right whatever became of the message
// meanwhile, and a change at any depth is another message. Equal messages share an entry, which
// holds the objects of one of them and none of its dicts and lists.
//
// Entries are found by the one that came after the message before at the last time, else by a hash
// of a part of the content: where entries collide, the older one goes. Their sizes are bounded
// together: what was not used for longest goes, roughly.
//
// Everything here needs the GIL and runs no Python code but where it says so. Without a GIL nothing
// is known: others could change what is walked.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/chat_request.h"
#include "chat/groups.h"
#include "chat/template.h"
#include "tokenize/encoding.h"

namespace ctx::bindings {

namespace py = pybind11;

class MessageMemory {
 public:
  /// Tokens of a message among others (chat::TokensAmongOthers), in one template and encoding;
  /// negative ones are not known.
  struct Tokens {
    std::uint64_t context = 0;
    std::int64_t measured = -1;
    std::int64_t in_open_turn = -1;
  };

  class Entry {
   public:
    chat::MessageFacts facts;
    std::uint64_t content_hash = 0;  ///< of the text that the message shows

    /// Null where nothing is known in a context.
    Tokens* Find(std::uint64_t context) noexcept {
      for (Tokens& tokens : tokens_) {
        if (tokens.context == context) return &tokens;
      }
      return nullptr;
    }
    Tokens& FindOrForget(std::uint64_t context) noexcept {
      if (Tokens* const found = Find(context)) return *found;
      tokens_[1] = tokens_[0];
      tokens_[0] = {context, -1, -1};
      return tokens_[0];
    }
    /// A message like those that the entry stands for, made anew of the same immutable objects.
    py::object Copy() const;

   private:
    friend class MessageMemory;
    std::array<Tokens, 2> tokens_{};
    std::uint64_t hash_ = 0;
    std::uint32_t num_references_ = 0;
    std::uint32_t slot_ = 0;
    std::uint32_t next_ = 0;  // the slot of what came after it
    std::uint32_t used_ = 0;  // when
    std::size_t size_bytes_ = 0;
    std::vector<std::uintptr_t> words_;
  };

  /// Keeps an entry as it is for as long as it lives, whatever the memory forgets.
  class Reference {
   public:
    Reference() noexcept = default;
    explicit Reference(Entry* entry) noexcept : entry_(entry) { ++entry_->num_references_; }
    Reference(Reference&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
    Reference(const Reference& other) noexcept : entry_(other.entry_) {
      if (entry_ != nullptr) ++entry_->num_references_;
    }
    Reference& operator=(Reference other) noexcept {
      std::swap(entry_, other.entry_);
      return *this;
    }
    ~Reference() {
      if (entry_ != nullptr && --entry_->num_references_ == 0) Free(entry_);
    }
    /// The reference that Release has given up.
    static Reference Adopt(Entry* entry) noexcept {
      Reference reference;
      reference.entry_ = entry;
      return reference;
    }
    Entry* Release() noexcept { return std::exchange(entry_, nullptr); }
    Entry* operator->() const noexcept { return entry_; }
    Entry& operator*() const noexcept { return *entry_; }
    Entry* get() const noexcept { return entry_; }

   private:
    Entry* entry_ = nullptr;
  };

  /// Holds entries of so many bytes together, with the objects that they refer to.
  explicit MessageMemory(std::size_t capacity_bytes);
  ~MessageMemory();
  MessageMemory(const MessageMemory&) = delete;
  MessageMemory& operator=(const MessageMemory&) = delete;

  /// The entry of a message that came after that of `previous` (may be null). Null for a message
  /// that has none, of plain objects or not.
  Entry* Find(PyObject* message, Entry* previous) {
    if (previous != nullptr) {
      Entry* const expected = slots_[previous->next_];
      if (expected != nullptr && IsSame(message, *expected)) {
        expected->used_ = now_;
        return expected;
      }
    }
    return Search(message, previous);
  }

  /// The shape of a message that has no entry yet, as an entry that is not in the memory; nothing
  /// for what is not of plain objects, too large or too deep.
  std::optional<Reference> Describe(PyObject* message);
  /// Puts it in.
  void Insert(const Reference& entry, Entry* previous);

  /// A number for a template, its options and an encoding. It is not used again for others.
  std::uint64_t ContextOf(const ChatTemplate& family, const tokenize::Encoding& encoding);
  /// A call begins.
  void Tick() noexcept { ++now_; }

  /// As Entry::content_hash.
  static std::uint64_t HashOf(std::string_view content) noexcept;

  void Clear() noexcept;
  std::size_t num_entries() const noexcept { return num_entries_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  static constexpr std::size_t kNumSlots = std::size_t{1} << 16;
  static constexpr std::size_t kNumWays = 4;
  static constexpr std::size_t kMaxContexts = 16;

  struct Context {
    std::uint64_t number;
    const chat::Template* family;
    chat::TemplateOptions options;
    std::string fingerprint;
  };

  bool IsSame(PyObject* message, Entry& entry) const;
  static void Free(Entry* entry) noexcept;
  Entry* Search(PyObject* message, Entry* previous);
  void Remove(std::size_t slot) noexcept;
  void MakeRoom(std::size_t size_bytes) noexcept;

  const std::size_t capacity_bytes_;
  std::unique_ptr<Entry*[]> slots_;
  std::size_t num_entries_ = 0;
  std::size_t size_bytes_ = 0;
  std::size_t hand_ = 0;
  std::uint32_t now_ = 0;
  std::vector<Context> contexts_;
  std::uint64_t last_context_ = 0;
  std::vector<std::uintptr_t> scratch_;
};

}  // namespace ctx::bindings
