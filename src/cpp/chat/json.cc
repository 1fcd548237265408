#include "chat/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/error.h"
#include "common/str_cat.h"
#include "simdjson.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::chat {
namespace {

// The longest run of digits that Python's int() takes.
constexpr std::size_t kMaxDigits = 4300;

bool IsDigit(char character) noexcept { return character >= '0' && character <= '9'; }

// The value of four hexadecimal digits, or nothing at all: -1.
int HexValue(const char* digits) noexcept {
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char digit = digits[i];
    const char lower = static_cast<char>(digit | 0x20);
    if (IsDigit(digit)) {
      value = value * 16 + (digit - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      value = value * 16 + (lower - 'a' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

// The first byte of a string that is not text as it stands: a quote, a backslash or a control
// character. Eight bytes at a time; the borrow that marks a byte wrongly only goes to later ones.
const char* FindSpecial(const char* at, const char* end) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHighs = 0x8080808080808080;
  const auto zeros = [](std::uint64_t word) { return (word - kOnes) & ~word & kHighs; };
  while (end - at >= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    const std::uint64_t found = zeros(word ^ (kOnes * '"')) | zeros(word ^ (kOnes * '\\')) |
                                ((word - kOnes * 0x20) & ~word & kHighs);
    if (found != 0) break;
    at += 8;
  }
  while (at != end && *at != '"' && *at != '\\' && static_cast<unsigned char>(*at) >= 0x20) ++at;
  return at;
}

char* WriteUtf8(std::uint32_t code_point, char* out) noexcept {
  const auto put = [&out](std::uint32_t byte) { *out++ = static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
  return out;
}

bool IsHighSurrogate(int unit) noexcept { return unit >= 0xD800 && unit < 0xDC00; }
bool IsLowSurrogate(int unit) noexcept { return unit >= 0xDC00 && unit < 0xE000; }

// Writes what a string with escapes says; never more bytes than it has. Returns the end.
char* Unescape(std::string_view text, char* out) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    const auto* const slash =
        static_cast<const char*>(std::memchr(at, '\\', static_cast<std::size_t>(end - at)));
    const char* const run_end = slash == nullptr ? end : slash;
    std::memcpy(out, at, static_cast<std::size_t>(run_end - at));
    out += run_end - at;
    if (slash == nullptr) break;
    at = slash + 2;
    switch (slash[1]) {
      case 'b':
        *out++ = '\b';
        break;
      case 'f':
        *out++ = '\f';
        break;
      case 'n':
        *out++ = '\n';
        break;
      case 'r':
        *out++ = '\r';
        break;
      case 't':
        *out++ = '\t';
        break;
      case 'u': {
        int unit = HexValue(at);
        at += 4;
        std::uint32_t code_point = static_cast<std::uint32_t>(unit);
        if (IsHighSurrogate(unit) && end - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
            IsLowSurrogate(HexValue(at + 2))) {
          const int low = HexValue(at + 2);
          code_point = 0x10000 + (static_cast<std::uint32_t>(unit - 0xD800) << 10) +
                       static_cast<std::uint32_t>(low - 0xDC00);
          at += 6;
        } else if (IsHighSurrogate(unit) || IsLowSurrogate(unit)) {
          code_point = 0xFFFD;
        }
        out = WriteUtf8(code_point, out);
        break;
      }
      default:
        *out++ = slash[1];
    }
  }
  return out;
}

std::string StringOf(const JsonNode& string) {
  if (!string.has_escapes) return std::string(string.text);
  std::string text(string.text.size(), '\0');
  text.resize(static_cast<std::size_t>(Unescape(string.text, text.data()) - text.data()));
  return text;
}

// Whether a number too large or too small for a double is too large.
bool IsHuge(std::string_view number) noexcept {
  // The decimal exponent of the first digit that is not 0, with the written one clipped.
  const std::size_t e = number.find_first_of("eE");
  std::int64_t exponent = 0;
  if (e != std::string_view::npos) {
    const bool negative = number[e + 1] == '-';
    for (const char digit : number.substr(e + 1)) {
      if (IsDigit(digit))
        exponent = std::min<std::int64_t>(exponent * 10 + (digit - '0'), 1'000'000'000'000);
    }
    if (negative) exponent = -exponent;
  }
  const std::string_view mantissa = number.substr(0, e);
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t digit = mantissa.find_first_of("123456789");
  return exponent + static_cast<std::int64_t>(point) - static_cast<std::int64_t>(digit) > 0;
}

// As repr(float(text)), and as json.dumps writes infinities.
void AppendFloat(std::string_view text, std::string& out) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) {
    out += text.front() == '-' ? "-" : "";
    out += IsHuge(text) ? "Infinity" : "0.0";
    return;
  }
  char digits[32];
  // The shortest digits that read back as the value: d[.ddd]e±dd.
  const char* const digits_end =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::scientific).ptr;
  const std::string_view written(digits, static_cast<std::size_t>(digits_end - digits));
  const std::size_t e = written.find('e');
  int exponent = 0;
  const std::size_t sign = written[e + 1] == '-' ? 1 : 0;
  std::from_chars(digits + e + 2, digits_end, exponent);
  if (sign != 0) exponent = -exponent;
  std::string mantissa;
  for (const char character : written.substr(0, e)) {
    if (IsDigit(character)) mantissa += character;
  }
  if (written.front() == '-') out += '-';
  if (exponent < -4 || exponent >= 16) {
    out += mantissa.front();
    if (mantissa.size() > 1) {
      out += '.';
      out.append(mantissa, 1);
    }
    out += exponent < 0 ? "e-" : "e+";
    const int magnitude = std::abs(exponent);
    if (magnitude < 10) out += '0';
    out += std::to_string(magnitude);
  } else if (exponent < 0) {
    out += "0.";
    out.append(static_cast<std::size_t>(-exponent - 1), '0');
    out += mantissa;
  } else {
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (mantissa.size() < whole) mantissa.append(whole - mantissa.size(), '0');
    out.append(mantissa, 0, whole);
    out += '.';
    out += mantissa.size() > whole ? mantissa.substr(whole) : "0";
  }
}

void AppendNumber(std::string_view text, std::string_view path, std::string& out) {
  if (text.find_first_of(".eE") != std::string_view::npos) {
    AppendFloat(text, out);
    return;
  }
  if (text.size() - (text.front() == '-' ? 1 : 0) > kMaxDigits) {
    throw ArgumentError(StrCat(path, ": holds an integer of more than ", kMaxDigits, " digits"));
  }
  out += text == "-0" ? "0" : text;
}

// Throws when an object has a name twice.
void RequireDistinctNames(const JsonNode& object, std::string_view path) {
  std::vector<std::string> names;
  for (const JsonNode* name = object.first(); name != object.end(); name = name->next()->next()) {
    names.push_back(StringOf(*name));
  }
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) {
    throw ArgumentError(StrCat(path, ": an object has the name '",
                               std::string_view(*twice).substr(0, 64), "' twice"));
  }
}

}  // namespace

void JsonReader::Fail(std::string_view what) const {
  throw ArgumentError(StrCat(path_, ": not valid JSON: ", what, " at byte ", offset()));
}

void JsonReader::Expect(char character) {
  if (!Accept(character)) Fail(StrCat("expected '", character, "'"));
}

void JsonReader::ExpectEnd() {
  SkipSpace();
  if (at_ != end_) Fail("more than one value");
}

void JsonReader::ReadValue(std::vector<JsonNode>& nodes, int depth) {
  if (depth >= kMaxDepth) Fail(StrCat("more than ", kMaxDepth, " levels"));
  SkipSpace();
  if (at_ == end_) Fail("expected a value");
  switch (*at_) {
    case '"':
      return ReadString(nodes);
    case '{':
      return ReadObject(nodes, depth);
    case '[':
      return ReadArray(nodes, depth);
    case 'n':
      return ReadWord(nodes, "null", JsonKind::kNull);
    case 't':
      return ReadWord(nodes, "true", JsonKind::kTrue);
    case 'f':
      return ReadWord(nodes, "false", JsonKind::kFalse);
    default:
      return ReadNumber(nodes);
  }
}

void JsonReader::ReadArray(std::vector<JsonNode>& nodes, int depth) {
  const std::size_t index = nodes.size();
  const char* const begin = at_++;
  nodes.push_back({{}, 1, JsonKind::kArray, false});
  if (!Accept(']')) {
    do {
      ReadValue(nodes, depth + 1);
    } while (Accept(','));
    if (!Accept(']')) Fail("expected ',' or ']'");
  }
  nodes[index].text = {begin, at_};
  nodes[index].num_nodes = static_cast<std::uint32_t>(nodes.size() - index);
}

void JsonReader::ReadObject(std::vector<JsonNode>& nodes, int depth) {
  const std::size_t index = nodes.size();
  const char* const begin = at_++;
  nodes.push_back({{}, 1, JsonKind::kObject, false});
  if (!Accept('}')) {
    do {
      ReadName(nodes);
      ReadValue(nodes, depth + 1);
    } while (Accept(','));
    if (!Accept('}')) Fail("expected ',' or '}'");
  }
  nodes[index].text = {begin, at_};
  nodes[index].num_nodes = static_cast<std::uint32_t>(nodes.size() - index);
}

void JsonReader::ReadName(std::vector<JsonNode>& nodes) {
  if (Peek() != '"') Fail("expected a name in quotes");
  ReadString(nodes);
  Expect(':');
}

void JsonReader::ReadString(std::vector<JsonNode>& nodes) {
  const char* const begin = ++at_;
  bool has_escapes = false;
  while (true) {
    at_ = FindSpecial(at_, end_);
    if (at_ == end_) Fail("a string without end");
    if (*at_ == '"') break;
    if (*at_ != '\\') Fail("a control character in a string");
    has_escapes = true;
    ReadEscape();
  }
  nodes.push_back({{begin, at_}, 1, JsonKind::kString, has_escapes});
  ++at_;
}

void JsonReader::ReadEscape() {
  ++at_;
  if (at_ == end_) Fail("a string without end");
  constexpr std::string_view kEscapes = "\"\\/bfnrt";
  if (*at_ == 'u') {
    if (end_ - at_ < 5 || HexValue(at_ + 1) < 0) Fail("an escape without four digits");
    at_ += 5;
  } else {
    if (kEscapes.find(*at_) == std::string_view::npos) Fail("an unknown escape");
    ++at_;
  }
}

void JsonReader::ReadNumber(std::vector<JsonNode>& nodes) {
  const char* const begin = at_;
  const auto digits = [this] {
    const char* const first = at_;
    while (at_ != end_ && IsDigit(*at_)) ++at_;
    return at_ != first;
  };
  if (*at_ == '-') ++at_;
  if (at_ != end_ && *at_ == '0') {
    ++at_;
  } else if (!digits()) {
    at_ = begin;
    Fail("expected a value");
  }
  if (at_ != end_ && *at_ == '.') {
    ++at_;
    if (!digits()) Fail("expected a digit");
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!digits()) Fail("expected a digit");
  }
  nodes.push_back({{begin, at_}, 1, JsonKind::kNumber, false});
}

void JsonReader::ReadWord(std::vector<JsonNode>& nodes, std::string_view word, JsonKind kind) {
  if (!std::string_view(at_, end_).starts_with(word)) Fail("expected a value");
  nodes.push_back({{at_, at_ + word.size()}, 1, kind, false});
  at_ += word.size();
}

void CheckJsonText(std::string_view text, std::size_t offset, std::string_view path) {
  if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw ArgumentError(StrCat(path, ": must be smaller than 4 GiB"));
  }
  if (simdjson::validate_utf8(text.data(), text.size())) return;
  throw ArgumentError(
      StrCat(path, ": not UTF-8 at byte ", offset + tokenize::ValidUtf8Prefix(text)));
}

std::string CanonicalObject(std::string_view text, std::string_view path) {
  JsonReader reader(text, 0, path);
  std::vector<JsonNode> nodes;
  reader.ReadValue(nodes);
  reader.ExpectEnd();
  if (nodes.front().kind != JsonKind::kObject) {
    throw ArgumentError(
        StrCat(path, ": must be a JSON object, not ", PythonTypeName(nodes.front())));
  }
  std::string json;
  AppendToJson(nodes.front(), path, json);
  return json;
}

std::string_view PythonTypeName(const JsonNode& value) noexcept {
  switch (value.kind) {
    case JsonKind::kNull:
      return "NoneType";
    case JsonKind::kFalse:
    case JsonKind::kTrue:
      return "bool";
    case JsonKind::kNumber:
      return value.text.find_first_of(".eE") == std::string_view::npos ? "int" : "float";
    case JsonKind::kString:
      return "str";
    case JsonKind::kArray:
      return "list";
    default:
      return "dict";
  }
}

void AppendJsonString(std::string_view text, std::string& out) {
  out += '"';
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    const char* const special = FindSpecial(at, end);
    out.append(at, static_cast<std::size_t>(special - at));
    if (special == end) break;
    switch (*special) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default: {
        constexpr char kHex[] = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(*special);
        out += "\\u00";
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
      }
    }
    at = special + 1;
  }
  out += '"';
}

std::string_view JsonString(const JsonNode& string, TextArena& arena) {
  if (!string.has_escapes) return string.text;
  char* const text = arena.Allocate(string.text.size());
  const auto size = static_cast<std::size_t>(Unescape(string.text, text) - text);
  arena.Shrink(string.text.size() - size);
  return {text, size};
}

void AppendToJson(const JsonNode& value, std::string_view path, std::string& out) {
  switch (value.kind) {
    case JsonKind::kNumber:
      AppendNumber(value.text, path, out);
      break;
    case JsonKind::kString:
      AppendJsonString(value.has_escapes ? std::string_view(StringOf(value)) : value.text, out);
      break;
    case JsonKind::kArray: {
      out += '[';
      for (const JsonNode* item = value.first(); item != value.end(); item = item->next()) {
        if (item != value.first()) out += ", ";
        AppendToJson(*item, path, out);
      }
      out += ']';
      break;
    }
    case JsonKind::kObject: {
      RequireDistinctNames(value, path);
      out += '{';
      for (const JsonNode* name = value.first(); name != value.end();) {
        if (name != value.first()) out += ", ";
        AppendToJson(*name, path, out);
        out += ": ";
        AppendToJson(*name->next(), path, out);
        name = name->next()->next();
      }
      out += '}';
      break;
    }
    default:
      out += value.text;
  }
}

}  // namespace ctx::chat
