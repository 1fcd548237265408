// An array that grows at its end, shared between copies and with who looks at it.
//
//     | published: others may look at it, never written again | of the tip alone | free |
//
// Of all arrays that share a storage one, the tip, may write beyond what is published; another one
// that wants to write gets a storage of its own first. So a copy is O(1), and going on with either
// of the two costs at most one copy of the elements.
//
// An array itself is used by one thread at a time; arrays that share a storage, and views of it,
// may be used by different threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace ctx::chat {

template <typename T>
class TipBuffer {
  struct Storage {
    explicit Storage(std::size_t size) : elements(Allocate(size)), capacity(size) {}
    static std::unique_ptr<T[]> Allocate(std::size_t size) {
      if constexpr (std::is_trivially_default_constructible_v<T>) {
        return std::make_unique_for_overwrite<T[]>(size);
      } else {
        return std::make_unique<T[]>(size);
      }
    }
    const std::unique_ptr<T[]> elements;
    const std::size_t capacity;
    std::size_t published = 0;           // written by the tip only
    std::atomic<std::uint64_t> tip = 0;  // the writer, or 0 when all is published
  };

 public:
  /// Elements that stay as they are for as long as this lives.
  class View {
   public:
    std::span<const T> elements() const noexcept { return elements_; }

   private:
    friend class TipBuffer;
    std::shared_ptr<const Storage> storage_;
    std::span<const T> elements_;
  };

  TipBuffer() noexcept = default;
  TipBuffer(const TipBuffer& other) noexcept : storage_(other.storage_), size_(other.size_) {
    if (storage_ == nullptr || storage_->tip.load(std::memory_order_relaxed) != other.writer_) {
      return;
    }
    storage_->published = std::max(storage_->published, size_);
    storage_->tip.store(0, std::memory_order_release);
  }
  TipBuffer& operator=(const TipBuffer&) = delete;

  std::size_t size() const noexcept { return size_; }
  std::span<const T> span() const noexcept { return {data(), size_}; }
  const T& operator[](std::size_t i) const noexcept { return data()[i]; }

  View Publish() const {
    View view;
    view.storage_ = storage_;
    view.elements_ = span();
    if (storage_ != nullptr && storage_->tip.load(std::memory_order_relaxed) == writer_) {
      storage_->published = std::max(storage_->published, size_);
    }
    return view;
  }

  /// The elements, of which those from `begin` on may be written, up to `end`. Until Commit the
  /// array is what it was, unless the caller writes below its size. Amortized O(end - begin), and
  /// O(size) where others share what would be written.
  T* Prepare(std::size_t begin, std::size_t end) {
    if (begin == end || MayWrite(begin, end)) return data();
    const std::size_t size = std::max(size_, end);
    auto own = std::make_shared<Storage>(std::max<std::size_t>(size + size / 2, 16));
    std::copy_n(data(), size_, own->elements.get());
    own->tip.store(writer_, std::memory_order_relaxed);
    storage_ = std::move(own);
    return data();
  }
  void Commit(std::size_t size) noexcept { size_ = size; }

 private:
  static std::uint64_t NextWriter() noexcept {
    static std::atomic<std::uint64_t> last = 0;
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  T* data() const noexcept { return storage_ == nullptr ? nullptr : storage_->elements.get(); }

  bool MayWrite(std::size_t begin, std::size_t end) noexcept {
    if (storage_ == nullptr || end > storage_->capacity) return false;
    if (storage_.use_count() == 1) {
      // What others last did with it happened before: giving up a share acquires, asking for the
      // number of them does not.
      std::shared_ptr<Storage>(storage_).reset();
      storage_->published = 0;
      storage_->tip.store(writer_, std::memory_order_relaxed);
      return true;
    }
    std::uint64_t tip = storage_->tip.load(std::memory_order_relaxed);
    if (tip == 0 && storage_->tip.compare_exchange_strong(tip, writer_)) tip = writer_;
    return tip == writer_ && begin >= storage_->published;
  }

  std::shared_ptr<Storage> storage_;
  std::size_t size_ = 0;
  std::uint64_t writer_ = NextWriter();
};

}  // namespace ctx::chat
