#include "common/sha256.h"

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "doctest/doctest.h"

namespace ctx {
namespace {

std::span<const std::uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string Hex(const Sha256Digest& digest) {
  std::string hex;
  for (const std::uint8_t byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::vector<Sha256Implementation> Supported() {
  std::vector<Sha256Implementation> all = {Sha256Implementation::kPortable};
  if (IsSupported(Sha256Implementation::kShaNi)) all.push_back(Sha256Implementation::kShaNi);
  return all;
}

// The examples of FIPS 180-2, appendix B, and the digest of the empty message.
TEST_CASE("every implementation gives the published digests") {
  for (const auto implementation : Supported()) {
    CAPTURE(static_cast<int>(implementation));
    CHECK(Hex(Sha256(Bytes(""), implementation)) ==
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(Hex(Sha256(Bytes("abc"), implementation)) ==
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(Hex(Sha256(Bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                     implementation)) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(Hex(Sha256(Bytes(std::string(1000000, 'a')), implementation)) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST_CASE("the implementations agree at every length and alignment") {
  std::mt19937 random(1);
  std::vector<std::uint8_t> data(700);
  for (auto& byte : data) byte = static_cast<std::uint8_t>(random());
  for (std::size_t size = 0; size <= 600; ++size) {
    const std::span<const std::uint8_t> message(data.data() + size % 17, size);
    const Sha256Digest want = Sha256(message, Sha256Implementation::kPortable);
    CHECK(Sha256(message) == want);
    for (const auto implementation : Supported()) CHECK(Sha256(message, implementation) == want);
  }
}

}  // namespace
}  // namespace ctx
