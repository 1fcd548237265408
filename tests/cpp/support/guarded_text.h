// Text that ends where readable memory ends: a read past it is a fault, in every build.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>

namespace ctx::testing {

/// A copy of a text whose last byte stands right before an inaccessible page.
class GuardedText {
 public:
  explicit GuardedText(std::string_view text) : size_(text.size()) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t readable = (text.size() + page - 1) / page * page;
    mapped_ = readable + page;
    void* const begin =
        ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<char*>(begin);
    ::mprotect(begin_ + readable, page, PROT_NONE);
    data_ = begin_ + readable - text.size();
    if (!text.empty()) std::memcpy(data_, text.data(), text.size());
  }
  ~GuardedText() { ::munmap(begin_, mapped_); }
  GuardedText(const GuardedText&) = delete;
  GuardedText& operator=(const GuardedText&) = delete;

  std::string_view view() const noexcept { return {data_, size_}; }

 private:
  std::size_t size_;
  std::size_t mapped_ = 0;
  char* begin_ = nullptr;
  char* data_ = nullptr;
};

}  // namespace ctx::testing
