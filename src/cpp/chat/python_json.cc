#include "chat/python_json.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "chat/filters.h"
#include "common/error.h"

namespace ctx::chat {
namespace {

using std::string_view;

constexpr int kMaxDepth = 512;
constexpr std::size_t kMaxDigits = 4300;  // sys.get_int_max_str_digits()

struct NotJson {};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

void AppendUtf8(std::uint32_t code_point, std::string& out) {
  const auto tail = [&](int shift) {
    out += static_cast<char>(0x80 | ((code_point >> shift) & 0x3f));
  };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xc0 | (code_point >> 6));
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xe0 | (code_point >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xf0 | (code_point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

// float.__repr__: the shortest digits, in positional form from 1e-4 up to 1e16.
std::string FloatRepr(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  std::array<char, 32> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::scientific);
  const string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t at_e = text.find('e');
  int exponent = 0;
  const bool negative_exponent = text[at_e + 1] == '-';
  std::from_chars(text.data() + at_e + 2, text.data() + text.size(), exponent);
  if (negative_exponent) exponent = -exponent;
  if (exponent < -4 || exponent >= 16) return std::string(text);  // as Python: two digits at least
  std::string digits;
  for (const char c : text.substr(0, at_e)) {
    if (IsDigit(c)) digits += c;
  }
  std::string out = text.front() == '-' ? "-" : "";
  if (exponent < 0) {
    out += "0.";
    out.append(static_cast<std::size_t>(-exponent - 1), '0');
    return out + digits;
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    digits.append(whole - digits.size(), '0');
    return out + digits + ".0";
  }
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

class Rewriter {
 public:
  explicit Rewriter(string_view text) : text_(text) {}

  std::string Whole() {
    SkipBlank();
    std::string out = Value(0);
    SkipBlank();
    if (at_ != text_.size()) throw NotJson();
    if (has_lone_surrogate_) throw ArgumentError("JSON with half a surrogate pair in a string");
    return out;
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool Take(string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  void SkipBlank() {
    while (at_ < text_.size() && string_view(" \t\n\r").find(text_[at_]) != string_view::npos) {
      ++at_;
    }
  }

  std::string Value(int depth) {
    if (depth > kMaxDepth) throw ArgumentError("JSON that is nested more than 512 deep");
    switch (Peek()) {
      case '"':
        return JsonString(String());
      case '{':
        return Object(depth);
      case '[':
        return List(depth);
      default:
        break;
    }
    for (const string_view word : {"null", "true", "false", "NaN", "Infinity", "-Infinity"}) {
      if (Take(word)) return std::string(word);
    }
    return Number();
  }

  std::string List(int depth) {
    std::string out = "[";
    ++at_;
    SkipBlank();
    if (Take("]")) return "[]";
    while (true) {
      out += Value(depth + 1);
      SkipBlank();
      if (Take("]")) return out + "]";
      if (!Take(",")) throw NotJson();
      SkipBlank();
      out += ", ";
    }
  }

  // Of a key that comes twice the last value stands in the first one's place.
  std::string Object(int depth) {
    std::vector<std::pair<std::string, std::string>> members;
    std::unordered_map<std::string, std::size_t> places;
    ++at_;
    SkipBlank();
    if (Take("}")) return "{}";
    while (true) {
      if (Peek() != '"') throw NotJson();
      std::string key = JsonString(String());
      SkipBlank();
      if (!Take(":")) throw NotJson();
      SkipBlank();
      std::string value = Value(depth + 1);
      const auto [place, is_new] = places.try_emplace(key, members.size());
      if (is_new) {
        members.emplace_back(std::move(key), std::move(value));
      } else {
        members[place->second].second = std::move(value);
      }
      SkipBlank();
      if (Take("}")) break;
      if (!Take(",")) throw NotJson();
      SkipBlank();
    }
    std::string out = "{";
    for (const auto& [key, value] : members) {
      if (out.size() > 1) out += ", ";
      out += key;
      out += ": ";
      out += value;
    }
    return out + "}";
  }

  std::uint32_t Hex4() {
    std::uint32_t value = 0;
    if (text_.size() - at_ < 4) throw NotJson();
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      const char lower = static_cast<char>(c | 0x20);
      std::uint32_t digit = 0;
      if (IsDigit(c)) {
        digit = static_cast<std::uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        digit = static_cast<std::uint32_t>(lower - 'a' + 10);
      } else {
        throw NotJson();
      }
      value = value * 16 + digit;
    }
    return value;
  }

  std::uint32_t EscapedCodePoint() {
    const std::uint32_t first = Hex4();
    if (first < 0xd800 || first > 0xdfff) return first;
    if (first < 0xdc00 && Take("\\u")) {
      const std::uint32_t second = Hex4();
      if (second >= 0xdc00 && second <= 0xdfff) {
        return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
      }
    }
    has_lone_surrogate_ = true;
    return 0xfffd;
  }

  std::string String() {
    std::string out;
    ++at_;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) throw NotJson();
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escape = Peek();
      ++at_;
      constexpr string_view kEscapes = "\"\\/bfnrt";
      constexpr string_view kMeanings = "\"\\/\b\f\n\r\t";
      if (escape == 'u') {
        AppendUtf8(EscapedCodePoint(), out);
      } else if (const std::size_t k = kEscapes.find(escape);
                 escape != '\0' && k != string_view::npos) {
        out += kMeanings[k];
      } else {
        throw NotJson();
      }
    }
    throw NotJson();
  }

  void Digits() {
    if (!IsDigit(Peek())) throw NotJson();
    while (IsDigit(Peek())) ++at_;
  }

  std::string Number() {
    const std::size_t begin = at_;
    Take("-");
    const std::size_t first_digit = at_;
    if (!Take("0")) Digits();
    const std::size_t num_digits = at_ - first_digit;
    bool is_float = false;
    if (Peek() == '.' && at_ + 1 < text_.size() && IsDigit(text_[at_ + 1])) {
      is_float = true;
      ++at_;
      Digits();
    }
    if (Peek() == 'e' || Peek() == 'E') {
      const std::size_t sign =
          at_ + 1 < text_.size() && (text_[at_ + 1] == '+' || text_[at_ + 1] == '-');
      if (at_ + 1 + sign < text_.size() && IsDigit(text_[at_ + 1 + sign])) {
        is_float = true;
        at_ += 1 + sign;
        Digits();
      }
    }
    const string_view number = text_.substr(begin, at_ - begin);
    if (!is_float) {
      if (num_digits > kMaxDigits) {
        throw ArgumentError("JSON with an integer of more than 4,300 digits");
      }
      return number == "-0" ? "0" : std::string(number);
    }
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    // Python's float(): infinity above a double's range, zero below.
    if (error == std::errc::result_out_of_range) {
      value = std::strtod(std::string(number).c_str(), nullptr);
    }
    return FloatRepr(value);
  }

  string_view text_;
  std::size_t at_ = 0;
  bool has_lone_surrogate_ = false;
};

}  // namespace

std::optional<std::string> RewriteJson(string_view text) {
  try {
    return Rewriter(text).Whole();
  } catch (const NotJson&) {
    return std::nullopt;
  }
}

}  // namespace ctx::chat
