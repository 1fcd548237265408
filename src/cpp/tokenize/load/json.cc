// simdjson checks the syntax and converts strings and numbers; its tree is copied into nodes that
// stand in the order of the file, so that the path of a value can be found from its index alone
// when an error needs it.
#include "tokenize/load/json.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "simdjson.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize::load {
namespace {

namespace ondemand = simdjson::ondemand;

/// Visits every value below; stops at the first error.
simdjson::error_code Visit(ondemand::value value, std::size_t depth) {
  if (depth > kMaxJsonDepth) return simdjson::DEPTH_ERROR;
  ondemand::json_type type;
  if (const auto error = value.type().get(type)) return error;
  switch (type) {
    case ondemand::json_type::array: {
      ondemand::array array;
      if (const auto error = value.get_array().get(array)) return error;
      for (auto item : array) {
        ondemand::value inner;
        if (const auto error = item.get(inner)) return error;
        if (const auto error = Visit(inner, depth + 1)) return error;
      }
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::object: {
      ondemand::object object;
      if (const auto error = value.get_object().get(object)) return error;
      for (auto field : object) {
        std::string_view key;
        if (const auto error = field.unescaped_key().get(key)) return error;
        ondemand::value inner;
        if (const auto error = field.value().get(inner)) return error;
        if (const auto error = Visit(inner, depth + 1)) return error;
      }
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::string:
      return value.get_string().error();
    case ondemand::json_type::number:
      return value.get_number().error();
    case ondemand::json_type::boolean:
      return value.get_bool().error();
    case ondemand::json_type::null:
      return value.is_null().error();
  }
  return simdjson::TAPE_ERROR;
}

/// Where a string goes wrong: the first control character inside one, or else the last quotation
/// mark that opens one.
std::size_t BadString(std::string_view bytes) {
  bool inside = false;
  std::size_t opened = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '"') {
      inside = !inside;
      opened = i;
    } else if (inside && bytes[i] == '\\') {
      ++i;
    } else if (inside && static_cast<unsigned char>(bytes[i]) < 0x20) {
      return i;
    }
  }
  return opened;
}

/// Where the parser gave up. Only run on files that are refused.
std::size_t ErrorOffset(std::string_view bytes, const simdjson::padded_string& padded,
                        simdjson::error_code error) {
  if (error == simdjson::UTF8_ERROR) return ValidUtf8Prefix(bytes);
  if (error == simdjson::UNCLOSED_STRING || error == simdjson::UNESCAPED_CHARS) {
    return BadString(bytes);
  }
  ondemand::parser parser;
  ondemand::document document;
  if (parser.allocate(bytes.size()) != simdjson::SUCCESS ||
      parser.iterate(padded).get(document) != simdjson::SUCCESS) {
    return 0;
  }
  ondemand::value root;
  if (document.get_value().get(root) == simdjson::SUCCESS) static_cast<void>(Visit(root, 1));
  const char* location = nullptr;
  if (document.current_location().get(location) != simdjson::SUCCESS) return bytes.size();
  return std::min(static_cast<std::size_t>(location - padded.data()), bytes.size());
}

/// Writes integers of 19 digits and more as reals of the same length, their last two digits as
/// "e2". simdjson knows no integers above 64 bits, but transformers writes 10^30 for "no limit".
void RewriteBigIntegers(simdjson::padded_string& padded) {
  const std::string_view number_bytes = "+-.0123456789Ee";
  char* const text = padded.data();
  const std::string_view view(padded);
  for (std::size_t i = 0; i < view.size(); ++i) {
    if (text[i] == '"') {
      for (++i; i < view.size() && text[i] != '"'; ++i) i += text[i] == '\\';
    } else if (number_bytes.find(text[i]) != number_bytes.npos) {
      const std::size_t end = std::min(view.find_first_not_of(number_bytes, i), view.size());
      const std::string_view number = view.substr(i, end - i);
      const std::string_view digits = number.substr(number.starts_with('-') ? 1 : 0);
      if (digits.size() >= 19 && digits.find_first_not_of("0123456789") == digits.npos) {
        text[end - 2] = 'e';
        text[end - 1] = '2';
      }
      i = end - 1;
    }
  }
}

[[noreturn]] void FailSyntax(const std::string& file_name, std::string_view bytes,
                             const simdjson::padded_string& padded, simdjson::error_code error) {
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  if (error == simdjson::CAPACITY) Fail(file_name, "JSON files must be smaller than 4 GiB");
  const std::size_t line = LineOf(bytes, ErrorOffset(bytes, padded, error));
  if (error == simdjson::DEPTH_ERROR) {
    FailAtLine(file_name, line, "JSON nested deeper than ", kMaxJsonDepth, " levels");
  }
  FailAtLine(file_name, line, "no valid JSON: ", simdjson::error_message(error));
}

}  // namespace

struct JsonDocument::Parsed {
  simdjson::dom::parser parser;

  std::vector<Node> nodes;

  // Depth is bounded by the parser.
  void Add(simdjson::dom::element element) {
    using ElementType = simdjson::dom::element_type;
    const std::size_t index = nodes.size();
    nodes.emplace_back();
    switch (element.type()) {
      case ElementType::ARRAY: {
        nodes[index].type = Type::kArray;
        for (const simdjson::dom::element item : simdjson::dom::array(element)) Add(item);
        break;
      }
      case ElementType::OBJECT: {
        nodes[index].type = Type::kObject;
        for (const auto [key, value] : simdjson::dom::object(element)) {
          nodes.push_back({.type = Type::kString,
                           .end = static_cast<std::uint32_t>(nodes.size() + 1),
                           .string = key});
          Add(value);
        }
        break;
      }
      case ElementType::STRING:
        nodes[index].type = Type::kString;
        nodes[index].string = std::string_view(element);
        break;
      case ElementType::INT64:
        nodes[index].type = Type::kInteger;
        nodes[index].integer = std::int64_t(element);
        nodes[index].number = static_cast<double>(nodes[index].integer);
        break;
      case ElementType::UINT64:  // above 2^63: out of range for whoever wants an integer
        nodes[index].type = Type::kInteger;
        nodes[index].integer = std::numeric_limits<std::int64_t>::max();
        nodes[index].number = static_cast<double>(std::uint64_t(element));
        break;
      case ElementType::DOUBLE:
        nodes[index].type = Type::kNumber;
        nodes[index].number = double(element);
        break;
      case ElementType::BOOL:
        nodes[index].type = Type::kBoolean;
        nodes[index].boolean = bool(element);
        break;
      case ElementType::NULL_VALUE:
        nodes[index].type = Type::kNull;
        break;
    }
    nodes[index].end = static_cast<std::uint32_t>(nodes.size());
  }
};

JsonDocument::JsonDocument(std::string_view bytes, std::string file_name)
    : file_name_(std::move(file_name)), parsed_(std::make_unique<Parsed>()) {
  if (bytes.starts_with("\xEF\xBB\xBF")) {
    FailAtLine(file_name_, 1, "begins with a byte order mark");
  }
  simdjson::padded_string padded(bytes);
  if (padded.size() != bytes.size()) throw std::bad_alloc();  // it cannot throw by itself
  if (bytes.size() >= simdjson::SIMDJSON_MAXSIZE_BYTES) {
    FailSyntax(file_name_, bytes, padded, simdjson::CAPACITY);
  }
  simdjson::dom::element root;
  auto error = parsed_->parser.allocate(bytes.size(), kMaxJsonDepth);
  if (!error) error = parsed_->parser.parse(padded.data(), padded.size(), false).get(root);
  if (error == simdjson::BIGINT_ERROR) {
    RewriteBigIntegers(padded);
    error = parsed_->parser.parse(padded.data(), padded.size(), false).get(root);
  }
  if (error) FailSyntax(file_name_, bytes, padded, error);
  parsed_->Add(root);
  nodes_.swap(parsed_->nodes);
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].type == Type::kObject) CheckKeys(i);
  }
}

JsonDocument::~JsonDocument() = default;

JsonValue JsonDocument::root() const noexcept { return {this, 0}; }

void JsonDocument::CheckKeys(std::uint32_t object) const {
  std::vector<std::pair<std::string_view, std::uint32_t>> keys;
  for (std::uint32_t i = object + 1; i < nodes_[object].end; i = nodes_[i + 1].end) {
    keys.emplace_back(nodes_[i].string, i + 1);
  }
  std::sort(keys.begin(), keys.end());
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  const auto twice = std::adjacent_find(keys.begin(), keys.end(), same);
  if (twice != keys.end()) JsonValue(this, (twice + 1)->second).Fail("this key is there twice");
}

std::string JsonDocument::PathOf(std::uint32_t index) const {
  std::string path;
  std::uint32_t at = 0;
  while (at != index) {
    const bool is_object = nodes_[at].type == Type::kObject;
    std::size_t number = 0;
    std::uint32_t child = at + 1;  // of a member: its key
    while (nodes_[is_object ? child + 1 : child].end <= index) {
      child = nodes_[is_object ? child + 1 : child].end;
      ++number;
    }
    if (is_object) {
      if (!path.empty()) path += '.';
      path += Shown(nodes_[child].string);
      at = child + 1;
    } else {
      path += StrCat('[', number, ']');
      at = child;
    }
  }
  return path;
}

void JsonValue::Require(Type type, const char* what) const {
  if (node().type != type) Fail("must be ", what);
}

bool JsonValue::Boolean() const {
  Require(Type::kBoolean, "true or false");
  return node().boolean;
}

std::string_view JsonValue::String() const {
  Require(Type::kString, "a string");
  return node().string;
}

double JsonValue::Number() const {
  if (node().type != Type::kInteger) Require(Type::kNumber, "a number");
  return node().number;
}

std::uint32_t JsonValue::Id() const {
  Require(Type::kInteger, "an integer");
  if (node().integer < 0 || node().integer > std::numeric_limits<std::int32_t>::max()) {
    Fail("must be at least 0 and below 2^31");
  }
  return static_cast<std::uint32_t>(node().integer);
}

std::vector<JsonValue> JsonValue::Items() const {
  Require(Type::kArray, "an array");
  std::vector<JsonValue> items;
  for (std::uint32_t i = index_ + 1; i < node().end; i = document_->nodes_[i].end) {
    items.push_back({document_, i});
  }
  return items;
}

std::vector<JsonValue::Member> JsonValue::Members() const {
  Require(Type::kObject, "an object");
  std::vector<Member> members;
  for (std::uint32_t i = index_ + 1; i < node().end; i = document_->nodes_[i + 1].end) {
    members.push_back({document_->nodes_[i].string, {document_, i + 1}});
  }
  return members;
}

std::optional<JsonValue> JsonValue::Find(std::string_view key) const {
  Require(Type::kObject, "an object");
  for (std::uint32_t i = index_ + 1; i < node().end; i = document_->nodes_[i + 1].end) {
    if (document_->nodes_[i].string == key) return JsonValue(document_, i + 1);
  }
  return std::nullopt;
}

std::optional<JsonValue> JsonValue::FindValue(std::string_view key) const {
  const std::optional<JsonValue> value = Find(key);
  return value && !value->IsNull() ? value : std::nullopt;
}

JsonValue JsonValue::At(std::string_view key) const {
  const std::optional<JsonValue> value = Find(key);
  if (!value) Fail("has no ", Quoted(key));
  return *value;
}

bool JsonValue::BooleanOr(std::string_view key, bool otherwise) const {
  const std::optional<JsonValue> value = FindValue(key);
  return value ? value->Boolean() : otherwise;
}

std::string_view JsonValue::StringOr(std::string_view key, std::string_view otherwise) const {
  const std::optional<JsonValue> value = FindValue(key);
  return value ? value->String() : otherwise;
}

void JsonValue::RequireKnownKeys(std::initializer_list<std::string_view> known) const {
  for (const Member& member : Members()) {
    if (std::find(known.begin(), known.end(), member.key) == known.end()) {
      member.value.Fail("is not supported");
    }
  }
}

}  // namespace ctx::tokenize::load
