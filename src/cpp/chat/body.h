// The body of a request, from the bytes that came over the wire to messages: no copy of Python's
// between, and of a body that begins as an earlier one did, nothing that was read then is read
// again.
//
//   {"model": ..., "messages": [ {...}, {...}, {...} ], "tools": [...]}
//   ^ the same bytes as last time ............. ^ X     ^ read
//
// A reader that has taken the bytes up to X is in a state that these bytes alone determine. So a
// body with the same bytes up to X goes on from the state that was kept (messages, and what stood
// before them), and nothing about it can differ from reading it from the beginning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/input.h"
#include "chat/json.h"
#include "chat/message.h"
#include "chat/request_count.h"
#include "chat/text_arena.h"

namespace ctx::chat {

/// The tools of a body, a JSON array, each as the chat templates take it: Anthropic's tools, and in
/// a body of the Responses API functions, are those of OpenAI's chat completions in another shape.
/// Throws ArgumentError. The strings are the arena's.
std::vector<std::string_view> ReadToolsJson(const JsonNode& tools, bool is_responses,
                                            TextArena& written);

/// A part that is no text: its message, its kind, its JSON text, and where it stands.
struct JsonPartCost {
  std::size_t message;
  std::string kind;
  std::string_view json;
  std::string path;
};

/// One body, read; or a list of messages alone. Views into its own text. For one thread at a time.
class Body {
 public:
  enum class Shape : std::uint8_t {
    kList,       ///< a JSON array of messages
    kMessages,   ///< an object with `messages`: OpenAI's chat completions, Anthropic
    kResponses,  ///< an object with `input`
    kNone,       ///< an object with neither
  };

  Body();
  Body(Body&&) = default;
  Body& operator=(Body&&) = default;

  /// Reads a list of messages; `path` is what errors call it. Throws ArgumentError.
  void ReadList(std::string_view text, std::string_view path, bool knows_part_tokens);

  /// Reads a whole body, or goes on where `text` leaves the one that was read before. Throws
  /// ArgumentError; the body is then of no more use.
  void Read(std::string_view text, bool knows_part_tokens);

  /// How many bytes of what was read `text` begins with: never more than Read goes on from.
  std::size_t CommonBytes(std::string_view text) const noexcept;
  /// A guess at that, from a few places.
  std::size_t GuessCommonBytes(std::string_view text) const noexcept;

  Shape shape() const noexcept { return shape_; }
  /// The fields that are neither messages nor tools nor a leading message, as a JSON object.
  std::string other_fields() const;
  bool has_tools() const noexcept { return !tools_json_.empty(); }
  std::size_t num_items() const noexcept { return ends_.size(); }
  /// How many bytes lead to the end of the last item.
  std::size_t read_bytes() const noexcept { return ends_.empty() ? 0 : ends_.back().offset; }

  std::vector<Message>& messages() noexcept { return messages_; }
  std::vector<JsonPartCost>& part_costs() noexcept { return part_costs_; }

  RequestView view(bool add_generation_prompt) const;
  RequestMemo& memo() noexcept { return memo_; }

  /// Forgets what came after the last message, so that a body that goes on from there can be read.
  /// False when there is nothing to go on from, or too much that is of no use.
  bool KeepForNext();
  std::size_t size_bytes() const noexcept;

 private:
  // Where an item ends, and what there was then.
  struct End {
    std::size_t offset;
    std::uint32_t num_messages;
    bool has_open_reasoning;
    bool can_go_on;  // no later item has changed a message of before
  };
  // A field's value among the nodes; kNone for a field that there is not.
  using NodeIndex = std::size_t;
  static constexpr NodeIndex kNone = static_cast<NodeIndex>(-1);
  struct Fields {
    std::vector<JsonNode> nodes;
    std::string others;
    NodeIndex tools = kNone;
    NodeIndex system = kNone;
    NodeIndex instructions = kNone;
    NodeIndex input = kNone;  // where it is no list
  };

  std::size_t GoOnFrom(std::string_view text);
  void ReadMembers(JsonReader& reader, bool knows_part_tokens);
  void ReadMember(JsonReader& reader, bool knows_part_tokens);
  void ReadItems(JsonReader& reader, std::string_view path, bool knows_part_tokens, bool goes_on);
  void ReadLead();
  void ReadTools();
  const JsonNode* NodeOf(NodeIndex index) const noexcept;

  Shape shape_ = Shape::kNone;
  TextArena text_;                      // the bytes of bodies
  TextArena written_;                   // what was made of them
  std::vector<std::string_view> read_;  // the bytes that were read, to the end of the last item
  std::vector<End> ends_;
  // The first is the leading message that a field of the body gives, or none.
  std::vector<Message> messages_;
  std::vector<std::size_t> items_;
  bool has_lead_ = false;
  Fields fields_;
  std::size_t nodes_before_items_ = 0;
  std::size_t others_before_items_ = 0;
  // What the leading message and the tools were made of: the same text need not be read again.
  std::string_view lead_text_;
  std::string_view tools_text_;
  std::vector<std::string_view> tools_json_;
  std::vector<JsonPartCost> part_costs_;
  std::vector<JsonNode> item_nodes_;
  RequestMemo memo_;
};

/// Bodies that were read, to go on from: at most kMaxBodies, of at most `capacity_bytes` together.
/// Every member function may be called from any thread. A process forked while another thread is in
/// a call must neither use nor destroy its copy.
class BodyMemory {
 public:
  static constexpr std::size_t kMaxBodies = 32;

  explicit BodyMemory(std::size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  /// The body that `text` may go on from, which is the caller's until it is put back; or a new one.
  std::unique_ptr<Body> Take(std::string_view text);
  /// Keeps a body for the next call, if it can; never throws.
  void Put(std::unique_ptr<Body> body) noexcept;
  void Clear() noexcept;

 private:
  struct Kept {
    std::unique_ptr<Body> body;
    std::size_t size_bytes;
  };

  const std::size_t capacity_bytes_;
  std::mutex mutex_;
  std::list<Kept> bodies_;  // the last used first
  std::size_t size_bytes_ = 0;
};

}  // namespace ctx::chat
