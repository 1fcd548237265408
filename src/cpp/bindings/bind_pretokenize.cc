// The normalizer and the pre-tokenizers by themselves: for tests, and for looking at what becomes
// of a text and where it is cut.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/pattern_names.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/known_patterns.h"
#include "tokenize/pretokenize/pre_tokenizer.h"
#include "tokenize/pretokenize/scanner.h"
#include "tokenize/unicode/normalizer.h"

namespace ctx::bindings {
namespace {

namespace py = pybind11;

std::string_view Utf8Of(const py::str& text) {
  Py_ssize_t size_bytes = 0;
  const char* const data = PyUnicode_AsUTF8AndSize(text.ptr(), &size_bytes);
  if (data == nullptr) throw py::error_already_set();
  return {data, static_cast<std::size_t>(size_bytes)};
}

py::list Pretokenize(std::string_view pattern_name, const py::str& text) {
  const tokenize::Pattern pattern = PatternOf(pattern_name);
  py::list ends;
  std::size_t end = 0;
  tokenize::ForEachPreToken(pattern, Utf8Of(text), [&](std::string_view pre_token) {
    end += pre_token.size();
    ends.append(end);
  });
  return ends;
}

std::size_t FinalPrefix(std::string_view pattern_name, const py::str& text) {
  const tokenize::Pattern pattern = PatternOf(pattern_name);
  return tokenize::FinalPrefix(pattern, Utf8Of(text));
}

py::list KnownSpellings() {
  py::list spellings;
  for (const tokenize::KnownSpelling& spelling : tokenize::KnownSpellings()) {
    py::list regexes;
    for (const std::string_view regex : spelling.regexes) {
      if (!regex.empty()) regexes.append(regex);
    }
    spellings.append(py::make_tuple(NameOf(spelling.pattern), spelling.in_tiktoken,
                                    spelling.in_hugging_face, regexes));
  }
  return spellings;
}

// Steps as (kind, pattern, behavior, invert, flavor), by the names below.
constexpr std::array<std::string_view, 4> kKinds = {"regex", "literal", "digits", "punctuation"};
constexpr std::array<std::string_view, 5> kBehaviors = {
    "isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"};
constexpr std::array<std::string_view, 2> kFlavors = {"tiktoken", "huggingface"};

template <typename Enum, std::size_t size>
Enum Named(const std::array<std::string_view, size>& names, const std::string& name) {
  const auto* const found = std::ranges::find(names, name);
  if (found == names.end()) throw ArgumentError(StrCat("pre-tokenizer step: ", name, "?"));
  return static_cast<Enum>(found - names.begin());
}

tokenize::PreTokenizer PreTokenizerFrom(const py::sequence& steps, bool allow_regex) {
  using Step = tokenize::PreTokenizerStep;
  std::vector<Step> definition;
  for (const py::handle item : steps) {
    const auto [kind, pattern, behavior, invert, flavor] =
        item.cast<std::tuple<std::string, std::string, std::string, bool, std::string>>();
    definition.push_back({Named<Step::Kind>(kKinds, kind),
                          Named<Step::Behavior>(kBehaviors, behavior), invert,
                          Named<Step::Flavor>(kFlavors, flavor), pattern});
  }
  return tokenize::PreTokenizer(std::move(definition), allow_regex);
}

py::list PreTokenizeBySteps(const py::sequence& steps, const py::str& text, bool allow_regex) {
  const tokenize::PreTokenizer pre_tokenizer = PreTokenizerFrom(steps, allow_regex);
  py::list pieces;
  pre_tokenizer.ForEach(Utf8Of(text), [&](std::string_view piece) {
    pieces.append(py::str(piece.data(), piece.size()));
    return true;
  });
  return pieces;
}

std::size_t FinalPrefixOfSteps(const py::sequence& steps, const py::str& text, bool allow_regex) {
  return PreTokenizerFrom(steps, allow_regex).FinalPrefix(Utf8Of(text));
}

py::bytes CharClasses() {
  constexpr std::size_t kNumCodePoints = 0x110000;
  std::vector<std::uint16_t> classes(kNumCodePoints);
  for (std::size_t i = 0; i < kNumCodePoints; ++i) {
    classes[i] = static_cast<std::uint16_t>(tokenize::CharClassesOf(static_cast<char32_t>(i)));
  }
  return py::bytes(reinterpret_cast<const char*>(classes.data()), 2 * classes.size());
}

using tokenize::Normalizer;
using tokenize::NormalizerStep;
using StepTuple = std::tuple<std::string, std::string, std::string>;  // kind, pattern, content

template <typename Value, std::size_t size>
Value ValueOf(const std::array<std::pair<std::string_view, Value>, size>& names,
              std::string_view name, const char* what) {
  for (const auto& [known, value] : names) {
    if (known == name) return value;
  }
  throw ArgumentError(std::string("unknown ") + what);
}

Normalizer MakeNormalizer(const std::vector<StepTuple>& tuples) {
  using Kind = NormalizerStep::Kind;
  constexpr std::array<std::pair<std::string_view, Kind>, 7> kSteps{{
      {"nfc", Kind::kNfc},
      {"nfkc", Kind::kNfkc},
      {"lowercase", Kind::kLowercase},
      {"replace", Kind::kReplace},
      {"prepend", Kind::kPrepend},
      {"prepend_unless", Kind::kPrependUnless},
      {"prepend_first", Kind::kPrependFirst},
  }};
  std::vector<NormalizerStep> steps;
  for (const auto& [kind, pattern, content] : tuples) {
    steps.push_back({ValueOf(kSteps, kind, "kind of normalizer step"), pattern, content});
  }
  return Normalizer(std::move(steps));
}

Normalizer::Position PositionOf(std::string_view name) {
  using Position = Normalizer::Position;
  constexpr std::array<std::pair<std::string_view, Position>, 3> kPositions{{
      {"input_start", Position::kInputStart},
      {"section_start", Position::kSectionStart},
      {"middle", Position::kMiddle},
  }};
  return ValueOf(kPositions, name, "position");
}

std::string Normalize(const Normalizer& normalizer, std::string_view text,
                      std::string_view position) {
  std::string buffer;
  return std::string(normalizer.Apply(text, PositionOf(position), buffer));
}

py::tuple NormalizeAligned(const Normalizer& normalizer, std::string_view text,
                           std::string_view position) {
  std::string buffer;
  std::vector<tokenize::SourceRange> sources;
  const std::string normalized(normalizer.Apply(text, PositionOf(position), buffer, sources));
  py::list parts;
  for (const auto& part : sources) {
    parts.append(py::make_tuple(part.end, part.source_begin, part.source_end, part.bytewise));
  }
  return py::make_tuple(normalized, parts);
}

std::size_t StablePrefix(const Normalizer& normalizer, std::string_view text,
                         std::string_view position) {
  return normalizer.StablePrefix(text, PositionOf(position));
}

}  // namespace

void RegisterPretokenize(py::module_& module) {
  py::class_<Normalizer>(module, "Normalizer",
                         "Steps (kind, pattern, content) of tokenize/definition.h.")
      .def(py::init(&MakeNormalizer), py::arg("steps"), py::pos_only())
      .def("normalize", &Normalize, py::arg("text"), py::arg("position"), py::pos_only())
      .def("normalize_aligned", &NormalizeAligned, py::arg("text"), py::arg("position"),
           py::pos_only(), "Also the parts: end, source begin, source end, bytewise; in bytes.")
      .def("stable_prefix", &StablePrefix, py::arg("text"), py::arg("position"), py::pos_only());
  module.def("pretokenize", &Pretokenize, py::arg("pattern"), py::arg("text"), py::pos_only(),
             "Byte offsets in the UTF-8 of text at which its pre-tokens end.");
  module.def("final_prefix", &FinalPrefix, py::arg("pattern"), py::arg("text"), py::pos_only(),
             "How many bytes at the front of text no appended text can cut otherwise.");
  module.def("known_spellings", &KnownSpellings,
             "Published pre-tokenizers as (pattern, in tiktoken, in Hugging Face, regexes).");
  module.def("pre_tokenize", &PreTokenizeBySteps, py::arg("steps"), py::arg("text"),
             py::arg("allow_regex"), py::pos_only(),
             "Pre-tokens of text by steps (kind, pattern, behavior, invert, flavor).");
  module.def("final_prefix_of_steps", &FinalPrefixOfSteps, py::arg("steps"), py::arg("text"),
             py::arg("allow_regex"), py::pos_only(),
             "How many bytes at the front of text are cut whatever is appended.");
  module.def("char_classes", &CharClasses,
             "Class bits (tokenize/unicode/unicode_tables.h) of each code point from U+0000 on, "
             "two bytes each in native order.");
}

}  // namespace ctx::bindings
