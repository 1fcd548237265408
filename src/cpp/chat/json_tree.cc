#include "chat/json_tree.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "chat/json.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;
using Kind = JsonTree::Kind;

class Parser {
 public:
  Parser(string_view utf8, std::size_t max_depth, string_view path)
      : rest_(utf8), size_(utf8.size()), max_depth_(max_depth), path_(path) {}

  JsonTree Document() {
    JsonTree value = Value(0);
    SkipSpace();
    if (!rest_.empty()) Fail("something follows the value");
    return value;
  }

 private:
  [[noreturn]] void Fail(string_view why) const {
    throw ArgumentError(
        StrCat(path_, ": not valid JSON at byte ", size_ - rest_.size(), ": ", why));
  }

  void SkipSpace() noexcept {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r"), rest_.size()));
  }

  bool Take(char c) noexcept {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void Expect(char c) {
    SkipSpace();
    if (!Take(c)) Fail(StrCat("expected '", c, "'"));
  }

  void Word(string_view word) {
    if (!rest_.starts_with(word)) Fail("expected a value");
    rest_.remove_prefix(word.size());
  }

  JsonTree Value(std::size_t depth) {
    SkipSpace();
    JsonTree node;
    switch (rest_.empty() ? '\0' : rest_.front()) {
      case '{':
        node.kind = Kind::kObject;
        Members(depth + 1, node);
        break;
      case '[':
        node.kind = Kind::kArray;
        Items(depth + 1, node);
        break;
      case '"':
        node.kind = Kind::kString;
        node.text = String();
        break;
      case 't':
        Word("true");
        node.kind = Kind::kBoolean;
        node.boolean = true;
        break;
      case 'f':
        Word("false");
        node.kind = Kind::kBoolean;
        break;
      case 'n':
        Word("null");
        break;
      default:
        node.kind = Kind::kNumber;
        node.text = Number();
    }
    return node;
  }

  void CheckDepth(std::size_t depth) const {
    if (depth > max_depth_) {
      throw ArgumentError(StrCat(path_, ": nested deeper than ", max_depth_, " levels"));
    }
  }

  void Items(std::size_t depth, JsonTree& node) {
    CheckDepth(depth);
    Expect('[');
    SkipSpace();
    if (Take(']')) return;
    do {
      node.items.push_back(Value(depth));
      SkipSpace();
    } while (Take(','));
    Expect(']');
  }

  void Members(std::size_t depth, JsonTree& node) {
    CheckDepth(depth);
    Expect('{');
    SkipSpace();
    if (Take('}')) return;
    do {
      SkipSpace();
      std::string key = String();
      Expect(':');
      node.members.emplace_back(std::move(key), Value(depth));
      SkipSpace();
    } while (Take(','));
    Expect('}');
  }

  std::string Number() {
    const string_view from = rest_;
    Take('-');
    if (!Take('0') && !Digits()) Fail("expected a value");
    if (Take('.') && !Digits()) Fail("expected a digit");
    if (Take('e') || Take('E')) {
      if (!Take('+')) Take('-');
      if (!Digits()) Fail("expected a digit");
    }
    return std::string(from.substr(0, from.size() - rest_.size()));
  }

  bool Digits() noexcept {
    const std::size_t count = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    rest_.remove_prefix(count);
    return count > 0;
  }

  std::string String() {
    if (!Take('"')) Fail("expected a string");
    std::string text;
    for (;;) {
      std::size_t plain = 0;
      while (plain < rest_.size() && rest_[plain] != '"' && rest_[plain] != '\\' &&
             static_cast<unsigned char>(rest_[plain]) >= 0x20) {
        ++plain;
      }
      text.append(rest_.substr(0, plain));
      rest_.remove_prefix(plain);
      if (Take('"')) return text;
      if (!Take('\\') || rest_.empty()) Fail("a string is not closed");
      const char c = rest_.front();
      rest_.remove_prefix(1);
      constexpr string_view kFrom = "\"\\/bfnrt";
      constexpr string_view kTo = "\"\\/\b\f\n\r\t";
      if (const std::size_t at = kFrom.find(c); at != string_view::npos) {
        text += kTo[at];
      } else if (c == 'u') {
        AppendUtf8(CodePoint(), text);
      } else {
        Fail("unknown escape");
      }
    }
  }

  std::uint32_t CodePoint() {
    const std::uint32_t first = FourHexDigits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first < 0xDC00 && Take('\\') && Take('u')) {
      const std::uint32_t second = FourHexDigits();
      if (second >= 0xDC00 && second <= 0xDFFF) {
        return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
      }
    }
    Fail("half a surrogate pair");
  }

  std::uint32_t FourHexDigits() {
    std::uint32_t value = 0;
    if (rest_.size() < 4) Fail("expected four hexadecimal digits");
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, value, 16);
    if (error != std::errc() || end != rest_.data() + 4) Fail("expected four hexadecimal digits");
    rest_.remove_prefix(4);
    return value;
  }

  static void AppendUtf8(std::uint32_t code_point, std::string& out) {
    const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
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
  }

  string_view rest_;
  const std::size_t size_;
  const std::size_t max_depth_;
  const string_view path_;
};

// 10^n as the nearest double.
double PowerOfTen(int n) {
  const std::string text = "1e" + std::to_string(n);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// A decimal number as serde_json reads it without its feature float_roundtrip: 64 bits of digits,
// then one multiplication or division by a power of ten (two divisions below 1e-308), each rounded.
double ReadLikeSerde(string_view text, string_view path) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t digits = 0;
  std::int64_t exponent = 0;
  bool in_fraction = false;
  bool is_full = false;  // no room for further digits, which only move the point
  std::size_t i = 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    if (text[i] == '.') {
      in_fraction = true;
      continue;
    }
    const auto digit = static_cast<std::uint64_t>(text[i] - '0');
    is_full = is_full || digits > (kMax - digit) / 10;
    if (!is_full) {
      digits = digits * 10 + digit;
      if (in_fraction) --exponent;
    } else if (!in_fraction) {
      ++exponent;
    }
  }
  if (i < text.size()) {
    string_view written = text.substr(i + 1);
    const bool down = written.starts_with('-');
    if (down || written.starts_with('+')) written.remove_prefix(1);
    std::int64_t value = 0;
    const auto [end, error] =
        std::from_chars(written.data(), written.data() + written.size(), value);
    constexpr std::int64_t kHuge = std::int64_t{1} << 40;
    if (error != std::errc() || value > kHuge) value = kHuge;
    exponent += down ? -value : value;
  }
  auto value = static_cast<double>(digits);
  while (exponent < -308 && value != 0) {
    value /= 1e308;
    exponent += 308;
  }
  if (value != 0 && exponent != 0) {
    if (exponent > 308) value = std::numeric_limits<double>::infinity();
    if (exponent > 0 && std::isfinite(value)) value *= PowerOfTen(static_cast<int>(exponent));
    if (exponent < 0) value /= PowerOfTen(static_cast<int>(-exponent));
  }
  if (!std::isfinite(value)) {
    throw ArgumentError(StrCat(path, ": the number ", text, " is out of range"));
  }
  return negative ? -value : value;
}

// The shortest digits that read back as `value`: in full from 1e-5 up to 1e16, else with an
// exponent without plus sign and leading zeros.
void WriteDouble(double value, std::string& out) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific)
                       .ptr;
  string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  if (text.starts_with('-')) {
    out += '-';
    text.remove_prefix(1);
  }
  const std::size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const bool down = text[e + 1] == '-';
  std::from_chars(text.data() + e + 2, end, exponent);
  const int point = (down ? -exponent : exponent) + 1;  // digits before the point
  const auto count = static_cast<int>(digits.size());
  if (value == 0) {
    out += "0.0";
  } else if (count <= point && point <= 16) {
    out.append(digits).append(static_cast<std::size_t>(point - count), '0').append(".0");
  } else if (0 < point && point <= 16) {
    out.append(digits, 0, static_cast<std::size_t>(point)).append(".");
    out.append(digits, static_cast<std::size_t>(point));
  } else if (-5 < point && point <= 0) {
    out.append("0.").append(static_cast<std::size_t>(-point), '0').append(digits);
  } else {
    out += digits[0];
    if (count > 1) out.append(".").append(digits, 1);
    out.append("e").append(std::to_string(point - 1));
  }
}

void WriteNumber(string_view text, string_view path, std::string& out) {
  const bool is_integer = text.find_first_of(".eE") == string_view::npos;
  const bool negative = text.starts_with('-');
  std::uint64_t unsigned_value = 0;
  std::int64_t signed_value = 0;
  const char* const end = text.data() + text.size();
  if (is_integer && text != "-0" &&
      (negative ? std::from_chars(text.data(), end, signed_value).ec == std::errc()
                : std::from_chars(text.data(), end, unsigned_value).ec == std::errc())) {
    out += text;
  } else {
    WriteDouble(ReadLikeSerde(text, path), out);
  }
}

}  // namespace

const JsonTree* JsonTree::Find(string_view key) const noexcept {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

const std::string* JsonTree::FindString(string_view key) const noexcept {
  const JsonTree* const value = Find(key);
  return value != nullptr && value->is(Kind::kString) ? &value->text : nullptr;
}

JsonTree ParseJson(string_view utf8, std::size_t max_depth, string_view path) {
  return Parser(utf8, max_depth, path).Document();
}

void WriteLikeSerde(const JsonTree& value, string_view path, std::string& out) {
  switch (value.kind) {
    case Kind::kNull:
      out += "null";
      return;
    case Kind::kBoolean:
      out += value.boolean ? "true" : "false";
      return;
    case Kind::kNumber:
      WriteNumber(value.text, path, out);
      return;
    case Kind::kString:
      AppendJsonString(value.text, out);
      return;
    case Kind::kArray:
      out += '[';
      for (const JsonTree& item : value.items) {
        if (&item != &value.items.front()) out += ',';
        WriteLikeSerde(item, path, out);
      }
      out += ']';
      return;
    case Kind::kObject:
      out += '{';
      for (const auto& member : value.members) {
        if (&member != &value.members.front()) out += ',';
        AppendJsonString(member.first, out);
        out += ':';
        WriteLikeSerde(member.second, path, out);
      }
      out += '}';
      return;
  }
}

}  // namespace ctx::chat
