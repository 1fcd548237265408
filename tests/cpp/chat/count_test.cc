#include "chat/count.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "chat/template.h"
#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/encoding.h"
#include "tokenize/shipped_encodings.h"

namespace ctx::chat {
namespace {

const tokenize::Encoding& Qwen3() {
  static const auto encoding = tokenize::LoadShippedEncoding("qwen3", CTXENGINE_VOCABULARY_DIR);
  return *encoding;
}

// A conversation with its text.
struct Talk {
  explicit Talk(int num_messages) {
    for (int i = 0; i < num_messages; ++i) {
      texts.push_back("message " + std::to_string(i) + std::string(i % 7, '\n') +
                      " 你好 <|im_end|>");
    }
    for (int i = 0; i < num_messages; ++i) {
      messages.emplace_back();
      messages.back().role = i % 2 == 0 ? Role::kUser : Role::kAssistant;
      messages.back().content = texts[static_cast<std::size_t>(i)];
    }
  }
  Rendered RenderedBy(std::string_view name) const {
    Rendered out;
    FindTemplate(name).render({messages, {}, true}, {}, out);
    return out;
  }
  std::vector<std::string> texts;
  std::vector<Message> messages;
};

TEST_CASE("chunk counts add up to the count of the whole") {
  const Talk talk(21);
  CountTable table(1 << 20);
  for (const std::string_view name : {"chatml", "qwen2", "qwen3", "qwen3-thinking-2507"}) {
    const Rendered rendered = talk.RenderedBy(name);
    std::vector<TokenId> ids;
    Qwen3().EncodeSegments(rendered.segments(), ids);
    for (int round = 0; round < 2; ++round) {
      const Counts counts = CountTokens(rendered, 21, Qwen3(), &table);
      CHECK(counts.total == static_cast<std::int64_t>(ids.size()));
      std::int64_t sum = counts.template_tokens;
      for (const std::int64_t tokens : counts.per_message) sum += tokens;
      CHECK(sum == counts.total);
    }
    CHECK(CountTokens(rendered, 21, Qwen3(), nullptr).total ==
          static_cast<std::int64_t>(ids.size()));
  }
  CHECK(table.stats().hits >= 4 * 22);
}

TEST_CASE("an encoding without the control tokens is refused") {
  const auto gpt2 = tokenize::LoadShippedEncoding("gpt2", CTXENGINE_VOCABULARY_DIR);
  CHECK_THROWS_AS(ValidateEncoding(FindTemplate("chatml"), *gpt2), ArgumentError);
  CHECK_NOTHROW(ValidateEncoding(FindTemplate("openai"), *gpt2));
  CHECK_NOTHROW(ValidateEncoding(FindTemplate("qwen3"), Qwen3()));
}

TEST_CASE("a failing allocation while counting leaves right counts in the table") {
  const Talk talk(4);
  const Rendered rendered = talk.RenderedBy("chatml");
  const std::int64_t expected = CountTokens(rendered, 4, Qwen3(), nullptr).total;
  CountTable table(1 << 20);
  Counts counts;
  const std::int64_t failures = testing::FailEveryAllocation(
      [&] { counts = CountTokens(rendered, 4, Qwen3(), &table); }, [] {});
  CHECK(failures > 0);
  CHECK(counts.total == expected);
}

TEST_CASE("ids chunk by chunk are those of the whole, with a table and without") {
  const Talk talk(21);
  CountTable table(1 << 20);
  for (const std::string_view name : {"chatml", "qwen2", "qwen3", "qwen3-thinking-2507"}) {
    const Rendered rendered = talk.RenderedBy(name);
    std::vector<TokenId> expected = {TokenId{7}};
    Qwen3().EncodeSegments(rendered.segments(), expected);
    CountTokens(rendered, 21, Qwen3(), &table);
    for (CountTable* const used : {&table, &table, static_cast<CountTable*>(nullptr)}) {
      std::vector<TokenId> ids = {TokenId{7}};
      EncodeRendered(rendered, Qwen3(), used, ids);
      CHECK(ids == expected);
    }
  }
  CHECK(table.stats().hits >= 4 * 22);
}

TEST_CASE("a failing allocation while encoding leaves the ids as they were") {
  const Talk talk(4);
  const Rendered rendered = talk.RenderedBy("chatml");
  std::vector<TokenId> expected = {TokenId{7}};
  Qwen3().EncodeSegments(rendered.segments(), expected);
  std::vector<TokenId> ids = {TokenId{7}};
  const std::int64_t failures = testing::FailEveryAllocation(
      [&] {
        CountTable table(1 << 20);
        EncodeRendered(rendered, Qwen3(), &table, ids);
      },
      [&] { CHECK(ids == std::vector<TokenId>{TokenId{7}}); });
  CHECK(failures > 0);
  CHECK(ids == expected);
}

TEST_CASE("threads that count through one table agree") {
  const Talk talk(40);
  const Rendered rendered = talk.RenderedBy("qwen3");
  const std::int64_t expected = CountTokens(rendered, 40, Qwen3(), nullptr).total;
  CountTable table(4000);  // holds only some of the messages
  std::vector<std::int64_t> totals(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < totals.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) totals[t] += CountTokens(rendered, 40, Qwen3(), &table).total;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(totals == std::vector<std::int64_t>(4, 20 * expected));
}

}  // namespace
}  // namespace ctx::chat
