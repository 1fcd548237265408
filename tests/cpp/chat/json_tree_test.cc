#include "chat/json_tree.h"

#include <string>

#include "common/error.h"
#include "doctest/doctest.h"

namespace ctx::chat {
namespace {

std::string Rewritten(std::string_view json) {
  std::string out;
  WriteLikeSerde(ParseJson(json, 8, "here"), "here", out);
  return out;
}

TEST_CASE("values keep their order and lose their white space") {
  CHECK(Rewritten(R"( { "b" : [ 1 , null, true ] , "a" : { } } )") ==
        R"({"b":[1,null,true],"a":{}})");
  CHECK(Rewritten(R"("\u00e9\ud83d\ude00\/\u0001\n\"")") == "\"é😀/\\u0001\\n\\\"\"");
}

TEST_CASE("numbers as serde_json writes what it has read") {
  CHECK(Rewritten("[0,-0,18446744073709551615,18446744073709551616]") ==
        "[0,-0.0,18446744073709551615,1.8446744073709552e19]");
  CHECK(Rewritten("[-9223372036854775808,-9223372036854775809]") ==
        "[-9223372036854775808,-9.223372036854776e18]");
  CHECK(Rewritten("[1.0,1e15,1e16,0.00001,0.000001,5e-324,1e-400]") ==
        "[1.0,1000000000000000.0,1e16,0.00001,1e-6,5e-324,0.0]");
  // Not the nearest double: digits and power of ten are rounded one after the other.
  CHECK(Rewritten("5.2887556741632595e+90") == "5.288755674163259e90");
  CHECK_THROWS_WITH_AS(Rewritten("1e400"), "here: the number 1e400 is out of range", ArgumentError);
}

TEST_CASE("what is no JSON, and what is too deep, is refused") {
  for (const std::string_view bad :
       {"", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "01", "1.", "1e", "-", "tru", "\"\\x\"", "\"a",
        "\"\\ud800\"", "\"\\u12g4\"", "\"\n\"", "1 2", "'a'"}) {
    CHECK_THROWS_AS(Rewritten(bad), ArgumentError);
  }
  CHECK(Rewritten("[[[[[[[[]]]]]]]]") == "[[[[[[[[]]]]]]]]");
  CHECK_THROWS_WITH_AS(Rewritten("[[[[[[[[[]]]]]]]]]"), "here: nested deeper than 8 levels",
                       ArgumentError);
}

}  // namespace
}  // namespace ctx::chat
