#include "tokenize/bpe/merge_memo.h"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "doctest/doctest.h"

namespace ctx::tokenize {
namespace {

template <typename Memo>
typename Memo::Key KeyOf(const std::string& bytes, bool all_readable = false) {
  typename Memo::Key key;
  const std::string padded = bytes + std::string(Memo::kMaxBytes, 'p');
  const std::string& from = all_readable ? padded : bytes;
  key.Set(from.data(), bytes.size(), from.data() + from.size());
  return key;
}

template <typename Memo>
std::vector<TokenId> Find(const Memo& memo, const std::string& bytes) {
  const auto key = KeyOf<Memo>(bytes);
  std::array<TokenId, Memo::kMaxIds + 8> ids;
  const std::size_t count = memo.Find(key, ids.data());
  if (count == kMoreIds) return {~TokenId{0}};
  return {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count)};
}

std::string RandomBytes(std::mt19937& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random() % 256);
  return bytes;
}

TEST_CASE_TEMPLATE("what a memo with room is told it knows", Memo, MiddleMemo, LongMemo) {
  std::mt19937 random(5);
  const std::vector<TokenId> note = {~TokenId{0}};
  for (std::size_t size = 1; size <= Memo::kMaxBytes; ++size) {
    Memo memo;
    // Zeros at the end are not padding.
    std::vector<std::string> told = {RandomBytes(random, size - 1) + '\0'};
    std::vector<std::vector<TokenId>> expected = {note};
    for (std::size_t count = 1; count <= Memo::kMaxIds; count += count < 9 ? 1 : 5) {
      told.push_back(RandomBytes(random, size - 1) + static_cast<char>(count));
      expected.emplace_back(count);
      for (TokenId& id : expected.back()) id = static_cast<TokenId>(random() % (1 << 24));
    }
    for (std::size_t i = 0; i < told.size(); ++i) {
      CHECK(Find(memo, told[i]).empty());
      memo.Store(KeyOf<Memo>(told[i], i % 2 == 0), expected[i].data(),
                 expected[i] == note ? kMoreIds : expected[i].size());
    }
    for (std::size_t i = 0; i < told.size(); ++i) CHECK(Find(memo, told[i]) == expected[i]);
  }
}

TEST_CASE_TEMPLATE("what comes once does not displace what a memo knows, what comes again does",
                   Memo, MiddleMemo, LongMemo) {
  std::mt19937 random(6);
  Memo memo;
  const TokenId id = 7;
  std::vector<std::string> early(500);
  for (std::string& bytes : early) {
    bytes = RandomBytes(random, Memo::kMaxBytes);
    memo.Store(KeyOf<Memo>(bytes), &id, 1);
  }
  const auto num_known = [&] {
    return std::count_if(early.begin(), early.end(),
                         [&](const std::string& bytes) { return !Find(memo, bytes).empty(); });
  };
  for (std::size_t i = 0; i < 4 * Memo::kNumSlots; ++i) {
    memo.Store(KeyOf<Memo>(RandomBytes(random, Memo::kMaxBytes)), &id, 1);
  }
  CHECK(num_known() > 250);
  const std::string again = RandomBytes(random, Memo::kMaxBytes);
  memo.Store(KeyOf<Memo>(again), &id, 1);
  memo.Store(KeyOf<Memo>(again), &id, 1);
  CHECK(Find(memo, again) == std::vector<TokenId>{7});
}

}  // namespace
}  // namespace ctx::tokenize
