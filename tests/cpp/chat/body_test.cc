#include "chat/body.h"

#include <chrono>
#include <memory>
#include <string>

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

std::string MessagesJson(int num_messages) {
  std::string json = "[";
  for (int i = 0; i < num_messages; ++i) {
    json += i == 0 ? "" : ", ";
    json += i % 2 == 0 ? R"({"role": "user", "content": "line\nof \"text\" )"
                       : R"({"role": "assistant", "content": "caf\u00e9 )";
    json += std::to_string(i) + "\"}";
  }
  return json + "]";
}

std::string BodyJson(int num_messages, const std::string& rest = "") {
  return R"({"model": "m", "messages": )" + MessagesJson(num_messages) + rest + "}";
}

std::int64_t TotalOf(Body& body) {
  const Template& family = FindTemplate("qwen3");
  return CountRequest(family, {}, body.view(true), Qwen3(), nullptr, &body.memo()).total;
}

std::int64_t TotalOf(const std::string& json) {
  Body body;
  body.Read(json, false);
  return TotalOf(body);
}

TEST_CASE("a body goes on where an earlier one ended") {
  BodyMemory memory(std::size_t{1} << 20);
  const char* kept = nullptr;
  for (const int n : {5, 6, 6, 9, 40, 41, 2, 300}) {
    const std::string json = BodyJson(n, R"(, "tools": [{"name": "f"}])");
    std::unique_ptr<Body> body = memory.Take(json);
    body->Read(json, false);
    CHECK(body->num_items() == static_cast<std::size_t>(n));
    CHECK(TotalOf(*body) == TotalOf(json));
    // The first message is still the one that was read at first, except where too little is shared.
    const char* const first = body->view(true).messages[0].content.data();
    if (n == 6 || n == 9 || n == 41) CHECK(first == kept);
    kept = first;
    memory.Put(std::move(body));
  }
}

TEST_CASE("bodies are kept within their bounds") {
  BodyMemory memory(std::size_t{1} << 18);
  for (int i = 0; i < 100; ++i) {
    const std::string json =
        R"({"a": )" + std::to_string(i) + R"(, "messages": )" + MessagesJson(50 + i) + "}";
    auto body = memory.Take(json);
    body->Read(json, false);
    memory.Put(std::move(body));
    // At once it is known; the first of all is long forgotten.
    CHECK(memory.Take(json)->read_bytes() > 0);
  }
  CHECK(memory.Take(R"({"a": 0, "messages": )" + MessagesJson(50) + "}")->read_bytes() == 0);
  memory.Clear();
  CHECK(memory.Take(BodyJson(150))->read_bytes() == 0);
}

TEST_CASE("tails that change are forgotten before they pile up") {
  BodyMemory memory(std::size_t{64} << 20);
  std::size_t largest = 0;
  for (int i = 0; i < 400; ++i) {
    const std::string tool = R"({"name": ")" + std::string(20000, 'a') + std::to_string(i) + "\"}";
    const std::string json = BodyJson(10, R"(, "tools": [)" + tool + "]");
    auto body = memory.Take(json);
    body->Read(json, false);
    largest = std::max(largest, body->size_bytes());
    memory.Put(std::move(body));
  }
  CHECK(largest < std::size_t{4} << 20);
}

TEST_CASE("a failed allocation is told, and the next call counts right") {
  const std::string first = BodyJson(8);
  const std::string second = BodyJson(
      12, R"(, "tools": [{"type": "function", "function": {"name": "f", "x": [1.5, "\n"]}}])");
  const std::int64_t expected = TotalOf(second);
  std::unique_ptr<BodyMemory> memory;
  const auto prepare = [&] {
    memory = std::make_unique<BodyMemory>(std::size_t{1} << 20);
    auto kept = memory->Take(first);
    kept->Read(first, false);
    memory->Put(std::move(kept));
  };
  const auto count = [&] {
    auto body = memory->Take(second);
    body->Read(second, false);
    const std::int64_t total = TotalOf(*body);
    memory->Put(std::move(body));
    CHECK(total == expected);
  };
  prepare();
  const std::int64_t failures = testing::FailEveryAllocation(count, [&] {
    count();
    prepare();
  });
  CHECK(failures > 20);
}

TEST_CASE("hostile text is read in linear time") {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](const std::string& json) {
    const auto start = Clock::now();
    try {
      Body body;
      body.Read(json, false);
    } catch (const ArgumentError&) {
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto repeat = [](std::string_view part, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += part;
    return text;
  };
  CHECK(seconds(BodyJson(100'000)) < 5);
  CHECK(seconds(R"({"a": )" + repeat("[", 1 << 20)) < 5);
  CHECK(seconds(R"({"messages": [{"role": "user", "content": ")" + repeat("\\u0041", 1 << 19) +
                R"("}]})") < 5);
  CHECK(seconds(R"({"messages": [{"role": "user", "content": [)" + repeat(R"("x",)", 1 << 18) +
                R"("x"]}]})") < 5);
  CHECK(seconds(R"({"messages": [], "tools": [{)" + repeat(R"("x": 1, )", 1 << 17) +
                R"("y": 2}]})") < 5);
  CHECK(seconds(R"({"messages": [], "tools": [{"x": )" + std::string(1 << 20, '1') + "}]}") < 5);
}

}  // namespace
}  // namespace ctx::chat
