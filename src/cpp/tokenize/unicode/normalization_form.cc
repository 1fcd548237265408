#include "tokenize/unicode/normalization_form.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "tokenize/unicode/normalization_properties.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kFinals = 0x11A7;
constexpr char32_t kNumLeads = 19, kNumVowels = 21, kNumFinals = 28;  // "no final" among them
constexpr char32_t kNumSyllables = kNumLeads * kNumVowels * kNumFinals;

/// A character with its combining class.
class Mark {
 public:
  Mark(char32_t code_point, std::uint8_t combining_class) noexcept
      : bits_(code_point | char32_t{combining_class} << 24) {}
  char32_t code_point() const noexcept { return bits_ & 0xFFFFFF; }
  std::uint8_t combining_class() const noexcept { return static_cast<std::uint8_t>(bits_ >> 24); }

 private:
  char32_t bits_;
};

struct FlagsOfForm {
  std::uint8_t suspect;
  std::uint8_t joins;
};

FlagsOfForm FlagsOf(NormalizationForm form) noexcept {
  return form == NormalizationForm::kNfc ? FlagsOfForm{kNotNfc, kJoinsNfc}
                                         : FlagsOfForm{kNotNfkc, kJoinsNfkc};
}

/// A segment that may not be normalized.
struct Segment {
  std::size_t begin;
  std::size_t end;
};

/// Finds the first one at or after `at`, where one begins; {kNone, kNone} if there is none.
Segment FindSuspect(NormalizationForm form, std::string_view text, std::size_t at) noexcept {
  const FlagsOfForm flags = FlagsOf(form);
  const auto* const data = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t begin = at;
  unsigned last_class = 0;
  bool found = false;
  while (at < text.size()) {
    if (data[at] < 0x80) {
      if (found) return {begin, at};
      at = SkipAscii(text, at + 1);
      begin = at - 1;
      last_class = 0;
      continue;
    }
    const CodePoint c = DecodeUtf8(data + at);
    const NormalizationProperties properties = PropertiesOf(c.value);
    if ((properties.flags & flags.joins) == 0) {
      if (found) return {begin, at};
      begin = at;
    }
    const unsigned combining_class = properties.combining_class;
    if ((properties.flags & flags.suspect) != 0 ||
        (combining_class != 0 && combining_class < last_class)) {
      found = true;
    }
    last_class = combining_class;
    at += c.size_bytes;
  }
  if (found) return {begin, at};
  return {kNone, kNone};
}

void AppendDecomposed(NormalizationForm form, char32_t c, std::vector<Mark>& to) {
  const auto append = [&](char32_t part) {
    to.emplace_back(part, PropertiesOf(part).combining_class);
  };
  if (c - kSyllables < kNumSyllables) {
    const char32_t syllable = c - kSyllables;
    append(kLeads + syllable / (kNumVowels * kNumFinals));
    append(kVowels + syllable / kNumFinals % kNumVowels);
    if (syllable % kNumFinals != 0) append(kFinals + syllable % kNumFinals);
    return;
  }
  const char32_t* const record = DecompositionOf(c);
  const std::size_t canonical_size = record[0] % 8;
  const std::size_t compatibility_size = record[0] / 8;
  const char32_t* parts = record + 1;
  std::size_t size = canonical_size;
  if (form == NormalizationForm::kNfkc && compatibility_size != 0) {
    parts += canonical_size;
    size = compatibility_size;
  }
  if (size == 0) append(c);
  for (std::size_t i = 0; i < size; ++i) append(parts[i]);
}

/// Puts each run of characters whose class is not 0 in order of class, equals as they were.
void Reorder(std::vector<Mark>& marks, std::vector<Mark>& scratch) {
  constexpr std::size_t kLongRun = 32;  // from where counting is worth its table
  const auto is_starter = [](Mark mark) { return mark.combining_class() == 0; };
  for (auto begin = marks.begin(); begin != marks.end();) {
    begin = std::find_if_not(begin, marks.end(), is_starter);
    const auto end = std::find_if(begin, marks.end(), is_starter);
    if (static_cast<std::size_t>(end - begin) < kLongRun) {
      for (auto i = begin; i != end; ++i) {
        const auto place = std::upper_bound(
            begin, i, *i, [](Mark a, Mark b) { return a.combining_class() < b.combining_class(); });
        std::rotate(place, i, i + 1);
      }
    } else {
      std::array<std::size_t, 256> next{};  // where the next of each class goes
      for (auto i = begin; i != end; ++i) ++next[i->combining_class()];
      std::size_t sum = 0;
      for (std::size_t& place : next) {
        const std::size_t count = place;
        place = sum;
        sum += count;
      }
      scratch.assign(begin, end);
      for (const Mark mark : scratch) {
        begin[static_cast<std::ptrdiff_t>(next[mark.combining_class()]++)] = mark;
      }
    }
    begin = end;
  }
}

/// What the two become, or 0.
char32_t ComposePair(char32_t first, char32_t second) noexcept {
  if (first - kLeads < kNumLeads && second - kVowels < kNumVowels) {
    return kSyllables + ((first - kLeads) * kNumVowels + (second - kVowels)) * kNumFinals;
  }
  if (first - kSyllables < kNumSyllables && (first - kSyllables) % kNumFinals == 0 &&
      second - (kFinals + 1) < kNumFinals - 1) {
    return first + (second - kFinals);
  }
  return CompositeOf(first, second);
}

/// Joins each character with the last starter before it that nothing blocks it from (UAX #15,
/// D117).
void Compose(std::vector<Mark>& marks) {
  std::size_t size = 0;
  std::size_t starter = kNone;
  for (const Mark mark : marks) {
    if (starter != kNone) {
      const bool adjacent = starter + 1 == size;
      if (adjacent || marks[size - 1].combining_class() < mark.combining_class()) {
        const char32_t composite = ComposePair(marks[starter].code_point(), mark.code_point());
        if (composite != 0) {
          marks[starter] = Mark(composite, 0);
          continue;
        }
      }
    }
    if (mark.combining_class() == 0) starter = size;
    marks[size++] = mark;
  }
  marks.erase(marks.begin() + static_cast<std::ptrdiff_t>(size), marks.end());
}

}  // namespace

bool BeginsSegment(NormalizationForm form, char32_t code_point) noexcept {
  return (PropertiesOf(code_point).flags & FlagsOf(form).joins) == 0;
}

void Normalize(NormalizationForm form, TextEdit& edit) {
  const std::string_view text = edit.source();
  const auto* const data = reinterpret_cast<const unsigned char*>(text.data());
  std::vector<Mark> marks;
  std::vector<Mark> scratch;
  std::string normalized;
  for (std::size_t at = 0;;) {
    const Segment segment = FindSuspect(form, text, at);
    if (segment.begin == kNone) return;
    const std::size_t size_bytes = segment.end - segment.begin;
    marks.clear();
    marks.reserve(size_bytes / 2 + 1);
    for (std::size_t i = segment.begin; i < segment.end;) {
      const CodePoint c = DecodeUtf8(data + i);
      AppendDecomposed(form, c.value, marks);
      i += c.size_bytes;
    }
    Reorder(marks, scratch);
    Compose(marks);
    normalized.clear();
    normalized.reserve(size_bytes);
    for (const Mark mark : marks) {
      char bytes[4];
      normalized.append(bytes, EncodeUtf8(mark.code_point(), bytes));
    }
    if (normalized != text.substr(segment.begin, size_bytes)) {
      edit.Replace(segment.begin, segment.end, normalized);
    }
    at = segment.end;
  }
}

}  // namespace ctx::tokenize
