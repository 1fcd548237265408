#include "chat/body.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";  // byte order mark

// JSON nodes as MessageReader reads values; see there.
class JsonSource {
 public:
  using Value = const JsonNode*;

  JsonSource(TextArena& written, bool knows_part_tokens)
      : written_(written), knows_part_tokens_(knows_part_tokens) {}

  ValueKind KindOf(Value value) const {
    if (value == nullptr) return ValueKind::kNull;
    switch (value->kind) {
      case JsonKind::kNull:
        return ValueKind::kNull;
      case JsonKind::kString:
        return ValueKind::kText;
      case JsonKind::kArray:
        return ValueKind::kList;
      case JsonKind::kObject:
        return ValueKind::kMapping;
      default:
        return ValueKind::kOther;
    }
  }

  Value Find(Value value, std::string_view name) {
    if (value == nullptr || value->kind != JsonKind::kObject) return nullptr;
    for (Value key = value->first(); key != value->end(); key = key->next()->next()) {
      if (Name(key) == name) return key->next();
    }
    return nullptr;
  }
  bool Has(Value value, std::string_view name) { return Find(value, name) != nullptr; }

  template <typename Slots>
  void ReadFields(Value value, std::span<const Field> fields, Slots& slots, OtherFields& others) {
    if (value == nullptr || value->kind != JsonKind::kObject) return;
    for (Value key = value->first(); key != value->end(); key = key->next()->next()) {
      const std::string_view name = Name(key);
      const auto field = std::ranges::find(fields, name, &Field::name);
      const Value inner = key->next();
      if (field == fields.end()) {
        if (others.has_unknown || IsAbsent(inner)) continue;
        others.has_unknown = true;
        others.unknown = name;
      } else if (field->slot >= 0) {
        Value& slot = slots[static_cast<std::size_t>(field->slot)];
        if (slot != nullptr) others.twice = &*field;
        slot = inner;
      } else if (field->slot == kRefused && others.refused == nullptr && !IsAbsent(inner) &&
                 !IsFalse(inner)) {
        others.refused = &*field;
      }
    }
  }

  std::string_view TypeName(Value value) const {
    return value == nullptr ? "NoneType" : PythonTypeName(*value);
  }
  std::string_view Text(Value value) { return JsonString(*value, written_); }

  template <typename F>
  void ForEach(Value list, F f) {
    std::size_t k = 0;
    for (Value item = list->first(); item != list->end(); item = item->next()) f(k++, item);
  }
  bool IsEmptyList(Value value) const {
    return value->kind == JsonKind::kArray && value->num_nodes == 1;
  }
  bool IsFalse(Value value) const { return value->kind == JsonKind::kFalse; }
  /// Null or an empty list says as much as no field.
  bool IsAbsent(Value value) const {
    return KindOf(value) == ValueKind::kNull || IsEmptyList(value);
  }
  Value Unwrapped(Value value) const { return value; }

  std::string_view MappingJson(Value value, const Path& path) {
    std::string json;
    AppendToJson(*value, path.str(), json);
    return written_.Add(json);
  }
  std::string_view CanonicalJson(std::string_view text, const Path& path) {
    return written_.Add(CanonicalObject(text, path.str()));
  }
  std::string_view Keep(const std::string& text) { return written_.Add(text); }
  bool knows_part_tokens() const noexcept { return knows_part_tokens_; }

 private:
  std::string_view Name(Value key) { return JsonString(*key, written_); }

  TextArena& written_;
  bool knows_part_tokens_;
};

// How many leading bytes two texts have in common.
std::size_t CommonPrefix(std::string_view a, std::string_view b) noexcept {
  constexpr std::size_t kBlock = 4096;
  const std::size_t size = std::min(a.size(), b.size());
  std::size_t at = 0;
  while (size - at >= kBlock && std::memcmp(a.data() + at, b.data() + at, kBlock) == 0) {
    at += kBlock;
  }
  const auto end = static_cast<std::ptrdiff_t>(std::min(size, at + kBlock));
  const auto begin = static_cast<std::ptrdiff_t>(at);
  return static_cast<std::size_t>(
      std::mismatch(a.begin() + begin, a.begin() + end, b.begin() + begin).first - a.begin());
}

// A tool of a body as the chat templates take it.
std::string ToolJson(const JsonNode& tool, bool is_responses, TextArena& written,
                     const Path& path) {
  JsonSource source(written, false);
  if (tool.kind != JsonKind::kObject) {
    Refuse(path, "must be a mapping, not ", source.TypeName(&tool));
  }
  const JsonNode* const type = source.Find(&tool, "type");
  const std::string_view kind =
      type != nullptr && type->kind == JsonKind::kString ? source.Text(type) : std::string_view();
  const bool is_anthropic = source.Has(&tool, "input_schema");
  if (source.KindOf(type) != ValueKind::kNull && kind != "function" &&
      !(kind == "custom" && is_anthropic)) {
    Refuse(path / "type", "cannot count a tool of type ",
           kind.empty() ? std::string(source.TypeName(type)) : Quoted(kind),
           "; what the model is shown of it is the server's choice");
  }
  std::string json;
  AppendToJson(tool, path.str(), json);
  if (!is_anthropic && !is_responses) return json;
  json = "{\"type\": \"function\", \"function\": {";
  bool is_first = true;
  for (const JsonNode* key = tool.first(); key != tool.end(); key = key->next()->next()) {
    const std::string_view name = JsonString(*key, written);
    if (name == "type" || name == "cache_control") continue;
    if (is_anthropic && name != "name" && name != "description" && name != "input_schema") {
      throw ArgumentError(StrCat(path.str(), ".", name.substr(0, 64),
                                 ": unknown field; leave it out if it does not reach the prompt"));
    }
    if (!is_first) json += ", ";
    is_first = false;
    if (name == "input_schema") {
      json += "\"parameters\"";
    } else {
      AppendToJson(*key, path.str(), json);
    }
    json += ": ";
    AppendToJson(*key->next(), path.str(), json);
  }
  json += "}}";
  return json;
}

}  // namespace

std::vector<std::string_view> ReadToolsJson(const JsonNode& tools, bool is_responses,
                                            TextArena& written) {
  const Path path("tools");
  if (tools.kind != JsonKind::kArray) {
    Refuse(path, "must be a list of mappings, not ", PythonTypeName(tools));
  }
  std::vector<std::string_view> texts;
  for (const JsonNode* tool = tools.first(); tool != tools.end(); tool = tool->next()) {
    texts.push_back(written.Add(ToolJson(*tool, is_responses, written, path[texts.size()])));
  }
  return texts;
}

Body::Body() : messages_(1), items_(1, kNoItem) {}

void Body::ReadList(std::string_view text, std::string_view path, bool knows_part_tokens) {
  CheckJsonText(text, 0, path);
  shape_ = Shape::kList;
  const std::size_t mark = text.starts_with(kMark) ? kMark.size() : 0;
  JsonReader reader(text_.Add(text).substr(mark), mark, path);
  if (reader.Peek() != '[') {
    reader.ReadValue(item_nodes_);
    reader.ExpectEnd();
    Refuse(path, "must be a list of messages, not ", PythonTypeName(item_nodes_.front()));
  }
  ReadItems(reader, path, knows_part_tokens, false);
  reader.ExpectEnd();
}

void Body::Read(std::string_view text, bool knows_part_tokens) {
  const std::size_t known = GoOnFrom(text);
  const bool goes_on = known > 0;
  CheckJsonText(text.substr(known), known, "body");
  const std::size_t mark = !goes_on && text.starts_with(kMark) ? kMark.size() : 0;
  const std::string_view rest = text_.Add(text.substr(known));
  if (goes_on && read_.back().data() + read_.back().size() == rest.data()) {
    read_.back() = {read_.back().data(), read_.back().size() + rest.size()};
  } else {
    read_.push_back(rest);
  }
  JsonReader reader(rest.substr(mark), known + mark, "body");
  if (goes_on) {
    ReadItems(reader, shape_ == Shape::kResponses ? "input" : "messages", knows_part_tokens, true);
    if (reader.Accept(',')) ReadMembers(reader, knows_part_tokens);
    reader.Expect('}');
  } else {
    if (reader.Peek() != '{') {
      reader.ReadValue(item_nodes_);
      reader.ExpectEnd();
      Refuse("body", "must be a JSON object, not ", PythonTypeName(item_nodes_.front()));
    }
    reader.Expect('{');
    if (reader.Peek() != '}') ReadMembers(reader, knows_part_tokens);
    reader.Expect('}');
  }
  reader.ExpectEnd();
  if (shape_ == Shape::kNone) Refuse("body.messages", "missing");
  ReadLead();
  ReadTools();
}

std::size_t Body::CommonBytes(std::string_view text) const noexcept {
  std::size_t common = 0;
  for (const std::string_view range : read_) {
    const std::size_t more = CommonPrefix(range, text.substr(common));
    common += more;
    if (more < range.size()) break;
  }
  return common;
}

std::size_t Body::GuessCommonBytes(std::string_view text) const noexcept {
  constexpr std::size_t kProbeBytes = 64;
  constexpr std::size_t kProbes = 8;
  std::size_t offset = 0;
  std::size_t common = 0;
  for (const std::string_view range : read_) {
    // From the beginning to the end of each range.
    for (std::size_t i = 0; i <= kProbes; ++i) {
      const std::size_t size = std::min(range.size(), kProbeBytes);
      const std::size_t at = (range.size() - size) * i / kProbes;
      if (text.size() < offset + at + size ||
          std::memcmp(range.data() + at, text.data() + offset + at, size) != 0) {
        return common;
      }
      common = offset + at + size;
    }
    offset += range.size();
  }
  return common;
}

// Goes back to the last end of an item that `text` shares; from nothing, when there is none.
std::size_t Body::GoOnFrom(std::string_view text) {
  const std::size_t common = CommonBytes(text);
  std::size_t num_items = ends_.size();
  while (num_items > 0 &&
         (ends_[num_items - 1].offset > common || !ends_[num_items - 1].can_go_on)) {
    --num_items;
  }
  if (num_items == 0) {
    if (!read_.empty()) *this = Body();
    return 0;
  }
  const End& end = ends_[num_items - 1];
  std::size_t rest = end.offset;
  std::size_t num_ranges = 0;
  while (rest > 0) {
    std::string_view& range = read_[num_ranges++];
    range = range.substr(0, rest);
    rest -= range.size();
  }
  read_.resize(num_ranges);
  messages_.resize(end.num_messages);
  items_.resize(end.num_messages);
  const std::size_t offset = end.offset;
  ends_.resize(num_items);
  return offset;
}

void Body::ReadMembers(JsonReader& reader, bool knows_part_tokens) {
  do {
    ReadMember(reader, knows_part_tokens);
  } while (reader.Accept(','));
}

void Body::ReadMember(JsonReader& reader, bool knows_part_tokens) {
  const NodeIndex key = fields_.nodes.size();
  const NodeIndex value = key + 1;
  reader.ReadName(fields_.nodes);
  const std::string_view name = JsonString(fields_.nodes.back(), written_);
  const bool is_input = name == "input";
  if (is_input || name == "messages") {
    const char next = reader.Peek();
    const bool is_text = is_input && next == '"';
    if (next == '[' || is_text) {
      if (shape_ != Shape::kNone) {
        Refuse(Path("body") / name, "messages and input are given both, or twice");
      }
      shape_ = is_input ? Shape::kResponses : Shape::kMessages;
    }
    if (next == '[') {
      nodes_before_items_ = fields_.nodes.size();
      others_before_items_ = fields_.others.size();
      ReadItems(reader, name, knows_part_tokens, false);
      return;
    }
    reader.ReadValue(fields_.nodes);
    const JsonNode& node = fields_.nodes[value];
    if (is_text) {
      fields_.input = value;
    } else if (node.kind != JsonKind::kNull) {
      Refuse(name, "must be a list of messages, not ", PythonTypeName(node));
    }
    return;
  }
  reader.ReadValue(fields_.nodes);
  NodeIndex* const known = name == "tools"          ? &fields_.tools
                           : name == "system"       ? &fields_.system
                           : name == "instructions" ? &fields_.instructions
                                                    : nullptr;
  if (known != nullptr) {
    if (*known != kNone) Refuse(Path("body") / name, "given twice");
    *known = value;
    return;
  }
  const auto append = [this](const JsonNode& node) {
    const std::string_view quote = node.kind == JsonKind::kString ? "\"" : "";
    fields_.others.append(quote).append(node.text).append(quote);
  };
  if (!fields_.others.empty()) fields_.others += ',';
  append(fields_.nodes[key]);
  fields_.others += ':';
  append(fields_.nodes[value]);
}

void Body::ReadItems(JsonReader& reader, std::string_view path, bool knows_part_tokens,
                     bool goes_on) {
  JsonSource source(written_, knows_part_tokens);
  MessageReader<JsonSource> messages(source, messages_, items_);
  if (goes_on) {
    if (ends_.back().has_open_reasoning) messages.OpenReasoning();
  } else {
    reader.Expect('[');
    if (reader.Accept(']')) return;
  }
  const Path list(path);
  if (!goes_on || reader.Accept(',')) {
    do {
      item_nodes_.clear();
      reader.ReadValue(item_nodes_);
      const std::size_t index = ends_.size();
      const std::size_t first = messages.Add(item_nodes_.data(), index, list[index]);
      for (std::size_t i = first; i < index; ++i) ends_[i].can_go_on = false;
      ends_.push_back({reader.offset(), static_cast<std::uint32_t>(messages_.size()),
                       messages.has_open_reasoning(), true});
      for (PartCost<const JsonNode*>& cost : messages.part_costs()) {
        part_costs_.push_back(
            {cost.message, std::move(cost.kind), cost.part->text, std::move(cost.path)});
      }
      messages.part_costs().clear();
    } while (reader.Accept(','));
  }
  reader.Expect(']');
}

const JsonNode* Body::NodeOf(NodeIndex index) const noexcept {
  return index == kNone ? nullptr : &fields_.nodes[index];
}

void Body::ReadLead() {
  JsonSource source(written_, false);
  has_lead_ = false;
  for (const bool is_system : {true, false}) {
    const JsonNode* const value = NodeOf(is_system ? fields_.system : fields_.instructions);
    if (source.IsAbsent(value)) continue;
    const Path body("body");
    const Path path = body / (is_system ? "system" : "instructions");
    RequireLeadOf(is_system, shape_ == Shape::kResponses, path);
    has_lead_ = true;
    if (value->text == lead_text_) continue;
    MessageReader<JsonSource> reader(source, messages_, items_);
    messages_.front() = reader.LeadFrom(value, Role::kSystem, path);
    lead_text_ = value->text;
  }
  if (const JsonNode* const input = NodeOf(fields_.input)) {
    Message message;
    message.content = source.Text(input);
    messages_.push_back(std::move(message));
    items_.push_back(0);
    ends_.push_back({0, 2, false, false});
  }
}

void Body::ReadTools() {
  const JsonNode* const tools = NodeOf(fields_.tools);
  const bool is_absent = tools == nullptr || tools->kind == JsonKind::kNull;
  const std::string_view text = is_absent ? std::string_view() : tools->text;
  if (text == tools_text_) return;
  tools_json_.clear();
  if (!is_absent) {
    tools_json_ = ReadToolsJson(*tools, shape_ == Shape::kResponses, written_);
  }
  tools_text_ = text;
}

std::string Body::other_fields() const { return StrCat("{", fields_.others, "}"); }

RequestView Body::view(bool add_generation_prompt) const {
  const std::size_t first = has_lead_ ? 0 : 1;
  return {std::span(messages_).subspan(first),
          std::span(items_).subspan(first),
          ends_.size(),
          tools_json_,
          add_generation_prompt,
          shape_ == Shape::kResponses ? "input" : "messages"};
}

bool Body::KeepForNext() {
  const bool has_items = !ends_.empty() && shape_ != Shape::kList && fields_.input == kNone;
  if (!has_items || !part_costs_.empty()) return false;
  // What calls have left behind is forgotten with all the rest when there is too much of it.
  constexpr std::size_t kSlack = std::size_t{1} << 20;
  std::size_t rest = ends_.back().offset;
  if (text_.used_bytes() + written_.used_bytes() > 4 * rest + kSlack) return false;
  std::size_t behind = 0;
  for (std::string_view& range : read_) {
    behind += range.size() - std::min(range.size(), rest);
    range = range.substr(0, rest);
    rest -= range.size();
  }
  std::erase(read_, std::string_view());
  bool is_used = false;  // what stands behind the items: its text has to stay where it is
  for (NodeIndex* const field : {&fields_.tools, &fields_.system, &fields_.instructions}) {
    if (*field == kNone || *field < nodes_before_items_) continue;
    is_used = true;
    *field = kNone;
  }
  if (!is_used) text_.Shrink(behind);
  fields_.nodes.resize(nodes_before_items_);
  fields_.others.resize(others_before_items_);
  return true;
}

std::size_t Body::size_bytes() const noexcept {
  return sizeof(Body) + text_.size_bytes() + written_.size_bytes() +
         ends_.capacity() * sizeof(End) +
         messages_.capacity() * (sizeof(Message) + sizeof(size_t)) +
         (fields_.nodes.capacity() + item_nodes_.capacity()) * 2 * sizeof(JsonNode) +
         memo_.size_bytes();
}

std::unique_ptr<Body> BodyMemory::Take(std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    auto best = bodies_.end();
    std::size_t best_bytes = 0;
    for (auto it = bodies_.begin(); it != bodies_.end(); ++it) {
      const std::size_t bytes = it->body->GuessCommonBytes(text);
      // Of a body that has little in common more would be lost than won.
      if (bytes > best_bytes && bytes >= it->body->read_bytes() / 2) {
        best = it;
        best_bytes = bytes;
      }
    }
    if (best != bodies_.end()) {
      size_bytes_ -= best->size_bytes;
      std::unique_ptr<Body> body = std::move(best->body);
      bodies_.erase(best);
      return body;
    }
  }
  return std::make_unique<Body>();
}

void BodyMemory::Put(std::unique_ptr<Body> body) noexcept {
  std::list<Kept> dropped;
  try {
    if (!body->KeepForNext()) return;
    const std::size_t size = body->size_bytes();
    if (size > capacity_bytes_) return;
    dropped.push_front({std::move(body), size});
    const std::lock_guard lock(mutex_);
    size_bytes_ += size;
    bodies_.splice(bodies_.begin(), dropped);
    while (bodies_.size() > kMaxBodies || size_bytes_ > capacity_bytes_) {
      size_bytes_ -= bodies_.back().size_bytes;
      dropped.splice(dropped.begin(), bodies_, std::prev(bodies_.end()));
    }
  } catch (const std::bad_alloc&) {  // it is only not kept
  }
}

void BodyMemory::Clear() noexcept {
  std::list<Kept> dropped;
  const std::lock_guard lock(mutex_);
  dropped.swap(bodies_);
  size_bytes_ = 0;
}

}  // namespace ctx::chat
