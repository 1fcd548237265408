#include "tokenize/encoding.h"

#include <atomic>
#include <random>
#include <thread>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/decoder.h"
#include "tokenize/kinds_of_encodings.h"
#include "tokenize/shipped.h"
#include "tokenize/tiny_vocabulary.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize {
namespace {

using testing::Shipped;
using Ids = std::vector<TokenId>;

Ids Ordinary(const Encoding& encoding, std::string_view text) {
  Ids ids;
  encoding.EncodeOrdinary(text, ids);
  return ids;
}

Ids Bytes(const Encoding& encoding, std::string_view bytes) {
  Ids ids;
  encoding.EncodeBytes(bytes, ids);
  return ids;
}

Ids Segments(const Encoding& encoding, const std::vector<Segment>& segments) {
  Ids ids;
  encoding.EncodeSegments(segments, ids);
  CHECK(encoding.CountSegments(segments) == std::ssize(ids));
  return ids;
}

Ids Joined(std::initializer_list<Ids> parts) {
  Ids ids;
  for (const Ids& part : parts) ids.insert(ids.end(), part.begin(), part.end());
  return ids;
}

/// Words, blanks, newlines, symbols, digits, other scripts, and what spells special tokens.
std::string RandomText(std::mt19937& random, int num_pieces) {
  static const std::vector<std::string> pieces = {"hello",
                                                  " World",
                                                  "\n",
                                                  "\n\n",
                                                  "  ",
                                                  "\t",
                                                  "'s",
                                                  "!?",
                                                  "12345",
                                                  "\xE4\xB8\xAD\xE6\x96\x87",
                                                  "\xF0\x9F\x91\x8D",
                                                  "<|",
                                                  "|>",
                                                  "im_start",
                                                  "<|im_end|>",
                                                  "<|im_start|>user\n",
                                                  "_x",
                                                  "\r\n",
                                                  std::string(90, 'z')};
  std::string text;
  for (int i = 0; i < num_pieces; ++i) text += pieces[random() % pieces.size()];
  return text;
}

TEST_CASE("published examples") {
  // From the docstrings and public tests of tiktoken 0.14.
  CHECK(Ordinary(Shipped("gpt2"), "hello world") == Ids{31373, 995});
  CHECK(Ordinary(Shipped("cl100k_base"), "hello world") == Ids{15339, 1917});
  CHECK(Ordinary(Shipped("cl100k_base"), "today\n \n") == Ids{31213, 27907});
  CHECK(Ordinary(Shipped("cl100k_base"), "\xF0\x9F\x91\x8D") == Ids{9468, 239, 235});
  CHECK(Ordinary(Shipped("gpt2"), "00000000000000000") == Ids{8269, 10535, 830});
  CHECK(Bytes(Shipped("cl100k_base"), " \xEC\x8B\xA4\xED") == Ids{62085});
  CHECK(Ordinary(Shipped("gpt2"), "").empty());
}

TEST_CASE("ids are appended") {
  Ids ids = {5};
  Shipped("gpt2").EncodeOrdinary("hello world", ids);
  CHECK(ids == Ids{5, 31373, 995});
}

TEST_CASE("counting and fitting agree with encoding") {
  std::mt19937 random(6);
  const Encoding& encoding = Shipped("o200k_base");
  for (int round = 0; round < 200; ++round) {
    const std::string text = RandomText(random, round % 30);
    const std::int64_t num_ids = std::ssize(Ordinary(encoding, text));
    CHECK(encoding.CountOrdinary(text) == num_ids);
    for (const std::int64_t limit : {num_ids - 2, num_ids - 1, num_ids, num_ids + 1}) {
      CHECK(encoding.FitsOrdinary(text, limit) == (num_ids <= limit));
    }
  }
  CHECK(encoding.FitsOrdinary("", 0));
  CHECK_FALSE(encoding.FitsOrdinary("", -1));
  CHECK(encoding.FitsOrdinary("a", INT64_MAX));
}

TEST_CASE("special tokens are cut out of trusted segments only") {
  const Encoding& encoding = Shipped("qwen2");
  const std::string_view start = "<|im_start|>";
  const Ids spelled_out = Ordinary(encoding, start);
  REQUIRE(spelled_out.size() > 1);
  CHECK(Segments(encoding, {{start, true}}) == Ids{151644});
  CHECK(Segments(encoding, {{start, false}}) == spelled_out);
  CHECK(Segments(encoding, {{"<|im_", true}, {"start|>", true}}) == spelled_out);
  CHECK(Segments(encoding, {{"<|im_", true}, {"start|>", false}}) == spelled_out);
  CHECK(Segments(encoding, {{"<|im_", false}, {"start|>", true}}) == spelled_out);
  CHECK(Segments(encoding, {{"x", true}, {start, true}, {"y", false}}) ==
        Joined({Ordinary(encoding, "x"), {151644}, Ordinary(encoding, "y")}));
  CHECK(Segments(encoding, {}).empty());
  CHECK(Segments(encoding, {{"", true}, {"", false}}).empty());
}

TEST_CASE("ordinary text is cut into words across the borders of segments") {
  const Encoding& encoding = Shipped("qwen2");
  CHECK(Segments(encoding, {{"user\n", true}, {"\nhello", false}}) ==
        Ordinary(encoding, "user\n\nhello"));
  CHECK(Segments(encoding, {{"hel", false}, {"lo wor", true}, {"ld", false}}) ==
        Ordinary(encoding, "hello world"));
}

TEST_CASE("trusted segments cut anywhere outside special tokens give the ids of the whole") {
  std::mt19937 random(7);
  const Encoding& encoding = Shipped("qwen3");
  for (int round = 0; round < 200; ++round) {
    const std::string text = RandomText(random, 12);
    const Ids whole = Segments(encoding, {{text, true}});
    Ids with_all;
    encoding.Encode(text, encoding.special_tokens(), with_all);
    REQUIRE(whole == with_all);
    std::size_t cut = random() % (text.size() + 1);
    while (cut < text.size() && (text[cut] & 0xC0) == 0x80) ++cut;  // segments are UTF-8 each
    std::size_t end = 0;
    bool inside_special = false;
    for (const TokenId id : whole) {
      const std::size_t begin = end;
      end += TokenBytes(encoding, id).size();
      inside_special |= encoding.FindSpecialToken(id) != nullptr && begin < cut && cut < end;
    }
    const std::string_view view = text;
    const std::vector<Segment> parts = {{view.substr(0, cut), true}, {view.substr(cut), true}};
    if (!inside_special) CHECK(Segments(encoding, parts) == whole);
  }
}

TEST_CASE("untrusted text never gives a special token") {
  std::mt19937 random(8);
  const Encoding& encoding = Shipped("qwen3");
  for (int round = 0; round < 200; ++round) {
    const std::string a = RandomText(random, 6);
    const std::string b = RandomText(random, 6);
    for (const TokenId id : Segments(encoding, {{a, false}, {b, false}})) {
      CHECK(encoding.FindSpecialToken(id) == nullptr);
    }
  }
}

TEST_CASE("any bytes come back") {
  std::mt19937 random(9);
  for (const char* const name : {"gpt2", "cl100k_base", "o200k_base", "qwen2"}) {
    const Encoding& encoding = Shipped(name);
    const Decoder decoder(encoding);
    for (int round = 0; round < 300; ++round) {
      std::string bytes = RandomText(random, static_cast<int>(random() % 5));
      for (std::size_t i = random() % 40; i > 0; --i) bytes += static_cast<char>(random());
      CHECK(decoder.Decode(Bytes(encoding, bytes)) == bytes);
    }
  }
}

TEST_CASE("unstable ids: the last word, and blanks before a blank one") {
  const Encoding& encoding = Shipped("cl100k_base");
  const auto num_unstable = [&](std::string_view text) {
    Ids ids;
    return encoding.EncodeWithUnstable(text, encoding.special_tokens(), ids);
  };
  CHECK(num_unstable("") == 0);
  CHECK(num_unstable("hello<|endoftext|>") == 0);
  CHECK(num_unstable("hello world") == 1);
  CHECK(num_unstable("hello world\n ") >= 1);
}

TEST_CASE("valid UTF-8 ends where RFC 3629 says") {
  CHECK(ValidUtf8Prefix("") == 0);
  CHECK(ValidUtf8Prefix("plain ASCII, longer than a word") == 31);
  CHECK(ValidUtf8Prefix("a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x91\x8D") == 10);
  CHECK(ValidUtf8Prefix("a\xC3") == 1);             // cut off
  CHECK(ValidUtf8Prefix("a\x80") == 1);             // no first byte
  CHECK(ValidUtf8Prefix("a\xC0\x80") == 1);         // overlong NUL
  CHECK(ValidUtf8Prefix("\xE0\x9F\xBF") == 0);      // overlong
  CHECK(ValidUtf8Prefix("\xED\xA0\x80") == 0);      // surrogate
  CHECK(ValidUtf8Prefix("\xED\x9F\xBF") == 3);      // U+D7FF, just below
  CHECK(ValidUtf8Prefix("\xF4\x8F\xBF\xBF") == 4);  // U+10FFFF
  CHECK(ValidUtf8Prefix("\xF4\x90\x80\x80") == 0);  // above
  CHECK(ValidUtf8Prefix("\xF0\x8F\xBF\xBF") == 0);  // overlong
  CHECK(ValidUtf8Prefix("\xF5\x80\x80\x80") == 0);
  CHECK(ValidUtf8Prefix("12345678\xE4\xB8") == 8);
}

TEST_CASE("single tokens") {
  const Encoding& encoding = Shipped("cl100k_base");
  CHECK(encoding.EncodeSingleToken("hello") == 15339);
  CHECK(encoding.EncodeSingleToken("<|endoftext|>") == 100257);
  CHECK_THROWS_AS(encoding.EncodeSingleToken("hello world"), UnknownTokenError);
  CHECK_THROWS_AS(encoding.EncodeSingleToken(""), UnknownTokenError);
  CHECK(encoding.SpecialTokenId("<|endoftext|>") == TokenId{100257});
  CHECK(encoding.SpecialTokenId("hello") == std::nullopt);
}

TEST_CASE("shipped encodings: sizes as published, fingerprints of what decides the ids") {
  const std::vector<std::pair<const char*, TokenId>> max_ids = {
      {"gpt2", 50256},           {"r50k_base", 50256},    {"p50k_base", 50280},
      {"p50k_edit", 50283},      {"cl100k_base", 100276}, {"o200k_base", 200018},
      {"o200k_harmony", 201087}, {"qwen2", 151664},       {"qwen3", 151668}};
  std::vector<std::string> names;
  for (const auto& [name, max_id] : max_ids) {
    CHECK(Shipped(name).max_token_id() == max_id);
    CHECK(Shipped(name).fingerprint().size() == 32);
    names.emplace_back(name);
  }
  CHECK(ShippedEncodingNames() == names);
  CHECK(Shipped("o200k_harmony").special_tokens().tokens().size() == 1091);
  CHECK(Shipped("gpt2").fingerprint() == Shipped("r50k_base").fingerprint());
  CHECK(Shipped("p50k_base").fingerprint() != Shipped("p50k_edit").fingerprint());
  CHECK(Shipped("qwen2").fingerprint() != Shipped("qwen3").fingerprint());
  CHECK_THROWS_AS(LoadShippedEncoding("nonsense", CTXENGINE_VOCABULARY_DIR), ArgumentError);
  CHECK_THROWS_AS(LoadShippedEncoding("gpt2", "/no/such/directory"), LoadError);
}

TEST_CASE("special tokens whose ids cannot be are refused") {
  const Vocabulary vocabulary = testing::MakeVocabulary(testing::WithSingleBytes({}));
  const auto make = [&](TokenId id) {
    return Encoding("tiny", Pattern::kCl100k, vocabulary, SpecialTokens({{"<x>", id}}));
  };
  CHECK(make(256).max_token_id() == 256);
  CHECK_THROWS_WITH_AS(make(97), "special token <x> has the id 97 of an ordinary token", LoadError);
  CHECK_THROWS_AS(make(0x80000000), LoadError);
}

/// Checks that texts encoded and counted together have the ids that they have by themselves.
void CheckTogether(const Encoding& encoding, const std::vector<std::string>& texts) {
  IdMemory ids;
  ids.Push(7);
  Ids expected = {7};
  std::vector<std::int64_t> expected_sizes;
  for (const std::string& text : texts) {
    encoding.EncodeOrdinary(text, expected);
    expected_sizes.push_back(std::ssize(expected));
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  std::vector<std::int64_t> sizes(texts.size());
  encoding.EncodeTexts(views, ids, sizes.data());
  REQUIRE(Ids(ids.view().begin(), ids.view().end()) == expected);
  REQUIRE(sizes == expected_sizes);
  encoding.CountTexts(views, sizes.data());
  for (std::int64_t& size : sizes) ++size;
  REQUIRE(sizes == expected_sizes);
}

TEST_CASE("texts together have the ids that they have one by one") {
  std::mt19937 random(11);
  // The last ones are what block scanners leave to others.
  const std::vector<std::string> hard = {"",
                                         " ",
                                         "\n \n",
                                         "'",
                                         "'l",
                                         "x\u0301",
                                         "\u200d",
                                         "  ",
                                         "123",
                                         "\u65e5",
                                         "a\u0300",
                                         " \u0301\u0301",
                                         " \u0301 \u0301 ",
                                         "\u093e"};
  for (const char* const name : {"gpt2", "cl100k_base", "o200k_base", "qwen2", "qwen3"}) {
    CAPTURE(name);
    for (int round = 0; round < 60; ++round) {
      std::vector<std::string> texts;
      for (std::size_t i = random() % 400; i > 0; --i) {
        const bool is_long = random() % 50 == 0;
        texts.push_back(
            random() % 4 == 0
                ? hard[random() % hard.size()]
                : RandomText(random, static_cast<int>(random() % (is_long ? 900 : 30))));
        if (random() % 40 == 0) texts.push_back(std::string(random() % 200, 'x'));
        if (random() % 200 == 0) texts.push_back(std::string(random() % 9000, 'y'));
        if (random() % 5 == 0) texts.back() += hard[random() % hard.size()];
      }
      CheckTogether(Shipped(name), texts);
    }
  }
  for (const auto& [what, encoding] : testing::KindsOfEncodings()) {
    CAPTURE(what);
    std::vector<std::string> texts;
    for (int i = 0; i < 500; ++i) texts.push_back(testing::HardText(random, random() % 40));
    CheckTogether(*encoding, texts);
  }
  CheckTogether(Shipped("cl100k_base"), {});
  CheckTogether(Shipped("cl100k_base"), std::vector<std::string>(1000));
}

TEST_CASE("failing allocations leave the ids as they were") {
  const Encoding& encoding = Shipped("qwen2");
  const std::string text = "<|im_start|>user\nHello, unbelievable wrld " + std::string(3000, 'x');
  const std::vector<Segment> segments = {{text, true}, {text, false}};
  Ids ids = {7};
  const auto check = [&] { CHECK(ids == Ids{7}); };
  const auto survives = [&](auto operation) {
    ids = {7};
    ids.shrink_to_fit();
    CHECK(ctx::testing::FailEveryAllocation(operation, check) > 0);
    CHECK(ids.front() == 7);
  };
  survives([&] { encoding.EncodeOrdinary(text, ids); });
  survives([&] { encoding.Encode(text, encoding.special_tokens(), ids); });
  survives([&] { encoding.EncodeWithUnstable(text, encoding.special_tokens(), ids); });
  survives([&] { encoding.EncodeSegments(segments, ids); });
  survives([&] { encoding.EncodeBytes(text + "\xFF", ids); });
  survives([&] {
    const std::vector<std::string_view> texts = {"Hello, ", text, "wrld"};
    std::vector<std::int64_t> sizes(texts.size());
    IdVectorEnd end(ids);
    encoding.EncodeTexts(texts, end, sizes.data());
  });
  survives([&] { encoding.EncodePreToken(text, ids); });
  survives([&] { (void)encoding.CountOrdinary(text); });
  survives([&] { (void)encoding.CountSegments(segments); });
  survives([&] { (void)encoding.FitsOrdinary(text, 10'000); });
  survives([&] { (void)LoadShippedEncoding("r50k_base", CTXENGINE_VOCABULARY_DIR); });
}

TEST_CASE("one encoding serves many threads") {
  const Encoding& encoding = Shipped("cl100k_base");
  std::mt19937 random(10);
  const std::string text = RandomText(random, 400);
  const Ids expected = Ordinary(encoding, text);
  const Decoder decoder(encoding);
  std::atomic<int> num_wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        Ids ids;
        encoding.EncodeOrdinary(text, ids);
        const std::string decoded = decoder.Decode(ids);
        const std::vector<Segment> segments = {{text, true}, {"<|endoftext|>", false}};
        encoding.CountSegments(segments);
        if (ids != expected || decoded != text || encoding.CountOrdinary(text) != std::ssize(ids)) {
          ++num_wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(num_wrong == 0);
}

}  // namespace
}  // namespace ctx::tokenize
