#include "prefix/cbor.h"

#include <limits>
#include <string>

#include "doctest/doctest.h"

namespace ctx::prefix {
namespace {

std::string Hex(std::span<const std::uint8_t> bytes) {
  std::string hex;
  for (const std::uint8_t byte : bytes) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string Integer(std::int64_t value) {
  CborWriter cbor;
  cbor.Int(value);
  return Hex(cbor.bytes());
}

// Examples of RFC 8949, appendix A, and the values on either side of each change of length.
TEST_CASE("integers have the shortest head") {
  CHECK(Integer(0) == "00");
  CHECK(Integer(23) == "17");
  CHECK(Integer(24) == "1818");
  CHECK(Integer(255) == "18ff");
  CHECK(Integer(256) == "190100");
  CHECK(Integer(1000) == "1903e8");
  CHECK(Integer(65535) == "19ffff");
  CHECK(Integer(65536) == "1a00010000");
  CHECK(Integer(1000000) == "1a000f4240");
  CHECK(Integer(4294967295) == "1affffffff");
  CHECK(Integer(4294967296) == "1b0000000100000000");
  CHECK(Integer(1000000000000) == "1b000000e8d4a51000");
  CHECK(Integer(-1) == "20");
  CHECK(Integer(-24) == "37");
  CHECK(Integer(-25) == "3818");
  CHECK(Integer(-1000) == "3903e7");
  CHECK(Integer(std::numeric_limits<std::int64_t>::min()) == "3b7fffffffffffffff");
}

TEST_CASE("token arrays equal arrays of integers") {
  const TokenId ids[] = {0, 23, 24, 255, 256, 65535, 65536, 2147483647, 4294967295};
  CborWriter tokens, integers;
  tokens.TokenArray(ids);
  integers.Array(std::size(ids));
  for (const TokenId id : ids) integers.Int(id);
  CHECK(Hex(tokens.bytes()) == Hex(integers.bytes()));
  CHECK(Hex(tokens.bytes()).substr(0, 2) == "89");
}

TEST_CASE("strings, null and long arrays") {
  CborWriter cbor;
  cbor.Text("\xc3\xbc");  // RFC 8949: "\u00fc"
  const std::uint8_t bytes[] = {1, 2, 3, 4};
  cbor.Bytes(bytes);
  cbor.Null();
  cbor.Array(25);
  CHECK(Hex(cbor.bytes()) ==
        "62c3bc"
        "4401020304"
        "f6"
        "9819");
  cbor.Clear();
  CHECK(cbor.bytes().empty());
}

}  // namespace
}  // namespace ctx::prefix
