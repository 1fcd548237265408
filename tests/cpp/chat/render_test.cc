#include <string>
#include <vector>

#include "chat/template.h"
#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"

namespace ctx::chat {
namespace {

Message Says(Role role, std::string_view content) {
  Message message;
  message.role = role;
  message.content = content;
  return message;
}

Rendered RenderedBy(std::string_view name, const std::vector<Message>& messages,
                    const std::vector<std::string_view>& tools = {}) {
  static const TemplateOptions kOptions{.date = "!"};
  Rendered out;
  FindTemplate(name).render({messages, tools, true}, kOptions, out);
  return out;
}

std::string TextOf(const Rendered& rendered) {
  std::string text;
  for (const tokenize::Segment& segment : rendered.segments()) text += segment.text;
  return text;
}

TEST_CASE("ChatML") {
  const std::vector<Message> messages = {Says(Role::kSystem, "s"), Says(Role::kUser, "u\n")};
  CHECK(TextOf(RenderedBy("chatml", messages)) ==
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu\n<|im_end|>\n"
        "<|im_start|>assistant\n");
}

TEST_CASE("consecutive tool results share one user turn") {
  std::vector<Message> messages = {Says(Role::kUser, "u"), Says(Role::kAssistant, ""),
                                   Says(Role::kTool, "1"), Says(Role::kTool, "2")};
  messages[1].tool_calls = {{"f", "{}"}, {"g", R"({"a": 1})"}};
  const Rendered rendered = RenderedBy("qwen3-instruct-2507", messages);
  CHECK(TextOf(rendered) ==
        "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n"
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
        "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\n");
  CHECK(rendered.chunks().size() == 4);
}

TEST_CASE("reasoning is shown after the last user message and dropped before it") {
  const std::vector<Message> messages = {
      Says(Role::kUser, "1"), Says(Role::kAssistant, "<think>\nold\n</think>\n\na"),
      Says(Role::kUser, "2"), Says(Role::kAssistant, "<think>\nnew\n</think>\n\nb")};
  const std::string text = TextOf(RenderedBy("qwen3", messages));
  CHECK(text.find("old") == std::string::npos);
  CHECK(text.find("<think>\nnew\n</think>\n\nb") != std::string::npos);
}

TEST_CASE("the caller's text is never trusted and literals are never the caller's") {
  std::vector<Message> messages = {Says(Role::kSystem, "!"), Says(Role::kUser, "!"),
                                   Says(Role::kAssistant, "!")};
  messages[2].tool_calls = {{"!", "!"}};
  messages[2].reasoning = "!";
  for (const std::string_view name : {"qwen2", "qwen3", "qwen3-thinking-2507", "llama3.1"}) {
    const Rendered rendered = RenderedBy(name, messages, {"!"});
    for (const tokenize::Segment& segment : rendered.segments()) {
      CHECK(segment.trusted == (segment.text.find('!') == std::string_view::npos));
    }
  }
}

TEST_CASE("every chunk of a rendering begins with a control token") {
  std::vector<Message> messages = {Says(Role::kUser, "u"), Says(Role::kAssistant, "")};
  for (const Template& family : AllTemplates()) {
    if (!family.is_rendering) continue;
    const Rendered rendered = RenderedBy(family.name, messages);
    for (std::size_t i = 0; i < rendered.chunks().size(); ++i) {
      const tokenize::Segment& first = rendered.SegmentsOf(i).front();
      CHECK(first.trusted);
      bool begins_with_control = false;
      for (const std::string_view token : family.control_tokens) {
        begins_with_control |= first.text.starts_with(token);
      }
      CHECK(begins_with_control);
    }
  }
}

TEST_CASE("what a family cannot show is refused, naming the place") {
  std::vector<Message> messages = {Says(Role::kUser, "u"), Says(Role::kDeveloper, "d")};
  CHECK_THROWS_WITH_AS(Validate(FindTemplate("qwen2"), {}, messages, "history"),
                       "history[1].role: template 'qwen2' has no role 'developer'", ArgumentError);
  CHECK_NOTHROW(Validate(FindTemplate("harmony"), {}, messages, "history"));
  messages[0].tool_calls = {{"f", "{}"}};
  CHECK_THROWS_AS(Validate(FindTemplate("harmony"), {}, messages, "m"), ArgumentError);
  CHECK_THROWS_AS(ValidateRequest(FindTemplate("qwen2"), {}, {}), ArgumentError);
  CHECK_THROWS_AS(FindTemplate("nothing"), UnknownTokenError);
}

TEST_CASE("gpt-oss shows a call, its result and the tools under harmony's names") {
  std::vector<Message> messages = {Says(Role::kUser, "u"), Says(Role::kAssistant, ""),
                                   Says(Role::kTool, "r")};
  messages[1].tool_calls = {{"f", "{\"a\": 1}", "{\"a\":1}", "c"}};
  messages[1].reasoning = "t";
  messages[2].tool_call_id = "c";
  const std::vector<std::string_view> tools = {
      R"({"type": "function", "function": {"name": "f", "parameters": {"type": "object",
          "properties": {"a": {"type": "integer", "default": 1e2}}}}})"};
  CHECK(
      TextOf(RenderedBy("gpt-oss", messages, tools)) ==
      "<|start|>system<|message|><|end|>"
      "<|start|>developer<|message|># Tools\n\n## functions\n\nnamespace functions {\n\n"
      "type f = (_: {\na?: number, // default: 100.0\n}) => any;\n\n} // namespace functions<|end|>"
      "<|start|>user<|message|>u<|end|>"
      "<|start|>assistant<|channel|>analysis<|message|>t<|end|>"
      "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{\"a\":1}<|call|>"
      "<|start|>functions.f to=assistant<|channel|>commentary<|message|>r<|end|>"
      "<|start|>assistant");
  messages[2].tool_call_id = "d";
  CHECK_THROWS_WITH_AS(RenderedBy("gpt-oss", messages),
                       "messages[2].tool_call_id: no tool call has this id; the result is shown "
                       "under the name of its call",
                       ArgumentError);
}

TEST_CASE("a failing allocation leaves a rendering's caller with an exception alone") {
  const std::vector<Message> messages = {Says(Role::kUser, "u"), Says(Role::kAssistant, "a")};
  const std::vector<std::string_view> tools = {
      R"({"type": "function", "function": {"name": "f", "description": "d"}})"};
  const std::vector<std::string_view> no_tools;
  for (const Template& family : AllTemplates()) {
    const std::int64_t failures = testing::FailEveryAllocation(
        [&] {
          Rendered out;
          family.render({messages, family.takes_tools ? tools : no_tools, true}, {}, out);
        },
        [] {});
    CHECK(failures > 0);
  }
}

}  // namespace
}  // namespace ctx::chat
