// JSON text as a list of nodes: strict (RFC 8259), in one pass that can begin amid a text, and with
// the place of every error. What simdjson cannot do is what bodies need: go on where the bytes of
// an earlier body end, integers of any size, lone surrogates, and errors with their place.
//
// Values hold views into the text. Nothing here is superlinear or recurses deeper than kMaxDepth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/text_arena.h"

namespace ctx::chat {

enum class JsonKind : std::uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

struct JsonNode {
  std::string_view text;        ///< of a string what its quotes hold, of others the whole value
  std::uint32_t num_nodes = 1;  ///< its own and those of all it holds
  JsonKind kind = JsonKind::kNull;
  bool has_escapes = false;

  /// Within one list of nodes: what an array holds stands behind it, and of an object each name
  /// with its value behind it.
  const JsonNode* first() const noexcept { return this + 1; }
  const JsonNode* next() const noexcept { return this + num_nodes; }
  const JsonNode* end() const noexcept { return this + num_nodes; }
};

/// Reads values one after another. `text` is valid UTF-8 and outlives the nodes.
class JsonReader {
 public:
  static constexpr int kMaxDepth = 512;

  /// Errors begin with `path`, and tell places as if `offset` bytes came before the text.
  JsonReader(std::string_view text, std::size_t offset, std::string_view path) noexcept
      : begin_(text.data()),
        at_(text.data()),
        end_(text.data() + text.size()),
        offset_(offset),
        path_(path) {}

  /// Appends the next value's nodes. Throws ArgumentError for what is no JSON.
  void ReadValue(std::vector<JsonNode>& nodes) { ReadValue(nodes, 0); }

  /// Appends the node of an object's next name. Throws as ReadValue.
  void ReadName(std::vector<JsonNode>& nodes);

  /// Whether this is the next character behind white space; takes it if so.
  bool Accept(char character) noexcept {
    SkipSpace();
    if (at_ == end_ || *at_ != character) return false;
    ++at_;
    return true;
  }
  void Expect(char character);
  void ExpectEnd();
  /// The next character behind white space; NUL at the end.
  char Peek() noexcept {
    SkipSpace();
    return at_ == end_ ? '\0' : *at_;
  }
  /// How many bytes have been read, `offset` included.
  std::size_t offset() const noexcept { return offset_ + static_cast<std::size_t>(at_ - begin_); }

 private:
  void ReadValue(std::vector<JsonNode>& nodes, int depth);
  void ReadArray(std::vector<JsonNode>& nodes, int depth);
  void ReadObject(std::vector<JsonNode>& nodes, int depth);
  void ReadString(std::vector<JsonNode>& nodes);
  void ReadNumber(std::vector<JsonNode>& nodes);
  void ReadWord(std::vector<JsonNode>& nodes, std::string_view word, JsonKind kind);
  void ReadEscape();
  [[noreturn]] void Fail(std::string_view what) const;

  void SkipSpace() noexcept {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  const char* begin_;
  const char* at_;
  const char* end_;
  std::size_t offset_;
  std::string_view path_;
};

/// Throws ArgumentError, with the place, for what is not UTF-8 or too long to be read.
void CheckJsonText(std::string_view text, std::size_t offset, std::string_view path);

/// JSON text of an object, which is valid UTF-8, as AppendToJson writes it. Throws ArgumentError.
std::string CanonicalObject(std::string_view text, std::string_view path);

/// The word for a value in Python: "dict", "str", "NoneType", ...
std::string_view PythonTypeName(const JsonNode& value) noexcept;

/// Writes a text as json.dumps(text, ensure_ascii=False) does. O(text).
void AppendJsonString(std::string_view text, std::string& out);

/// What a string says, as UTF-8: in the text itself where it has no escapes, else in the arena.
/// Halves of surrogate pairs that stand alone become U+FFFD.
std::string_view JsonString(const JsonNode& string, TextArena& arena);

/// Appends the value as the chat templates' tojson writes it, which is
/// json.dumps(json.loads(text), ensure_ascii=False). Throws ArgumentError that begins with `path`
/// for an object with the same name twice, of which Python would take the last, and for integers
/// that Python does not read.
void AppendToJson(const JsonNode& value, std::string_view path, std::string& out);

}  // namespace ctx::chat
