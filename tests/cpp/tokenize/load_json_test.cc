#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/load/json.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using load::JsonDocument;
using load::JsonValue;
using testing::LoadErrorOf;

std::string ErrorOf(const std::string& text) {
  return LoadErrorOf([&] { JsonDocument(text, "f.json"); });
}

TEST_CASE("json: values and their kinds") {
  const JsonDocument document(
      R"({"a": [1, "x\u00e9\ud83d\ude00", true, null], "b": {"c": -0.5}, "d": 2147483647})",
      "f.json");
  const JsonValue root = document.root();
  const std::vector<JsonValue> a = root.At("a").Items();
  REQUIRE(a.size() == 4);
  CHECK(a[0].Id() == 1);
  CHECK(a[1].String() == "x\u00e9\U0001F600");
  CHECK(a[2].Boolean());
  CHECK(a[3].IsNull());
  CHECK(root.At("b").At("c").Number() == -0.5);
  CHECK(root.At("d").Id() == 2147483647U);
  CHECK(!root.Find("e").has_value());
  CHECK(root.Members()[1].key == "b");
  CHECK(a[3].Path() == "a[3]");
  CHECK(root.At("b").At("c").Path() == "b.c");
  CHECK(root.Path().empty());
}

TEST_CASE("json: a value of another type is refused with its path") {
  const JsonDocument document(
      R"({"a": {"b": [1.0, 1e3, -1, 2147483648, 18446744073709551615, "x"]}})", "f.json");
  const std::vector<JsonValue> items = document.root().At("a").At("b").Items();
  const auto error = [&](std::size_t i) { return LoadErrorOf([&] { items[i].Id(); }); };
  CHECK(error(0) == "f.json: a.b[0]: must be an integer");
  CHECK(error(1) == "f.json: a.b[1]: must be an integer");
  CHECK(error(2) == "f.json: a.b[2]: must be at least 0 and below 2^31");
  CHECK(error(3) == "f.json: a.b[3]: must be at least 0 and below 2^31");
  CHECK(error(4) == "f.json: a.b[4]: must be at least 0 and below 2^31");
  CHECK(error(5) == "f.json: a.b[5]: must be an integer");
  CHECK(LoadErrorOf([&] { items[0].String(); }) == "f.json: a.b[0]: must be a string");
  CHECK(LoadErrorOf([&] { document.root().Items(); }) == "f.json: must be an array");
  CHECK(LoadErrorOf([&] { document.root().At("x"); }) == "f.json: has no \"x\"");
  CHECK(LoadErrorOf([&] { document.root().At("a").At("x"); }) == "f.json: a: has no \"x\"");
  CHECK(LoadErrorOf([&] { document.root().RequireKnownKeys({"b"}); }) ==
        "f.json: a: is not supported");
}

// "model_max_length" of many a tokenizer_config.json is int(1e30) of Python.
TEST_CASE("json: integers of any size are numbers, but no ids") {
  const JsonDocument document(
      R"({"a": 1000000000000000019884624838656, "b": "9999999999999999999999 \" 99999999999999999999",
          "c": [-99999999999999999999999, 18446744073709551616, 7], "d": 123456789012345678901.5})",
      "f.json");
  const JsonValue root = document.root();
  CHECK(root.At("a").Number() == doctest::Approx(1e30));
  CHECK(LoadErrorOf([&] { root.At("a").Id(); }) == "f.json: a: must be an integer");
  CHECK(root.At("b").String() == "9999999999999999999999 \" 99999999999999999999");
  CHECK(root.At("c").Items()[0].Number() == doctest::Approx(-1e23));
  CHECK(root.At("c").Items()[2].Id() == 7);
  CHECK(root.At("d").Number() == doctest::Approx(1.234567890123456789e20));
}

TEST_CASE("json: a key that comes twice is refused with its path") {
  CHECK(ErrorOf(R"({"a": 1, "b": 2, "a": 3})") == "f.json: a: this key is there twice");
  CHECK(ErrorOf(R"([{}, {"m": {"v": {"x": 1, "\u0078": 2}}}])") ==
        "f.json: [1].m.v.x: this key is there twice");
}

TEST_CASE("json: what is no JSON is refused with its line") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "f.json:1: "},
      {" \n ", "f.json:"},
      {"\xEF\xBB\xBF{}", "f.json:1: begins with a byte order mark"},
      {"{\n\"a\": 1,\n\"b\" 2\n}", "f.json:3: "},
      {"{\n\"a\": 1,\n}", "f.json:3: "},
      {"[1,\n2,\n3\n", "f.json:"},
      {"[1,\n2]\n]", "f.json:"},
      {"{\"a\":\n01}", "f.json:2: "},
      {"{\"a\":\n+1}", "f.json:2: "},
      {"{\"a\":\n.5}", "f.json:2: "},
      {"{\"a\":\nNaN}", "f.json:2: "},
      {"{\"a\":\n'x'}", "f.json:2: "},
      {"{\"a\":\ntrUe}", "f.json:2: "},
      {"{\"a\":\n\n\"x", "f.json:3: "},
      {"{\"a\":\n\"x\ny\"}", "f.json:2: "},
      {"{\"a\":\n\"\\x\"}", "f.json:2: "},
      {"{\"a\":\n\"\\ud800\"}", "f.json:2: "},
      {"{\"a\":\n\"\\udc00\"}", "f.json:2: "},
      {"{\"a\":\n\"\\ud800\\u0041\"}", "f.json:2: "},
      {"{\"a\":\n\"\xFF\"}", "f.json:2: "},
      {"{\"a\":\n\"\xED\xA0\x80\"}", "f.json:2: "},
      {"{\"a\":\n\"\xC0\x80\"}", "f.json:2: "},
      {"// x\n{}", "f.json:1: "},
      {"{\"a\":\n1} x", "f.json:"},
      {std::string("{\"a\": 1}\0", 9), "f.json:1: "},
  };
  for (const auto& [text, message] : cases) {
    CAPTURE(text);
    CHECK(ErrorOf(text).substr(0, message.size()) == message);
  }
}

TEST_CASE("json: depth is bounded, however deep the text") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(ErrorOf(nested(load::kMaxJsonDepth - 1)).empty());
  CHECK(ErrorOf(nested(load::kMaxJsonDepth + 1)) == "f.json:1: JSON nested deeper than 64 levels");
  CHECK(ErrorOf(nested(1'000'000)) == "f.json:1: JSON nested deeper than 64 levels");
  CHECK(ErrorOf(std::string(1'000'000, '[')).substr(0, 9) == "f.json:1:");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(ErrorOf(objects).substr(0, 9) == "f.json:1:");
}

TEST_CASE("json: messages stay valid UTF-8 of bounded length") {
  const std::string key(100'000, 'k');
  const std::string error = ErrorOf("{\"" + key + "\": 1, \"" + key + "\": 2}");
  CHECK(error == "f.json: " + key.substr(0, 64) + "...: this key is there twice");
  CHECK(load::Shown(std::string(63, 'x') + "\u00e9\u00e9") == std::string(63, 'x') + "\u00e9...");
  CHECK(load::Shown("a\xFF\n\u2581") == "a\\xFF\\x0A\u2581");
}

}  // namespace
}  // namespace ctx::tokenize
