#include "tokenize/bpe/vocabulary.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <utility>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/bpe/hash_key.h"
#include "tokenize/shipped.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

using testing::MakeVocabulary;
using testing::Ranks;
using testing::WithSingleBytes;

/// A file that is gone when the object is.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content)
      : path_((std::filesystem::temp_directory_path() / "ctxengine_vocabulary_XXXXXX").string()) {
    const int fd = ::mkstemp(path_.data());
    REQUIRE(fd >= 0);
    ::close(fd);
    std::ofstream(path_, std::ios::binary).write(content.data(), std::ssize(content));
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string U32(std::uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> 8 * i);
  return bytes;
}

std::string Packed(const std::vector<std::string>& rows, std::uint32_t first_rank = 0) {
  std::string file = "CTXVOC01" + U32(static_cast<std::uint32_t>(rows.size())) + U32(first_rank);
  for (const std::string& row : rows) file += static_cast<char>(row.size()) + row;
  return file;
}

std::vector<std::string> SingleByteRows() {
  std::vector<std::string> rows;
  for (int byte = 0; byte < 256; ++byte) rows.emplace_back(1, static_cast<char>(byte));
  return rows;
}

Vocabulary Load(const std::vector<std::string>& contents) {
  std::vector<std::unique_ptr<TemporaryFile>> files;
  std::vector<std::string> paths;
  for (const std::string& content : contents) {
    files.push_back(std::make_unique<TemporaryFile>(content));
    paths.push_back(files.back()->path());
  }
  return Vocabulary::FromPackedFiles(paths);
}

/// What a LoadError says after the name of the file.
std::string Complaint(const std::vector<std::string>& contents) {
  try {
    Load(contents);
  } catch (const LoadError& error) {
    const std::string message = error.what();
    return message.substr(message.find(": ") + 2);
  }
  return "no error";
}

TEST_CASE("zeroed arrays are zeros, whatever their size") {
  constexpr std::size_t kLargePage = std::size_t{1} << 21;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, kLargePage / 8 - 1, kLargePage / 8, kLargePage / 8 + 1,
        std::size_t{8191}, std::size_t{8192}, std::size_t{1000000}}) {
    ZeroedArray<std::uint64_t> array(size);
    REQUIRE(array.size() == size);
    REQUIRE(std::all_of(array.begin(), array.end(), [](std::uint64_t word) { return word == 0; }));
    std::iota(array.begin(), array.end(), 1);
    const ZeroedArray<std::uint64_t> moved = std::move(array);
    CHECK(array.size() == 0);
    for (std::size_t i = 0; i < size; ++i) REQUIRE(moved[i] == i + 1);
  }
}

TEST_CASE("packed files: rows, holes, and a second file that goes on") {
  std::vector<std::string> rows = SingleByteRows();
  rows.insert(rows.end(), {"", "ab", std::string(255, 'q')});
  const Vocabulary vocabulary = Load({Packed(rows), Packed({"", "later"}, 259)});
  CHECK(vocabulary.num_ranks() == 261);
  CHECK(vocabulary.num_tokens() == 259);
  CHECK(vocabulary.max_token_bytes() == 255);
  CHECK(vocabulary.Bytes(256).empty());
  CHECK(vocabulary.Bytes(257) == "ab");
  CHECK(vocabulary.Bytes(260) == "later");
  CHECK(vocabulary.Bytes(261).empty());
  CHECK(vocabulary.Bytes(kNoToken).empty());
  CHECK(vocabulary.Find("ab") == 257);
  CHECK(vocabulary.Find("later") == 260);
  CHECK(vocabulary.Find(std::string(255, 'q')) == 258);
  CHECK(vocabulary.Find(std::string(254, 'q')) == kNoToken);
  CHECK(vocabulary.FindPair('a', 'b') == 257);
  CHECK(vocabulary.FindPair('b', 'a') == kNoToken);
  CHECK(vocabulary.ByteToken(0xFF) == 0xFF);
}

TEST_CASE("broken files are refused, with the reason") {
  std::vector<std::string> rows = SingleByteRows();
  const std::string good = Packed(rows);
  CHECK(Complaint({good}) == "no error");
  CHECK(Complaint({""}) == "0 bytes, shorter than the 16-byte header");
  CHECK(Complaint({good.substr(0, 15)}) == "15 bytes, shorter than the 16-byte header");
  CHECK(Complaint({"CTXVOC02" + good.substr(8)}) == "does not begin with CTXVOC01");
  CHECK(Complaint({good.substr(0, good.size() - 1)}) == "truncated in row 255 of 256");
  CHECK(Complaint({good.substr(0, good.size() - 2)}) == "truncated in row 255 of 256");
  CHECK(Complaint({good + "x"}) == "1 bytes follow the last row");
  CHECK(Complaint({Packed(rows, 0xFFFFFFFF)}) ==
        "row 0 has rank 4294967295, the limit is 16777215");
  CHECK(Complaint({good, Packed({"zz"}, 255)}) == "begins with rank 255, but 256 is next");
  CHECK(Complaint({good, Packed({"zz"}, 257)}) == "begins with rank 257, but 256 is next");
  CHECK(Complaint({Packed(rows, 1)}) == "begins with rank 1, but 0 is next");
  CHECK(Complaint({good.substr(0, 8) + U32(0xFFFFFF) + good.substr(12)}) ==
        "truncated in row 256 of 16777215");
  CHECK(Complaint({good, Packed({"a"}, 256)}) == "token 'a' has two ranks, 97 and 256");
  rows[7] = "";
  CHECK(Complaint({Packed(rows)}) ==
        "no token for the single byte 7; a byte-level vocabulary needs all 256");
  CHECK_THROWS_AS(Vocabulary::FromPackedFiles(std::array{std::string("/no/such/file")}), LoadError);
  CHECK_THROWS_AS(Vocabulary::FromPackedFiles(std::array{std::string("/")}), LoadError);
  CHECK_THROWS_AS(Vocabulary::FromPackedFiles({}), LoadError);
}

TEST_CASE("every cut of a file at every length is refused and none crashes") {
  const std::string good = Packed(SingleByteRows());
  for (std::size_t size = 0; size < good.size(); size += 3) {
    CHECK(Complaint({good.substr(0, size)}) != "no error");
  }
}

TEST_CASE("ranks: what cannot be a vocabulary is refused") {
  const auto complaint = [](std::string_view token, TokenId id) {
    const Ranks ranks = WithSingleBytes({});
    std::vector<std::pair<std::string_view, TokenId>> pairs(ranks.begin(), ranks.end());
    pairs.emplace_back(token, id);
    try {
      Vocabulary::FromRanks(pairs);
    } catch (const LoadError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  CHECK(complaint("ab", 256) == "no error");
  CHECK(complaint("ab", 50'000) == "no error");
  CHECK(complaint("ab", Vocabulary::kMaxTokens - 1) ==
        "ids reach 16777215 though there are only 257 tokens: too many holes");
  CHECK(complaint("ab", Vocabulary::kMaxTokens) ==
        "token id 16777216 is too large, the limit is 16777215");
  CHECK(complaint("ab", 97) == "token id 97 is given twice");
  CHECK(complaint("\xFF", 256) == "token '\\xff' has two ranks, 255 and 256");
  CHECK(complaint("", 256) == "token 256 is empty");
  CHECK(complaint(std::string(65535, 'a'), 256) == "no error");
  CHECK(complaint(std::string(65536, 'a'), 256) == "token 256 has 65536 bytes, the limit is 65535");
}

TEST_CASE("look-up: keys of every length, near misses, and NUL bytes") {
  std::vector<std::string> tokens;
  for (std::size_t size = 2; size <= 40; ++size) {
    tokens.push_back(std::string(size, '\0'));
    tokens.push_back(std::string(size - 1, 'k') + '\0');
  }
  const Ranks ranks = WithSingleBytes(tokens);
  const Vocabulary vocabulary = MakeVocabulary(ranks);
  for (const auto& [token, id] : ranks) {
    CHECK(vocabulary.Find(token) == id);
    // The same bytes in the middle of a buffer, where whole words are read.
    const std::string buffer = "xyz" + token + "0123456789";
    CHECK(vocabulary.Find(buffer.data() + 3, token.size(), buffer.data() + buffer.size()) == id);
    for (std::size_t i = 1; i < token.size(); ++i) {
      std::string other = token;
      other[i] = static_cast<char>(other[i] + 1);
      const auto known = ranks.find(other);
      CHECK(vocabulary.Find(other) == (known == ranks.end() ? kNoToken : known->second));
    }
  }
}

TEST_CASE("look-up of pairs: the filter hides no token and invents none") {
  const Vocabulary& vocabulary = testing::Shipped("o200k_base").vocabulary();
  std::string joined;
  for (TokenId id = 0; id < vocabulary.num_ranks(); ++id) {
    const std::string_view bytes = vocabulary.Bytes(id);
    if (bytes.empty()) continue;
    const char* const end = bytes.data() + bytes.size();
    REQUIRE(vocabulary.FindMerged(bytes.data(), bytes.size(), end) == id);
    joined.assign(bytes).append(vocabulary.Bytes(id / 2));
    REQUIRE(vocabulary.FindMerged(joined.data(), joined.size(), joined.data() + joined.size()) ==
            vocabulary.Find(joined));
  }
}

/// 8-byte words whose hashes under this key begin with the same bits, nearly all of them: steps of
/// a width that is small, and whose product with the multiplier is small too, but for a multiple of
/// 2^64. (Euclid's algorithm finds one.)
std::vector<std::uint64_t> CollidingWords(const HashKey& key, std::size_t count) {
  using Wide = unsigned __int128;
  Wide rest = Wide{1} << 64;
  Wide next_rest = key.multiplier;
  std::uint64_t step = 0;
  std::uint64_t next_step = 1;
  while (next_rest >> 32 != 0) {
    const Wide quotient = rest / next_rest;
    rest = std::exchange(next_rest, rest % next_rest);
    step = std::exchange(next_step, step + static_cast<std::uint64_t>(quotient) * next_step);
  }
  std::vector<std::uint64_t> words;
  for (std::size_t i = 0; i < count; ++i) {
    words.push_back((0x123456789ABCDEF0 + i * next_step) ^ key.mask);
  }
  return words;
}

double SecondsToLoad(const std::vector<std::uint64_t>& words) {
  Ranks ranks = WithSingleBytes({});
  for (const std::uint64_t word : words) {
    // As the table hashes it: a word and its length.
    std::string token;
    for (int i = 0; i < 8; ++i) token += static_cast<char>((word ^ 8) >> 8 * i);
    ranks.emplace(token, static_cast<TokenId>(ranks.size()));
  }
  REQUIRE(ranks.size() == 256 + words.size());
  const std::vector<std::pair<std::string_view, TokenId>> pairs(ranks.begin(), ranks.end());
  const auto begin = std::chrono::steady_clock::now();
  const Vocabulary vocabulary = Vocabulary::FromRanks(pairs);
  for (const auto& [token, id] : ranks) REQUIRE(vocabulary.Find(token) == id);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST_CASE("tokens made to collide load as fast as others: nobody knows the key") {
  constexpr std::size_t kCount = 80'000;
  const HashKey known = {0, 0x9E3779B97F4A7C15};
  const std::vector<std::uint64_t> colliding = CollidingWords(known, kCount);
  std::map<std::uint64_t, std::size_t> places;  // that they would have if this were the key
  for (const std::uint64_t word : colliding) ++places[known.Mix(word) >> 46];
  REQUIRE(places.size() < 64);
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> other(kCount);
  std::generate(other.begin(), other.end(), random);
  double least = 1e9;
  double least_of_other = 1e9;
  for (int i = 0; i < 3; ++i) {
    least = std::min(least, SecondsToLoad(colliding));
    least_of_other = std::min(least_of_other, SecondsToLoad(other));
  }
  CHECK(least < 5 * least_of_other);
}

TEST_CASE("loading survives failing allocations") {
  const TemporaryFile file(Packed(SingleByteRows()));
  const std::vector<std::string> paths = {file.path()};
  CHECK(ctx::testing::FailEveryAllocation([&] { Vocabulary::FromPackedFiles(paths); }, [] {}) > 0);
  const Ranks ranks = WithSingleBytes({"ab"});
  CHECK(ctx::testing::FailEveryAllocation([&] { MakeVocabulary(ranks); }, [] {}) > 0);
}

}  // namespace
}  // namespace ctx::tokenize
