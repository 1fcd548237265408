#include "common/sha256.h"

#include <algorithm>
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

// A link is the message with the digest before it put in its place, whatever that place is.
TEST_CASE("links of chains are messages") {
  std::mt19937 random(2);
  for (std::size_t size = 48; size <= 400; size += 1 + size / 50) {
    for (const std::size_t offset : {0, 1, 2, 3, 7, 13, 15}) {
      std::vector<std::uint8_t> padded[2];
      Sha256Link links[2];
      Sha256Words before[2], want[2];
      for (int i = 0; i < 2; ++i) {
        padded[i].resize(2 * size + kSha256MaxPadding);
        const std::size_t own_size = i == 0 ? size : 48 + random() % (2 * size - 48);
        for (auto& byte : padded[i]) byte = static_cast<std::uint8_t>(random());
        for (auto& word : before[i].words) word = static_cast<std::uint32_t>(random());
        std::vector<std::uint8_t> message(padded[i].begin(), padded[i].begin() + own_size);
        StoreDigest(before[i], message.data() + offset);
        want[i] = WordsOf(Sha256(message, Sha256Implementation::kPortable));
        std::fill_n(padded[i].begin() + offset, 32, std::uint8_t{0});
        links[i] = {padded[i].data(), Sha256Pad(padded[i].data(), own_size), offset};
      }
      for (const auto implementation : Supported()) {
        Sha256Words one = before[0];
        Sha256Append(links[0], &one, implementation);
        CHECK(one.words == want[0].words);
        Sha256Words two[2] = {before[0], before[1]};
        Sha256AppendTwo(links, two, implementation);
        CHECK(two[0].words == want[0].words);
        CHECK(two[1].words == want[1].words);
      }
    }
  }
}

}  // namespace
}  // namespace ctx
