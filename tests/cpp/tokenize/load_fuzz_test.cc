// Mutated files: whatever the bytes, a loader ends in a LoadError that names the file or in a
// definition that is refused or makes an encoding. CTXENGINE_FUZZ_MUTATIONS sets how many (60,000).
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/check_definition.h"
#include "tokenize/decoder.h"
#include "tokenize/encoding.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

using Loader = EncodingDefinition (*)(std::string_view, const std::string&);

struct Format {
  std::string name;
  std::string file;
  Loader load;
};

EncodingDefinition LoadRanks(std::string_view bytes, const std::string& file_name) {
  return load::LoadRankFile(bytes, file_name,
                            {.pattern = "x", .special_tokens = {{{.spelling = "<e>", .id = 258}}}});
}

std::vector<Format> Formats() {
  testing::TinyTokenizerJson rich;
  rich.normalizer =
      R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "x"},
          {"type": "Replace", "pattern": {"String": " "}, "content": "y"}]})";
  rich.pre_tokenizer =
      R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
          {"type": "Punctuation", "behavior": "Isolated"},
          {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Removed", "invert": false},
          {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}]})";
  rich.post_processor =
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
          {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
          "special_tokens": {"<s>": {"id": "<s>", "ids": [258], "tokens": ["<s>"]}}})";
  return {
      {"v.tiktoken", testing::TinyRankFile(), LoadRanks},
      {"tekken.json", testing::TinyTekken(), load::LoadTekken},
      {"bytes.json", rich.Text(), load::LoadTokenizerJson},
      {"fallback.json", testing::TinyFallbackJson().Text(), load::LoadTokenizerJson},
      {"m.model", testing::TinySentencePiece().Bytes(), load::LoadSentencePiece},
  };
}

class Mutator {
 public:
  explicit Mutator(std::uint32_t seed) : random_(seed) {}

  std::string Mutate(std::string file) {
    const std::size_t num_changes = 1 + Below(3);
    for (std::size_t i = 0; i < num_changes; ++i) Change(file);
    return file;
  }

 private:
  std::size_t Below(std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_);
  }

  void Change(std::string& file) {
    if (file.empty()) return;
    constexpr std::array<std::string_view, 28> kTokens = {
        "\"",       "{",       "}",          "[",    "]",           ",",   ":",
        "null",     "true",    "0",          "-1",   "1e3",         "1.0", "\n",
        " ",        "\\u0000", "2147483648", "\xFF", "<s>",         "=",   "\\ud800",
        "[[[[[[[[", "{\"a\":", "\xC4\xA0",   "ab",   "\"id\": 258", "999", "\r\n"};
    const std::size_t at = Below(file.size());
    const std::size_t length = 1 + Below(Below(8) == 0 ? file.size() - at : 16);
    switch (Below(8)) {
      case 0:
        file[at] = static_cast<char>(file[at] ^ (1 << Below(8)));
        break;
      case 1:
        file[at] = static_cast<char>(Below(256));
        break;
      case 2:
        file.erase(at, length);
        break;
      case 3:
        file.insert(at, kTokens[Below(kTokens.size())]);
        break;
      case 4: {
        const std::string_view token = kTokens[Below(kTokens.size())];
        file.replace(at, token.size(), token);
        break;
      }
      case 5:
        file.insert(Below(file.size()), file.substr(at, length));
        break;
      case 6:
        file.resize(at);
        break;
      default:
        std::swap(file[at], file[Below(file.size())]);
    }
  }

  std::mt19937 random_;
};

std::size_t NumMutations() {
  const char* const wanted = std::getenv("CTXENGINE_FUZZ_MUTATIONS");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 60'000;
}

/// An encoding made of it encodes and decodes any text, and is made of its own definition again.
void CheckEncoding(const EncodingDefinition& definition) {
  std::optional<Encoding> encoding;
  try {
    encoding.emplace(definition, /*allow_regex=*/false);
  } catch (const LoadError&) {
    return;  // a pattern without a scanner, say
  }
  const std::string text = "Hello  w\u00f6rld\n\u4e2d\u6587 <s>\t\u0001 end";
  std::vector<TokenId> ids;
  encoding->EncodeOrdinary(text, ids);
  CHECK(encoding->CountOrdinary(text) == static_cast<std::int64_t>(ids.size()));
  const std::string decoded = Decoder(*encoding).Decode(ids);
  if (definition.normalizer.empty()) CHECK(decoded == text);
  CHECK(Encoding(encoding->Definition(), false).fingerprint() == encoding->fingerprint());
}

/// A message is of bounded length and valid UTF-8 whatever the file holds.
bool IsWellFormed(std::string_view message) {
  return message.size() < 1000 && ValidUtf8Prefix(message) == message.size();
}

TEST_CASE("loaders: mutated files are refused or make an encoding") {
  const std::vector<Format> formats = Formats();
  for (const Format& format : formats) {
    CAPTURE(format.name);
    const std::string prefix = format.name + ':';
    Mutator mutator(20);
    std::size_t num_accepted = 0;
    CHECK_NOTHROW(format.load(format.file, format.name));
    for (std::size_t i = 0; i < NumMutations() / formats.size(); ++i) {
      const std::string file = mutator.Mutate(format.file);
      std::optional<EncodingDefinition> definition;
      try {
        definition = format.load(file, format.name);
        CheckDefinition(*definition);
        if (num_accepted++ % 16 == 0) CheckEncoding(*definition);
      } catch (const LoadError& error) {
        const std::string_view what = error.what();
        const bool names_file = definition || what.starts_with(prefix);
        if (!names_file || !IsWellFormed(what)) FAIL_CHECK("mutation ", i, ": ", what);
      }
    }
    CHECK(num_accepted > 0);
  }
}

TEST_CASE("loaders: every prefix of a file is refused") {
  for (const Format& format : Formats()) {
    CAPTURE(format.name);
    // What JSON has behind the last brace is white space; the model's last field is needed; a rank
    // file that ends with a line may be whole.
    const std::size_t size = format.file.find_last_not_of('\n') + 1;
    for (std::size_t n = 0; n < size; ++n) {
      if (format.load == LoadRanks && n > 0 && format.file[n - 1] == '\n') continue;
      if (testing::LoadErrorOf([&] {
            format.load(format.file.substr(0, n), format.name);
          }).empty()) {
        FAIL_CHECK("accepted the first ", n, " bytes");
      }
    }
  }
}

TEST_CASE("loaders: running out of memory is bad_alloc, nothing else") {
  for (const Format& format : Formats()) {
    CAPTURE(format.name);
    EncodingDefinition definition;
    const std::int64_t num_failures = ctx::testing::FailEveryAllocation(
        [&] { definition = format.load(format.file, format.name); }, [] {});
    CHECK(num_failures > 10);
    CHECK(definition == format.load(format.file, format.name));
  }
}

}  // namespace
}  // namespace ctx::tokenize
