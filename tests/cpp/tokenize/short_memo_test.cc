#include "tokenize/bpe/short_memo.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "doctest/doctest.h"

namespace ctx::tokenize {
namespace {

const std::vector<TokenId> kNote = {~TokenId{0}};

ShortMemo::Key KeyOf(const std::string& bytes, bool all_readable = false) {
  ShortMemo::Key key;
  const std::string padded = bytes + std::string(16, 'p');
  const std::string& from = all_readable ? padded : bytes;
  key.Set(from.data(), bytes.size(), from.data() + from.size());
  return key;
}

std::vector<TokenId> IdsOf(const FewIds& few) {
  std::vector<TokenId> ids;
  for (const TokenId id : few.ids) {
    if ((id & FewIds::kThere) != 0) ids.push_back(id & ~FewIds::kThere);
  }
  return ids;
}

std::vector<TokenId> Find(const ShortMemo& memo, const std::string& bytes) {
  FewIds few = {};
  const std::size_t count = memo.Find(KeyOf(bytes), few);
  if (count == kMoreIds) return kNote;
  if (count == 0) return {};
  CHECK(IdsOf(few).size() == count);
  return IdsOf(few);
}

void Store(ShortMemo& memo, const std::string& bytes, const std::vector<TokenId>& ids) {
  memo.Store(KeyOf(bytes, bytes.size() % 2 == 0), ids.data(), ids == kNote ? kMoreIds : ids.size());
}

std::string RandomBytes(std::mt19937& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random() % 256);
  return bytes;
}

/// Looks up pre-tokens that follow each other, each of `asked`: what it finds, nothing for others.
std::vector<std::vector<TokenId>> FindMany(const ShortMemo& memo,
                                           const std::vector<std::string>& pre_tokens,
                                           const std::vector<bool>& asked) {
  std::string text;
  std::vector<std::uint16_t> ends = {0};
  const auto batch = std::make_unique<ShortMemo::Batch>();
  std::size_t num_missed = 0;
  for (std::size_t i = 0; i < pre_tokens.size(); ++i) {
    text += pre_tokens[i];
    ends.push_back(static_cast<std::uint16_t>(text.size()));
    if (asked[i]) batch->missed[num_missed++] = static_cast<std::uint16_t>(i);
  }
  text += std::string(ShortMemo::kReadBytes, 'p');
  const std::size_t num_left = memo.FindMany(text.data(), &ends[1], num_missed, *batch);
  std::vector<std::vector<TokenId>> found(pre_tokens.size());
  for (std::size_t m = 0, left = 0; m < num_missed; ++m) {
    const std::size_t i = batch->missed[m];
    if (left < num_left && batch->left[left] == i) {
      ++left;
    } else {
      found[i] = IdsOf(batch->ids[i]);
    }
  }
  return found;
}

TEST_CASE("what a short memo with room is told it knows") {
  std::mt19937 random(5);
  for (std::size_t size = 1; size <= ShortMemo::kMaxBytes; ++size) {
    ShortMemo memo;
    // Zeros at the end are not padding.
    std::vector<std::string> told = {RandomBytes(random, size - 1) + '\0'};
    std::vector<std::vector<TokenId>> expected = {kNote};
    for (std::size_t count = 1; count <= ShortMemo::kMaxIds; ++count) {
      told.push_back(RandomBytes(random, size - 1) + static_cast<char>(count));
      expected.emplace_back(count);
      for (TokenId& id : expected.back()) id = static_cast<TokenId>(random() % (1 << 24));
    }
    for (std::size_t i = 0; i < told.size(); ++i) {
      CHECK(Find(memo, told[i]).empty());
      Store(memo, told[i], expected[i]);
    }
    for (std::size_t i = 0; i < told.size(); ++i) CHECK(Find(memo, told[i]) == expected[i]);
  }
}

TEST_CASE("what comes once does not displace what a short memo knows, what comes again does") {
  std::mt19937 random(6);
  ShortMemo memo;
  std::vector<std::string> early(500);
  for (std::string& bytes : early) {
    bytes = RandomBytes(random, ShortMemo::kMaxBytes);
    Store(memo, bytes, {7});
  }
  for (std::size_t i = 0; i < 4 * ShortMemo::kNumSlots; ++i) {
    Store(memo, RandomBytes(random, ShortMemo::kMaxBytes), {7});
  }
  CHECK(std::count_if(early.begin(), early.end(),
                      [&](const std::string& bytes) { return !Find(memo, bytes).empty(); }) > 250);
  const std::string again = RandomBytes(random, ShortMemo::kMaxBytes);
  for (std::size_t i = 0; i < 5; ++i) Store(memo, again, {8});
  CHECK(Find(memo, again) == std::vector<TokenId>{8});
}

TEST_CASE("many at a time are found like one by one") {
  std::mt19937 random(7);
  ShortMemo memo;
  std::vector<std::string> known;
  for (std::size_t i = 0; i < 60'000; ++i) {  // so that sets are full
    known.push_back(RandomBytes(random, 1 + random() % ShortMemo::kMaxBytes));
    std::vector<TokenId> ids(1 + random() % ShortMemo::kMaxIds);
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % (1 << 24));
    Store(memo, known.back(), random() % 8 == 0 ? kNote : ids);
  }
  std::size_t num_found = 0;
  for (std::size_t size = 0; size <= ShortMemo::Batch::kMaxSize; size += 1 + size / 3) {
    std::vector<std::string> pre_tokens(size);
    std::vector<bool> asked(size);
    for (std::size_t i = 0; i < size; ++i) {
      const bool is_known = random() % 4 != 0;
      pre_tokens[i] =
          is_known ? known[random() % known.size()] : RandomBytes(random, 1 + random() % 40);
      asked[i] = random() % 4 != 0;
    }
    const auto found = FindMany(memo, pre_tokens, asked);
    for (std::size_t i = 0; i < size; ++i) {
      std::vector<TokenId> expected;
      if (asked[i] && pre_tokens[i].size() <= ShortMemo::kMaxBytes) {
        expected = Find(memo, pre_tokens[i]);
      }
      if (expected == kNote) expected.clear();
      CHECK(found[i] == expected);
      num_found += !expected.empty();
    }
  }
  CHECK(num_found > 500);
}

TEST_CASE("threads never find the ids of another pre-token") {
  ShortMemo memo;
  // Many more than there is room for, so that they displace each other; all ids tell who they are.
  constexpr std::size_t kNumKnown = 4 * ShortMemo::kNumSlots;
  const auto bytes_of = [](std::size_t i) { return std::to_string(i) + "abcdefgh"; };
  const auto ids_of = [](std::size_t i) {
    const auto id = static_cast<TokenId>(i);
    return std::vector<TokenId>(1 + i % ShortMemo::kMaxIds, id);
  };
  std::atomic<bool> done = false;
  std::vector<std::thread> writers;
  for (unsigned seed = 0; seed < 2; ++seed) {
    writers.emplace_back([&, seed] {
      std::mt19937 random(seed);
      while (!done.load()) {
        const std::size_t i = random() % kNumKnown;
        for (std::size_t again = 0; again < 5; ++again) Store(memo, bytes_of(i), ids_of(i));
      }
    });
  }
  std::mt19937 random(9);
  std::size_t num_wrong = 0;
  std::size_t num_found = 0;
  for (std::size_t round = 0; round < 2'000 || num_found == 0; ++round) {
    std::vector<std::size_t> numbers(20);
    std::vector<std::string> pre_tokens;
    for (std::size_t& number : numbers) {
      number = random() % kNumKnown;
      pre_tokens.push_back(bytes_of(number));
    }
    const auto found = FindMany(memo, pre_tokens, std::vector<bool>(numbers.size(), true));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto alone = Find(memo, pre_tokens[i]);
      num_wrong += !alone.empty() && alone != ids_of(numbers[i]);
      num_wrong += !found[i].empty() && found[i] != ids_of(numbers[i]);
      num_found += !found[i].empty();
    }
  }
  done = true;
  for (std::thread& writer : writers) writer.join();
  CHECK(num_wrong == 0);
}

}  // namespace
}  // namespace ctx::tokenize
