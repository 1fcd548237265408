#include "tokenize/bpe/few_ids.h"

#include <random>
#include <vector>

#include "doctest/doctest.h"

namespace ctx::tokenize {
namespace {

TEST_CASE("few ids each become one row without gaps") {
  std::mt19937 random(1);
  for (std::size_t count = 0; count < 70; ++count) {
    std::vector<FewIds> from(count + 3);
    std::vector<TokenId> expected;
    for (std::size_t i = 0; i < from.size(); ++i) {
      const std::size_t size = random() % (FewIds::kMax + 1);
      for (std::size_t k = 0; k < FewIds::kMax; ++k) {
        // What is not there may have any other bits.
        const auto id = static_cast<TokenId>(random() % FewIds::kThere);
        from[i].ids[k] = k < size ? id | FewIds::kThere : id;
        if (i < count && k < size) expected.push_back(id);
      }
    }
    std::vector<TokenId> to(expected.size() + 16);
    CHECK(NumIds(from.data(), count) == expected.size());
    REQUIRE(PackIds(from.data(), count, to.data()) == expected.size());
    to.resize(expected.size());
    CHECK(to == expected);
  }
}

}  // namespace
}  // namespace ctx::tokenize
