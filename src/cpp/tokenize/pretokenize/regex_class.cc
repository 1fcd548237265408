#include "tokenize/pretokenize/regex_class.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/regex_syntax.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

constexpr char32_t kFirstSurrogate = 0xD800;
constexpr char32_t kLastSurrogate = 0xDFFF;
constexpr char32_t kLastCodePoint = 0x10FFFF;
constexpr int kMaxDepth = 50;

CodePointSet PropertySet(std::string_view name) {
  CodePointSet set;
  CodePointSet::Named(name, set);
  return set;
}

CodePointSet Intersection(const CodePointSet& a, const CodePointSet& b) {
  CodePointSet outside = a.Complement();
  outside.Add(b.Complement());
  return outside.Complement();
}

bool IsAsciiAlphanumeric(char32_t c) noexcept {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

bool IsAsciiPunctuation(char32_t c) noexcept {
  return c > ' ' && c < 0x7F && !IsAsciiAlphanumeric(c);
}

void WriteCodePoint(char32_t c, std::string& out) {
  if (IsAsciiAlphanumeric(c)) {
    out += static_cast<char>(c);
    return;
  }
  constexpr char kDigits[] = "0123456789abcdef";
  out += "\\x{";
  int shift = 20;
  while (shift > 0 && c >> shift == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) out += kDigits[c >> shift & 15];
  out += '}';
}

}  // namespace

std::string QuotedPattern(std::string_view pattern) {
  constexpr std::size_t kMaxBytes = 200;
  if (pattern.size() <= kMaxBytes) return StrCat('\'', pattern, '\'');
  std::size_t size = kMaxBytes;
  while (!BeginsCharacter(pattern[size])) --size;
  return StrCat('\'', pattern.substr(0, size), "'...");
}

bool WriteSet(const CodePointSet& set, std::string& out) {
  std::string members;
  std::size_t num_characters = 0;
  for (auto [first, last] : set.ranges()) {
    if (first >= kFirstSurrogate && first <= kLastSurrogate) first = kLastSurrogate + 1;
    if (last >= kFirstSurrogate && last <= kLastSurrogate) last = kFirstSurrogate - 1;
    if (first > last) continue;
    WriteCodePoint(first, members);
    if (last > first) {
      members += '-';
      WriteCodePoint(last, members);
    }
    num_characters += last - first + 1;
  }
  if (num_characters == 0) return false;
  out += num_characters == 1 ? members : StrCat('[', members, ']');
  return true;
}

char32_t ClassReader::Peek() const noexcept {
  return DecodeUtf8(reinterpret_cast<const unsigned char*>(pattern_.data()) + at_).value;
}

char32_t ClassReader::Next() {
  if (AtEnd()) Refuse("an end too early");
  const CodePoint c = DecodeUtf8(reinterpret_cast<const unsigned char*>(pattern_.data()) + at_);
  at_ += c.size_bytes;
  return c.value;
}

bool ClassReader::Skip(std::string_view prefix) noexcept {
  if (!pattern_.substr(at_).starts_with(prefix)) return false;
  at_ += prefix.size();
  return true;
}

std::optional<std::uint32_t> ClassReader::ReadNumber(std::uint32_t limit) {
  std::optional<std::uint32_t> number;
  while (!AtEnd() && PeekByte() >= '0' && PeekByte() <= '9') {
    number = 10 * number.value_or(0) + static_cast<std::uint32_t>(PeekByte() - '0');
    if (*number > limit) Refuse(StrCat("more than ", limit, " repetitions"));
    ++at_;
  }
  return number;
}

void ClassReader::Refuse(std::string_view construct, std::size_t offset) const {
  throw LoadError(StrCat("regular expression ", QuotedPattern(pattern_), ": not supported at byte ",
                         offset, ": ", construct));
}

CodePointSet ClassReader::WordCharacters(bool in_class) const {
  CodePointSet word = PropertySet("Alphabetic");
  word.Add(PropertySet("M"));
  word.Add(PropertySet("Nd"));
  word.Add(PropertySet("Pc"));
  if (!is_onig_) word.Add(CodePointSet({0x200C, 0x200D}));  // Join_Control
  if (is_onig_ && !in_class) {  // numbers that Oniguruma's table of ISO 8859-1 has
    word.Add(CodePointSet({0xB2, 0xB3}));
    word.Add(CodePointSet({0xB9, 0xB9}));
    word.Add(CodePointSet({0xBC, 0xBE}));
  }
  return word;
}

ClassItem ClassReader::ReadEscape(bool fold, bool in_class) {
  const std::size_t offset = at_;
  Next();  // the backslash
  const char32_t c = Next();
  const auto set = [](CodePointSet members, bool negated) {
    return ClassItem{std::nullopt, negated ? members.Complement() : std::move(members)};
  };
  switch (c) {
    case 't':
      return {U'\t', {}};
    case 'n':
      return {U'\n', {}};
    case 'v':
      return {U'\v', {}};
    case 'f':
      return {U'\f', {}};
    case 'r':
      return {U'\r', {}};
    case 'a':
      return {U'\a', {}};
    case 'x':
    case 'u':
      return {ReadHexadecimal(offset, static_cast<char>(c)), {}};
    case 's':
    case 'S':
      return set(PropertySet("White_Space"), c == 'S');
    case 'd':
    case 'D':
      return set(PropertySet("Nd"), c == 'D');
    case 'w':
    case 'W':
      return set(WordCharacters(in_class), c == 'W');
    case 'h':
    case 'H': {
      CodePointSet digits({'0', '9'});
      digits.Add(CodePointSet({'a', 'f'}));
      digits.Add(CodePointSet({'A', 'F'}));
      return set(digits, c == 'H');
    }
    case 'p':
    case 'P':
      return {std::nullopt, ReadProperty(c == 'P', fold, offset)};
    default:
      break;
  }
  // Oniguruma and Rust give some escaped punctuation meanings of its own.
  if (!IsAsciiPunctuation(c) || c == '<' || c == '>' || c == '\'' || c == '`') {
    Refuse("this escape", offset);
  }
  return {c, {}};
}

char32_t ClassReader::ReadHexadecimal(std::size_t offset, char letter) {
  const bool braced = letter == 'x' && Skip("{");
  const std::size_t num_digits = letter == 'u' ? 4 : 2;
  char32_t value = 0;
  std::size_t num_read = 0;
  for (; !AtEnd() && (braced || num_read < num_digits); ++num_read) {
    const char c = PeekByte();
    const char lower = static_cast<char>(c | 0x20);
    if (c >= '0' && c <= '9') {
      value = value * 16 + static_cast<char32_t>(c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
    } else {
      break;
    }
    if (value > kLastCodePoint) Refuse("a number beyond U+10FFFF", offset);
    ++at_;
  }
  if (braced ? num_read == 0 || !Skip("}") : num_read != num_digits) {
    Refuse("a number of other digits than expected", offset);
  }
  if (value >= kFirstSurrogate && value <= kLastSurrogate) Refuse("a surrogate", offset);
  // In Oniguruma \x80 is a byte, not a character.
  if (is_onig_ && letter == 'x' && !braced && value >= 0x80) Refuse("a byte beyond ASCII", offset);
  return value;
}

CodePointSet ClassReader::ReadProperty(bool negated, bool fold, std::size_t offset) {
  std::string_view name;
  if (Skip("{")) {
    if (is_onig_ && Skip("^")) negated = !negated;
    const std::size_t length = pattern_.substr(at_).find('}');
    if (length == std::string_view::npos) Refuse("{ without }", offset);
    name = pattern_.substr(at_, length);
    at_ += length + 1;
  } else {
    if (is_onig_) Refuse("\\p without {", offset);  // there it is the letter p
    const std::size_t from = at_;
    Next();
    name = pattern_.substr(from, at_ - from);
  }
  CodePointSet set;
  if (name == "Any") {
    set = CodePointSet({0, kLastCodePoint});
  } else if (!CodePointSet::Named(name, set)) {
    Refuse("a property that is neither a general category nor a script", offset);
  }
  set = Folded(std::move(set), fold, offset);
  return negated ? set.Complement() : set;
}

/// The set under (?i).
CodePointSet ClassReader::Folded(CodePointSet set, bool fold, std::size_t offset) const {
  if (!fold) return set;
  CodePointSet closed = set.ClosedUnderSimpleFolding();
  if (is_onig_ && std::ranges::any_of(kFullFoldings, [&](const FullFolding& folding) {
        return closed.Contains(folding.from);
      })) {
    Refuse("(?i) with characters that fold to several", offset);
  }
  return closed;
}

CodePointSet ClassReader::ReadClass(bool fold, int depth) {
  const std::size_t offset = at_;
  if (depth > kMaxDepth) Refuse("classes nested too deep");
  Next();  // the [
  const bool negated = Skip("^");
  CodePointSet members;  // since the last &&
  std::optional<CodePointSet> before;
  const std::size_t first = at_;
  while (true) {
    if (AtEnd()) Refuse("[ without ]", offset);
    const std::size_t item_offset = at_;
    if (PeekByte() == ']') {
      if (at_ == first) Refuse("a class that begins with ]");
      ++at_;
      break;
    }
    for (const std::string_view operation : {"--", "~~", "[:", "[.", "[="}) {
      if (pattern_.substr(at_).starts_with(operation)) Refuse(operation);
    }
    if (Skip("&&")) {
      if (fold && is_onig_) Refuse("&& under (?i)", item_offset);
      const bool has_right_side =
          !AtEnd() && std::string_view("]&-").find(PeekByte()) == std::string_view::npos;
      if (item_offset == first || !has_right_side) Refuse("&& without two sides", item_offset);
      members = Folded(std::move(members), fold, offset);
      before = before ? Intersection(*before, members) : std::move(members);
      members = CodePointSet();
      continue;
    }
    if (PeekByte() == '[') {
      members.Add(ReadClass(fold, depth + 1));
      continue;
    }
    ClassItem item;
    if (PeekByte() == '\\') {
      item = ReadEscape(fold, true);
    } else {
      const bool is_hyphen = PeekByte() == '-';
      item.character = Next();
      // Only at either end of a class is a hyphen surely itself.
      const bool at_either_end = item_offset == first || (!AtEnd() && PeekByte() == ']');
      if (is_hyphen && !at_either_end) Refuse("a hyphen amid a class", item_offset);
    }
    const std::string_view rest = pattern_.substr(at_);
    const bool is_range = rest.size() >= 2 && rest[0] == '-' && rest[1] != ']';
    if (!item.character) {
      if (is_range) Refuse("a range from a class", item_offset);
      members.Add(item.set);
      continue;
    }
    CodePointRange range{*item.character, *item.character};
    if (is_range) {
      ++at_;
      const bool is_clear = PeekByte() != '[' && PeekByte() != '-' && !rest.starts_with("-&&");
      if (!is_clear) Refuse("this range", item_offset);
      const ClassItem last = PeekByte() == '\\' ? ReadEscape(fold, true) : ClassItem{Next(), {}};
      if (!last.character) Refuse("a range to a class", item_offset);
      range.last = *last.character;
      if (range.last < range.first) Refuse("a range that ends before it begins", item_offset);
      const std::string_view after = pattern_.substr(at_);
      if (after.starts_with("-") && !after.starts_with("-]")) {
        Refuse("a hyphen after a range");
      }
    }
    members.Add(CodePointSet(range));
  }
  members = Folded(std::move(members), fold, offset);
  if (before) members = Intersection(*before, members);
  return negated ? members.Complement() : members;
}

}  // namespace ctx::tokenize
