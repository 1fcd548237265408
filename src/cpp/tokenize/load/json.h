// JSON files, read strictly: valid UTF-8 without byte order mark, no lone surrogates, one value and
// nothing after it, at most kMaxJsonDepth levels, no key twice in an object. Numbers keep their
// kind: 1, 1.0 and 1e0 are told apart.
//
// A JsonDocument owns what its JsonValues point to and is immutable: any thread may read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/load/messages.h"

namespace ctx::tokenize::load {

inline constexpr std::size_t kMaxJsonDepth = 64;

class JsonValue;

class JsonDocument {
 public:
  /// Parses a whole file; throws LoadError "FILE:LINE: ..." for what is no JSON and "FILE: a.b[3]:
  /// ..." for a key that comes twice. O(n log n) in the number of keys of one object.
  JsonDocument(std::string_view bytes, std::string file_name);
  ~JsonDocument();
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  JsonValue root() const noexcept;
  const std::string& file_name() const noexcept { return file_name_; }

 private:
  friend class JsonValue;
  enum class Type : std::uint8_t { kNull, kBoolean, kInteger, kNumber, kString, kArray, kObject };
  /// All values in the order of the file; the members of an object are key, value, key, value.
  struct Node {
    Type type;
    bool boolean = false;
    std::uint32_t end = 0;  // index behind the last node inside this one
    double number = 0;
    std::int64_t integer = 0;
    std::string_view string;
  };
  struct Parsed;

  std::string PathOf(std::uint32_t index) const;
  void CheckKeys(std::uint32_t object) const;

  std::string file_name_;
  std::unique_ptr<Parsed> parsed_;  // owns the strings
  std::vector<Node> nodes_;
};

/// One value of a document. The readers throw LoadError "FILE: a.b[3]: ..." when the value is of
/// another type.
class JsonValue {
 public:
  bool IsNull() const noexcept { return node().type == Type::kNull; }
  bool IsString() const noexcept { return node().type == Type::kString; }
  bool IsArray() const noexcept { return node().type == Type::kArray; }
  bool IsObject() const noexcept { return node().type == Type::kObject; }

  bool Boolean() const;
  std::string_view String() const;
  /// A number of any kind.
  double Number() const;
  /// A number written as an integer, at least 0 and below 2^31: what a token id is.
  std::uint32_t Id() const;

  std::vector<JsonValue> Items() const;
  struct Member;
  std::vector<Member> Members() const;

  /// The member of this object with this key; nothing if there is none. O(number of members).
  std::optional<JsonValue> Find(std::string_view key) const;
  /// As Find, also nothing if the member is null.
  std::optional<JsonValue> FindValue(std::string_view key) const;
  /// As Find, but the member must be there.
  JsonValue At(std::string_view key) const;
  /// The member read as Boolean or String, or what stands for one that is absent or null.
  bool BooleanOr(std::string_view key, bool otherwise) const;
  std::string_view StringOr(std::string_view key, std::string_view otherwise) const;

  /// Throws LoadError for a member with a key that is not in `known`.
  void RequireKnownKeys(std::initializer_list<std::string_view> known) const;

  /// Throws LoadError "FILE: a.b[3]: MESSAGE".
  template <typename... Args>
  [[noreturn]] void Fail(const Args&... message) const {
    const std::string path = Path();
    load::Fail(file_name(), path, path.empty() ? "" : ": ", message...);
  }
  std::string Path() const { return document_->PathOf(index_); }
  const std::string& file_name() const noexcept { return document_->file_name(); }

 private:
  friend class JsonDocument;
  using Type = JsonDocument::Type;
  JsonValue(const JsonDocument* document, std::uint32_t index) noexcept
      : document_(document), index_(index) {}
  const JsonDocument::Node& node() const noexcept { return document_->nodes_[index_]; }
  void Require(Type type, const char* what) const;

  const JsonDocument* document_;
  std::uint32_t index_;
};

struct JsonValue::Member {
  std::string_view key;
  JsonValue value;
};

}  // namespace ctx::tokenize::load
