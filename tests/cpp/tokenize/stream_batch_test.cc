#include "tokenize/stream_batch.h"

#include <map>
#include <stdexcept>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/shipped_encodings.h"

namespace ctx::tokenize {
namespace {

using Numbers = std::vector<std::int64_t>;
using Ids = std::vector<TokenId>;

StreamBatch::Row NewRow(std::vector<std::string> stops) {
  static const std::shared_ptr<const Encoding> gpt2 =
      LoadShippedEncoding("gpt2", CTXENGINE_VOCABULARY_DIR);
  return {std::make_shared<const StreamDecoder>(
              gpt2, std::make_shared<const StopStrings>(std::move(stops)), false),
          {}};
}

/// Collects what came out, by index.
class Texts {
 public:
  StreamBatch::OnText Sink() {
    return [this](std::size_t i, std::string_view utf8) { texts_[i] = utf8; };
  }
  std::string operator[](std::size_t i) const { return texts_.at(i); }

 private:
  std::map<std::size_t, std::string> texts_;
};

TEST_CASE("rows go their own ways, and one may be there twice") {
  StreamBatch batch(3, NewRow({" world"}));
  Texts texts;
  batch.Feed(Numbers{2, 0, 2}, Ids{31373, 31373, 995}, texts.Sink());  // "hello", " world"
  CHECK(texts[0] == "hello");
  CHECK(texts[1] == "hello");
  CHECK(texts[2].empty());
  CHECK(batch.At(2).state.stop == 0);
  CHECK(batch.At(0).state.stop == -1);
  batch.Reset(Numbers{2}, NewRow({}));
  batch.Feed(Numbers{2}, Ids{995}, texts.Sink());
  CHECK(texts[0] == " world");
  const StreamBatch copy(batch);
  batch.Finish(Numbers{0, 1, 2}, texts.Sink());
  CHECK(batch.At(1).state.finished);
  CHECK_FALSE(copy.At(1).state.finished);
}

TEST_CASE("a call that throws leaves all rows as they were") {
  StreamBatch batch(2, NewRow({"hello!"}));
  Texts texts;
  batch.Feed(Numbers{0}, Ids{31373}, texts.Sink());
  const StreamState before = batch.At(0).state;
  const auto unchanged = [&] {
    CHECK(batch.At(0).state == before);
    CHECK(batch.At(1).state == StreamState{});
  };
  const Numbers rows = {0, 1, 0};
  CHECK_THROWS_WITH_AS(batch.Feed(rows, Ids{995, 995, 50257}, texts.Sink()),
                       "encoding gpt2 has no token 50257, at index 2", UnknownTokenError);
  unchanged();
  CHECK_THROWS_WITH_AS(batch.Feed(rows, Ids{995}, texts.Sink()), "there are 3 rows but 1 ids",
                       ArgumentError);
  CHECK_THROWS_WITH_AS(batch.Finish(Numbers{0, 2}, texts.Sink()),
                       "row 2, at index 1, is outside [0, 2)", ArgumentError);
  CHECK_THROWS_AS(batch.Reset(Numbers{0, -1}, NewRow({})), ArgumentError);
  CHECK_THROWS_AS(batch.At(2), ArgumentError);
  unchanged();
  const auto fail_at_the_third = [](std::size_t i, std::string_view) {
    if (i == 2) throw std::runtime_error("no");
  };
  CHECK_THROWS_WITH(batch.Feed(rows, Ids{995, 995, 995}, fail_at_the_third), "no");
  unchanged();
  CHECK_THROWS_WITH(batch.Finish(rows, fail_at_the_third), "no");
  unchanged();
  const auto failures = ctx::testing::FailEveryAllocation(
      [&] {
        batch.Feed(Numbers(40, 0), Ids(40, 31373), [](std::size_t, std::string_view) {});
        batch.Reset(Numbers{0, 1}, NewRow({"hello!"}));
      },
      [&] { CHECK(batch.At(1).state == StreamState{}); });
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::tokenize
