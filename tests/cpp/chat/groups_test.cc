#include "chat/groups.h"

#include <string>
#include <vector>

#include "chat/count.h"
#include "chat/message_sums.h"
#include "chat/template.h"
#include "common/error.h"
#include "doctest/doctest.h"
#include "tokenize/encoding.h"
#include "tokenize/shipped_encodings.h"

namespace ctx::chat {
namespace {

constexpr std::size_t kNone = MessageGroups::kNone;
using Numbers = std::vector<std::size_t>;

Numbers Copy(std::span<const std::size_t> numbers) { return {numbers.begin(), numbers.end()}; }

Message Of(Role role, std::string_view content = "x") {
  Message message;
  message.role = role;
  message.content = content;
  return message;
}

Message Calling(std::vector<std::string_view> ids) {
  Message message = Of(Role::kAssistant, "");
  for (const std::string_view id : ids) {
    ToolCall& call = message.tool_calls.emplace_back();
    call.name = "f";
    call.arguments_json = call.arguments_text = "{}";
    call.id = id;
  }
  return message;
}

Message Result(std::string_view id) {
  Message message = Of(Role::kTool, "found");
  message.tool_call_id = id;
  return message;
}

MessageGroups GroupsOf(const std::vector<Message>& messages, bool wraps_tool_results = false) {
  MessageGroups groups(wraps_tool_results);
  for (const Message& message : messages) groups.Add(FactsOf(message), "messages");
  return groups;
}

TEST_CASE("a group is a user's message, or an answer with what belongs to it") {
  Message thinking = Of(Role::kAssistant, "");
  thinking.reasoning = "hm";
  const MessageGroups groups = GroupsOf({
      Of(Role::kSystem),
      Of(Role::kDeveloper),  // leading
      Of(Role::kUser),
      thinking,
      Calling({"a", "b"}),
      Result("b"),
      Result("a"),  // 2; 3 to 6
      Of(Role::kAssistant),
      Of(Role::kSystem),  // 7, 8
      Of(Role::kUser),
      Of(Role::kAssistant),  // 9; 10
  });
  CHECK(groups.lead() == 2);
  CHECK(groups.num_messages() == 11);
  CHECK(Copy(groups.starts()) == Numbers{2, 3, 7, 9, 10});
  CHECK(Copy(groups.heads()) == Numbers{0, 0, 0, 3, 3});
  CHECK(Copy(groups.places()) == Numbers{0, 2, 3});
  CHECK(groups.last_user() == 3);
  CHECK(groups.begin_of(5) == 11);
}

TEST_CASE("without a user there is no turn, and a wrapped result is none where there is one") {
  const Message wrapped = Of(Role::kUser, "<tool_response>x</tool_response>");
  CHECK(GroupsOf({Of(Role::kAssistant), Of(Role::kAssistant)}).last_user() == kNone);
  CHECK(Copy(GroupsOf({wrapped, Of(Role::kAssistant), wrapped}, true).starts()) == Numbers{0, 1});
  CHECK(Copy(GroupsOf({wrapped, Of(Role::kAssistant), wrapped}).starts()) == Numbers{0, 1, 2});
  CHECK(GroupsOf({}).size() == 0);
}

TEST_CASE("calls and results that do not match are errors") {
  const Message user = Of(Role::kUser);
  CHECK_THROWS_AS(GroupsOf({user, Result("a")}), ArgumentError);
  CHECK_THROWS_AS(GroupsOf({user, Calling({"a"}), user}), ArgumentError);
  CHECK_THROWS_AS(GroupsOf({user, Calling({"a"}), Result("b")}), ArgumentError);
  CHECK_THROWS_AS(GroupsOf({user, Calling({"a", "b"}), Result("a"), Result("a")}), ArgumentError);
  CHECK_THROWS_AS(GroupsOf({user, Calling({"a"}), Result("a"), Result("a")}), ArgumentError);
  CHECK(GroupsOf({user, Calling({"a", "b"}), Result("a")}).size() == 2);  // they may still come
}

TEST_CASE("a prompt without a message is smaller by what the message takes among others") {
  const auto encoding = tokenize::LoadShippedEncoding("qwen3", CTXENGINE_VOCABULARY_DIR);
  const auto count = [&](const Template& family, const std::vector<Message>& messages) {
    Rendered rendered;
    family.render({messages, {}, true}, {}, rendered);
    return CountTokens(rendered, messages.size(), *encoding, nullptr).total;
  };
  Message reasoning = Of(Role::kAssistant, "</think>\n\n so it is");
  reasoning.reasoning = "let me see";
  Message system = Of(Role::kSystem, "amid others");
  const std::vector<Message> all = {
      Of(Role::kSystem),
      Of(Role::kUser, " one\n"),
      reasoning,
      system,
      Of(Role::kUser, "two"),
      reasoning,
      Of(Role::kAssistant, "\n\n"),
      Of(Role::kAssistant, "y"),
  };
  CountTable table(1 << 20);
  for (const std::string_view name : {"chatml", "qwen2", "qwen3", "qwen3-instruct-2507"}) {
    const Template& family = FindTemplate(name);
    REQUIRE(AddsUp(family, true));
    for (const std::size_t i : {1, 2, 3, 5, 6}) {
      std::vector<Message> without = all;
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
      for (int round = 0; round < 2; ++round) {
        CHECK(count(family, all) - count(family, without) ==
              TokensAmongOthers(family, {}, all[i], i > 4, *encoding, &table));
      }
    }
  }
  CHECK(!AddsUp(FindTemplate("mistral-v7"), false));
  CHECK(AddsUp(FindTemplate("llama3.1"), false));
  CHECK(!AddsUp(FindTemplate("llama3.1"), true));
}

}  // namespace
}  // namespace ctx::chat
