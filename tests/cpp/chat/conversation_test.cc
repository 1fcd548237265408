#include "chat/conversation.h"

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "chat/count.h"
#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/shipped_encodings.h"

namespace ctx::chat {
namespace {

std::shared_ptr<const tokenize::Encoding> Qwen3() {
  static const std::shared_ptr<const tokenize::Encoding> encoding =
      tokenize::LoadShippedEncoding("qwen3", CTXENGINE_VOCABULARY_DIR);
  return encoding;
}

Message Says(Role role, std::string_view content) {
  Message message;
  message.role = role;
  message.content = content;
  return message;
}

std::vector<TokenId> IdsOf(const LiveConversation& conversation) {
  const auto ids = conversation.ids();
  return {ids.elements().begin(), ids.elements().end()};
}

std::vector<TokenId> Anew(const Template& family, const std::vector<Message>& messages) {
  Rendered rendered;
  family.render({messages, {}, true}, {}, rendered);
  std::vector<TokenId> ids;
  Qwen3()->EncodeSegments(rendered.segments(), ids);
  return ids;
}

constexpr std::string_view kTexts[] = {
    "",
    "Hello",
    "你好 <|im_end|>",
    "<think>\nwhy\n</think>\n\nso",
    "<tool_response>\nwrapped\n</tool_response>",
    "a longer text, of several words, so that it is not all the same",
};
constexpr std::string_view kFamilies[] = {"chatml", "qwen2", "qwen3", "qwen3-instruct-2507",
                                          "qwen3-thinking-2507"};

Message AnyMessage(std::mt19937& random, const Template& family) {
  const auto text = [&] { return kTexts[random() % std::size(kTexts)]; };
  Message message = Says(family.roles[random() % family.roles.size()], text());
  if (message.role == Role::kAssistant) {
    if (random() % 3 == 0) message.reasoning = text();
    if (family.takes_tools && random() % 3 == 0) message.tool_calls = {{"f", "{}"}};
  }
  return message;
}

TEST_CASE("after any change the ids are those of the list rendered anew") {
  std::mt19937 random(1);
  CountTable table(1 << 16);
  for (const std::string_view name : kFamilies) {
    const Template& family = FindTemplate(name);
    for (int round = 0; round < 30; ++round) {
      LiveConversation conversation(Qwen3(), family, {}, {}, true);
      std::vector<Message> messages;
      std::vector<LiveConversation::Ids> seen;
      std::vector<std::vector<TokenId>> expected;
      for (int step = 0; step < 12; ++step) {
        const std::vector<Message> added(1 + random() % 2, AnyMessage(random, family));
        auto begin = messages.end() - messages.begin();
        auto end = begin;
        if (random() % 3 == 0) {
          begin = static_cast<std::ptrdiff_t>(random() % (messages.size() + 1));
          end = begin + static_cast<std::ptrdiff_t>(
                            random() % (messages.size() - static_cast<std::size_t>(begin) + 1));
          conversation.Replace(static_cast<std::size_t>(begin), static_cast<std::size_t>(end),
                               added, "messages", &table);
        } else {
          conversation.Append(added, "messages", random() % 2 == 0 ? &table : nullptr);
        }
        messages.erase(messages.begin() + begin, messages.begin() + end);
        messages.insert(messages.begin() + begin, added.begin(), added.end());
        const auto ids = Anew(family, messages);
        CHECK(IdsOf(conversation) == ids);
        CHECK(conversation.count() == static_cast<std::int64_t>(ids.size()));
        if (random() % 2 == 0) {
          seen.push_back(conversation.ids());
          expected.push_back(ids);
        }
      }
      for (std::size_t i = 0; i < seen.size(); ++i) {
        CHECK(std::vector(seen[i].elements().begin(), seen[i].elements().end()) == expected[i]);
      }
    }
  }
}

TEST_CASE("a failing allocation leaves a conversation as it was") {
  for (const std::string_view name : {"chatml", "qwen3"}) {
    const Template& family = FindTemplate(name);
    std::vector<Message> messages = {Says(Role::kUser, "one"),
                                     Says(Role::kAssistant, "<think>\nwhy\n</think>\n\nso")};
    LiveConversation conversation(Qwen3(), family, {}, {}, true);
    conversation.Append(messages, "messages", nullptr);
    const LiveConversation copy(conversation);  // so that the buffers are shared
    const auto before = IdsOf(conversation);
    const auto check = [&] {
      CHECK(IdsOf(conversation) == before);
      CHECK(conversation.num_messages() == messages.size());
      CHECK(conversation.counts().per_message == copy.counts().per_message);
    };
    const std::vector<Message> added = {Says(Role::kUser, "two"), Says(Role::kUser, "three")};
    std::int64_t failures = testing::FailEveryAllocation(
        [&] {
          CountTable table(1 << 16);
          LiveConversation(conversation).Append(added, "messages", &table);
        },
        check);
    CHECK(failures > 5);
    failures = testing::FailEveryAllocation(
        [&] { conversation.Append(added, "messages", nullptr); }, check);
    CHECK(failures > 5);
    std::vector<Message> after = messages;
    after.insert(after.end(), added.begin(), added.end());
    CHECK(IdsOf(conversation) == Anew(family, after));
    const auto grown = IdsOf(conversation);
    failures = testing::FailEveryAllocation(
        [&] { conversation.Replace(1, 3, messages, "messages", nullptr); },
        [&] { CHECK(IdsOf(conversation) == grown); });
    CHECK(failures > 5);
    CHECK(IdsOf(conversation) == Anew(family, {after[0], messages[0], messages[1], after[3]}));
    CHECK(IdsOf(copy) == before);
  }
}

TEST_CASE("a failing allocation while sampled ids are added leaves a conversation as it was") {
  const Template& family = FindTemplate("chatml");
  LiveConversation conversation(Qwen3(), family, {}, {}, true);
  conversation.Append(std::vector{Says(Role::kUser, "one")}, "messages", nullptr);
  const auto before = IdsOf(conversation);
  std::vector<TokenId> sampled;
  for (const char letter : std::string("two three")) {
    Qwen3()->EncodeOrdinary(std::string(1, letter), sampled);
  }
  LiveConversation::Generated generated{};
  const std::int64_t failures = testing::FailEveryAllocation(
      [&] { generated = conversation.AppendGenerated(sampled, std::nullopt, "message", nullptr); },
      [&] { CHECK(IdsOf(conversation) == before); });
  CHECK(failures > 5);
  CHECK(generated.num_kept == sampled.size());
  auto expected = before;
  expected.insert(expected.end(), sampled.begin(), sampled.end());
  auto ids = IdsOf(conversation);
  ids.resize(expected.size());
  CHECK(ids == expected);
}

TEST_CASE("copies that go on by themselves share what they had, and views stay") {
  LiveConversation first(Qwen3(), FindTemplate("chatml"), {}, {}, true);
  std::vector<Message> messages;
  for (int i = 0; i < 50; ++i) {
    messages.push_back(Says(Role::kUser, kTexts[5]));
    first.Append(std::vector{messages.back()}, "messages", nullptr);
  }
  const auto view = first.ids();
  LiveConversation second(first);
  CHECK(second.ids().elements().data() == view.elements().data());
  first.Append(std::vector{Says(Role::kUser, "first")}, "messages", nullptr);
  second.Append(std::vector{Says(Role::kUser, "second")}, "messages", nullptr);
  CHECK(std::vector(view.elements().begin(), view.elements().end()) ==
        Anew(FindTemplate("chatml"), messages));
  messages.push_back(Says(Role::kUser, "second"));
  CHECK(IdsOf(second) == Anew(FindTemplate("chatml"), messages));
  messages.back().content = "first";
  CHECK(IdsOf(first) == Anew(FindTemplate("chatml"), messages));
}

TEST_CASE("a view of ids that stay is not copied when the conversation goes on") {
  LiveConversation conversation(Qwen3(), FindTemplate("chatml"), {}, {}, false);
  for (int i = 0; i < 30; ++i) {
    conversation.Append(std::vector{Says(Role::kUser, kTexts[5])}, "messages", nullptr);
  }
  const auto view = conversation.ids();
  conversation.Append(std::vector{Says(Role::kUser, "x")}, "messages", nullptr);
  CHECK(conversation.ids().elements().data() == view.elements().data());
}

TEST_CASE("threads append to one conversation and to copies of it") {
  LiveConversation conversation(Qwen3(), FindTemplate("qwen3"), {}, {}, true);
  const std::vector<Message> one = {Says(Role::kUser, "Hello")};
  conversation.Append(one, "messages", nullptr);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto cursor = conversation.cursor();
        conversation.Append(one, "messages", nullptr);
        LiveConversation copy(conversation);
        const auto view = copy.ids();
        copy.Append(one, "messages", nullptr);
        copy.Replace(0, 1, {}, "messages", nullptr);
        conversation.since(cursor);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(IdsOf(conversation) ==
        Anew(FindTemplate("qwen3"), std::vector(201, Says(Role::kUser, "Hello"))));
}

}  // namespace
}  // namespace ctx::chat
