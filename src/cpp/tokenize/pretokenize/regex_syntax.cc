#include "tokenize/pretokenize/regex_syntax.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/regex_class.h"
#include "tokenize/unicode/utf8.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

using Flavor = PreTokenizerStep::Flavor;

constexpr std::size_t kMaxPatternBytes = 10'000;
constexpr std::size_t kMaxOutputBytes = 4 * 1024 * 1024;
constexpr int kMaxDepth = 50;
constexpr std::uint32_t kMaxRepeats = 1000;
constexpr std::uint64_t kUnbounded = std::numeric_limits<std::uint32_t>::max();

/// How many characters a part of the pattern may take.
struct Width {
  std::uint64_t min = 0;
  std::uint64_t max = 0;
};

std::uint64_t Saturated(std::uint64_t width) { return std::min(width, kUnbounded); }

/// A character or group before its quantifier.
struct Atom {
  Width width;
  bool is_quantifiable = true;
  std::u32string literal;  // what it spells when it can spell one string alone
};

struct Quantifier {
  std::uint64_t min;
  std::uint64_t max;
  std::string suffix;  // as PCRE2 has it
  bool wrap = false;   // repeated itself: (?:x{2,3})+
};

/// Recursive descent; what is understood goes to `out_` at once.
class Translator {
 public:
  Translator(std::string_view pattern, Flavor flavor)
      : reader_(pattern, flavor), is_onig_(flavor == Flavor::kHuggingFace) {}

  TranslatedRegex Run() {
    bool fold = false;
    if (reader_.Skip("(?i)")) fold = true;
    const Width width = Alternation(fold, 0, nullptr);
    if (!reader_.AtEnd()) reader_.Refuse(") without (");
    if (width.min == 0 && !is_onig_) reader_.Refuse("a pattern that can match nothing", 0);
    return {std::move(out_), width.min == 0, looks_behind_};
  }

 private:
  // alternatives separated by |, up to the end or a ")". `fixed` learns whether each has one width;
  // `literal` what is spelled when there is one alternative of characters alone.
  Width Alternation(bool fold, int depth, bool* fixed, std::u32string* literal = nullptr) {
    if (depth > kMaxDepth) reader_.Refuse("groups nested too deep");
    Width width{kUnbounded, 0};
    if (fixed != nullptr) *fixed = true;
    for (bool first = true;; first = false) {
      std::optional<std::u32string> spelled = std::u32string();
      const Width one = Concatenation(fold, depth, spelled);
      width = {std::min(width.min, one.min), std::max(width.max, one.max)};
      if (fixed != nullptr && one.min != one.max) *fixed = false;
      const bool more = reader_.Skip("|");
      if (literal != nullptr) {
        if (first && !more && spelled) *literal = *spelled;
        if (more || !first) literal->clear();
      }
      if (!more) return width;
      out_ += '|';
    }
  }

  Width Concatenation(bool fold, int depth, std::optional<std::u32string>& spelled) {
    Width width;
    std::u32string adjacent;  // the last characters, for foldings of several into one
    while (!reader_.AtEnd() && reader_.Peek() != '|' && reader_.Peek() != ')') {
      const std::size_t from = out_.size();
      const std::size_t offset = reader_.offset();
      const Atom atom = ReadAtom(fold, depth);
      const std::optional<Quantifier> quantifier = ReadQuantifier();
      Width part = atom.width;
      if (quantifier) {
        if (!atom.is_quantifiable) reader_.Refuse("a repeated assertion", offset);
        if (atom.width.min == 0 && quantifier->max > 1) {
          reader_.Refuse("the repetition of what can match nothing", offset);
        }
        part = {Saturated(part.min * quantifier->min), Saturated(part.max * quantifier->max)};
        if (quantifier->wrap) {
          if (part.min == 0) {
            reader_.Refuse("the repetition of what can match nothing", offset);
          }
          out_.insert(from, "(?:");
          part.max = kUnbounded;
        }
        out_ += quantifier->suffix;
      }
      width = {Saturated(width.min + part.min), Saturated(width.max + part.max)};
      if (out_.size() > kMaxOutputBytes) reader_.Refuse("a pattern of too many large classes");
      if (atom.literal.empty() && atom.width.max > 0) adjacent.clear();
      adjacent += atom.literal;
      if (quantifier) adjacent += atom.literal;
      if (fold && is_onig_) CheckFullFolding(adjacent, offset);
      constexpr std::size_t kLongestFolding = 3;
      if (adjacent.size() >= kLongestFolding) {
        adjacent.erase(0, adjacent.size() - (kLongestFolding - 1));
      }
      if (quantifier || atom.literal.empty()) {
        spelled.reset();
        if (quantifier && quantifier->min == 0) adjacent.clear();
      } else if (spelled) {
        *spelled += atom.literal;
      }
    }
    return width;
  }

  /// Oniguruma lets "ss" and U+00DF stand for each other; PCRE2's classes cannot.
  void CheckFullFolding(const std::u32string& adjacent, std::size_t offset) {
    std::u32string folded;
    for (const char32_t c : adjacent) folded += SimpleFold(c);
    for (const FullFolding& folding : kFullFoldings) {
      const auto* const to_end = std::ranges::find(folding.to, U'\0');
      const bool spells =
          !std::ranges::search(folded, std::ranges::subrange(folding.to.begin(), to_end)).empty();
      if (spells || folded.find(SimpleFold(folding.from)) != std::u32string::npos) {
        reader_.Refuse("(?i) with characters that fold to several", offset);
      }
    }
  }

  Atom ReadAtom(bool fold, int depth) {
    const std::size_t offset = reader_.offset();
    switch (reader_.Peek()) {
      case '(':
        return ReadGroup(fold, depth);
      case '[':
        return Set(reader_.ReadClass(fold));
      case '.':
        reader_.Next();
        return Set(CodePointSet({'\n', '\n'}).Complement());
      case '^':
        reader_.Next();
        looks_behind_ = true;
        return Assertion(is_onig_ ? "(?m:^)" : "\\A");
      case '$':
        reader_.Next();
        return Assertion(is_onig_ ? "(?m:$)" : "\\z");
      case '\\':
        return ReadEscape(fold);
      case '*':
      case '+':
      case '?':
        reader_.Refuse("a repetition of nothing");
      case '{':
      case '}':
      case ']':
        reader_.Refuse("a bracket without its partner");
      default:
        break;
    }
    return Literal(reader_.Next(), fold, offset);
  }

  Atom ReadEscape(bool fold) {
    const std::size_t offset = reader_.offset();
    if (reader_.Skip("\\A")) {
      looks_behind_ = true;
      return Assertion("\\A");
    }
    if (reader_.Skip("\\z")) return Assertion("\\z");
    if (reader_.Skip("\\b")) return WordBoundary(true);
    if (reader_.Skip("\\B")) return WordBoundary(false);
    const ClassItem item = reader_.ReadEscape(fold, false);
    if (item.character) return Literal(*item.character, fold, offset);
    return Set(item.set);
  }

  Atom ReadGroup(bool fold, int depth) {
    const std::size_t offset = reader_.offset();
    Atom atom;
    bool is_lookbehind = false;
    bool spells = false;
    if (reader_.Skip("(?:")) {
      out_ += "(?:";
      spells = true;
    } else if (reader_.Skip("(?i:")) {
      out_ += "(?:";
      fold = true;
      spells = true;
    } else if (reader_.Skip("(?>")) {
      out_ += "(?>";
    } else if (reader_.Skip("(?=")) {
      out_ += "(?=";
      atom.is_quantifiable = false;
    } else if (reader_.Skip("(?!")) {
      out_ += "(?!";
      atom.is_quantifiable = false;
    } else if (reader_.Skip("(?<=")) {
      out_ += "(?<=";
      atom.is_quantifiable = false;
      is_lookbehind = true;
    } else if (reader_.Skip("(?<!")) {
      out_ += "(?<!";
      atom.is_quantifiable = false;
      is_lookbehind = true;
    } else if (reader_.Skip("(?")) {
      reader_.Refuse("a group of this kind", offset);
    } else {
      reader_.Next();
      out_ += "(?:";
      spells = true;
    }
    bool fixed = false;
    std::u32string literal;
    const Width width = Alternation(fold, depth + 1, &fixed, &literal);
    if (!reader_.Skip(")")) reader_.Refuse("( without )", offset);
    out_ += ')';
    if (is_lookbehind) looks_behind_ = true;
    constexpr std::uint64_t kMaxLookbehind = 200;
    if (is_lookbehind && (!fixed || width.max > kMaxLookbehind)) {
      reader_.Refuse("a lookbehind of no fixed length", offset);
    }
    if (atom.is_quantifiable) atom.width = width;
    if (spells) atom.literal = std::move(literal);
    return atom;
  }

  std::optional<Quantifier> ReadQuantifier() {
    if (reader_.AtEnd()) return std::nullopt;
    const std::size_t offset = reader_.offset();
    Quantifier quantifier;
    bool is_interval = false;
    if (reader_.Skip("*")) {
      quantifier = {0, kUnbounded, "*"};
    } else if (reader_.Skip("+")) {
      quantifier = {1, kUnbounded, "+"};
    } else if (reader_.Skip("?")) {
      quantifier = {0, 1, "?"};
    } else if (reader_.Skip("{")) {
      is_interval = true;
      ReadInterval(quantifier, offset);
    } else {
      return std::nullopt;
    }
    if (reader_.Skip("?")) {
      // x{n}? is (?:x{n})? in Ruby.
      if (is_interval && is_onig_ && quantifier.min == quantifier.max) {
        reader_.Refuse("{n}?", offset);
      }
      quantifier.suffix += '?';
    } else if (reader_.Skip("+")) {
      if (is_interval && is_onig_) {
        quantifier.suffix += ")+";
        quantifier.wrap = true;
      } else {
        quantifier.suffix += '+';
      }
    }
    if (!reader_.AtEnd() &&
        std::string_view("*+?{").find(reader_.PeekByte()) != std::string::npos) {
      reader_.Refuse("a repeated repetition");
    }
    return quantifier;
  }

  /// After the "{": n}, n,} and n,m}; in Ruby ,m} too.
  void ReadInterval(Quantifier& quantifier, std::size_t offset) {
    const std::optional<std::uint32_t> min = reader_.ReadNumber(kMaxRepeats);
    std::optional<std::uint32_t> max = min;
    bool open = false;
    if (reader_.Skip(",")) {
      max = reader_.ReadNumber(kMaxRepeats);
      open = !max;
    }
    const bool well_formed = min ? true : is_onig_ && max.has_value();
    if (!well_formed || !reader_.Skip("}")) reader_.Refuse("a { that begins no repetition", offset);
    const std::uint32_t least = min.value_or(0);
    if (max && *max < least) reader_.Refuse("a repetition of at most fewer than at least", offset);
    if (max && *max == 0) reader_.Refuse("a repetition of no times", offset);
    quantifier.min = least;
    quantifier.max = open ? kUnbounded : *max;
    quantifier.suffix = open ? StrCat('{', least, ",}") : StrCat('{', least, ',', *max, '}');
  }

  Atom Literal(char32_t c, bool fold, std::size_t /*offset*/) {
    const CodePointSet set({c, c});
    WriteSet(fold ? set.ClosedUnderSimpleFolding() : set, out_);
    return {{1, 1}, true, std::u32string(1, c)};
  }

  Atom Set(const CodePointSet& set) {
    if (!WriteSet(set, out_)) reader_.Refuse("a class that holds no character");
    const auto& ranges = set.ranges();
    const bool is_one = ranges.size() == 1 && ranges[0].first == ranges[0].last;
    return {{1, 1}, true, is_one ? std::u32string(1, ranges[0].first) : std::u32string()};
  }

  Atom Assertion(std::string_view pcre2) {
    out_ += pcre2;
    return {{0, 0}, false, {}};
  }

  Atom WordBoundary(bool is_boundary) {
    looks_behind_ = true;
    std::string word;
    WriteSet(reader_.WordCharacters(false), word);
    const auto between = [&](bool before, bool after) {
      return StrCat("(?<", before ? '=' : '!', word, ")(?", after ? '=' : '!', word, ')');
    };
    return Assertion(
        StrCat("(?:", between(false, is_boundary), '|', between(true, !is_boundary), ')'));
  }

  ClassReader reader_;
  bool is_onig_;
  std::string out_;
  bool looks_behind_ = false;
};

}  // namespace

TranslatedRegex TranslateRegex(std::string_view pattern, Flavor flavor) {
  if (pattern.size() > kMaxPatternBytes) {
    throw LoadError(StrCat("regular expression of ", pattern.size(), " bytes, the limit is ",
                           kMaxPatternBytes, ": ", QuotedPattern(pattern)));
  }
  if (ValidUtf8Prefix(pattern) != pattern.size())
    throw LoadError("regular expression that is not UTF-8");
  return Translator(pattern, flavor).Run();
}

}  // namespace ctx::tokenize
