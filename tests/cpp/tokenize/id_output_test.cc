#include "tokenize/id_output.h"

#include <numeric>
#include <vector>

#include "doctest/doctest.h"

namespace ctx::tokenize {
namespace {

std::vector<TokenId> Numbers(std::size_t count) {
  std::vector<TokenId> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

void Fill(IdOutput& ids, std::size_t size) {
  for (std::size_t round = 0; ids.size() < size; ++round) {
    const auto first = static_cast<TokenId>(ids.size());
    const std::size_t count = std::min(round % 50, size - ids.size());
    TokenId* const room = ids.Room(count + round % 9);
    std::iota(room, room + count, first);
    ids.Add(count);
    if (ids.size() < size) ids.Push(static_cast<TokenId>(ids.size()));
  }
}

TEST_CASE("ids in memory, few and many") {
  for (const std::size_t size : {0, 1, 127, 128, 129, 1000, 100'000}) {
    IdMemory ids;
    Fill(ids, size);
    const std::vector<TokenId> expected = Numbers(size);
    CHECK(std::vector(ids.view().begin(), ids.view().end()) == expected);
    const auto taken = ids.Take();
    if (taken == nullptr) {
      CHECK(ids.size() == size);
    } else {
      CHECK(std::vector(taken.get(), taken.get() + size) == expected);
      CHECK(ids.size() == 0);
      Fill(ids, 300);
      CHECK(ids.view().back() == 299);
      CHECK(taken[size - 1] == size - 1);
    }
    if (size > 200) CHECK(taken != nullptr);
    ids.Truncate(0);
    CHECK(ids.view().empty());
  }
}

TEST_CASE("ids at the end of a vector") {
  for (const std::size_t before : {0, 1, 500}) {
    for (const std::size_t size : {0, 1, 63, 64, 65, 10'000}) {
      std::vector<TokenId> vector = Numbers(before);
      {
        IdVectorEnd ids(vector);
        Fill(ids, before + size);
      }
      CHECK(vector == Numbers(before + size));
      {
        IdVectorEnd ids(vector);
        Fill(ids, before + size + 5);
        ids.Truncate(before);
      }
      CHECK(vector == Numbers(before));
    }
  }
}

}  // namespace
}  // namespace ctx::tokenize
