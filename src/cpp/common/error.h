// The errors of the core. Constructors and loaders throw them; a shortfall that the caller can wait
// out (no block free, over the rate) is a result, never an exception. The bindings turn each class
// into the Python class of the same name in ctxengine.errors.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace ctx {

/// Base of every error that the core throws by itself; std::bad_alloc passes through untouched.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument outside its documented domain.
class ArgumentError : public Error {
 public:
  using Error::Error;
};

/// A vocabulary or template file that is not what it must be; the message says where.
class LoadError : public Error {
 public:
  using Error::Error;
};

/// Text holds the spelling of a special token that the caller did not allow.
class SpecialTokenError : public Error {
 public:
  using Error::Error;
};

/// A token, or a token id, that the vocabulary does not have.
class UnknownTokenError : public Error {
 public:
  using Error::Error;
};

/// What must be kept does not fit: `needed_tokens` against `available_tokens`.
class BudgetExceeded : public Error {
 public:
  BudgetExceeded(const std::string& message, std::int64_t needed_tokens,
                 std::int64_t available_tokens)
      : Error(message), needed_tokens_(needed_tokens), available_tokens_(available_tokens) {}
  std::int64_t needed_tokens() const noexcept { return needed_tokens_; }
  std::int64_t available_tokens() const noexcept { return available_tokens_; }

 private:
  std::int64_t needed_tokens_;
  std::int64_t available_tokens_;
};

/// A prefix to go on from that is no longer there: match the whole prompt again.
class StaleMatchError : public Error {
 public:
  using Error::Error;
};

/// A request that the pool could never serve: `needed` units against `capacity`.
class CapacityError : public Error {
 public:
  CapacityError(const std::string& message, std::int64_t needed, std::int64_t capacity)
      : Error(message), needed_(needed), capacity_(capacity) {}
  std::int64_t needed() const noexcept { return needed_; }
  std::int64_t capacity() const noexcept { return capacity_; }

 private:
  std::int64_t needed_;
  std::int64_t capacity_;
};

/// The CUDA driver refused something.
class DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace ctx
