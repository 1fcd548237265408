#include "bindings/cache_blocks.h"

#include <cstring>
#include <string_view>

#include "budget/cache_plan.h"
#include "budget/content_digest.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {

using budget::DigestOf;
using budget::JoinDigests;

namespace {

using Run = CacheBlocks::Run;
using Role = CacheBlocks::Role;
constexpr std::int32_t kNotSet = CacheBlocks::kNotSet;

bool IsBlank(PyObject* text) {
  const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
  for (Py_ssize_t i = 0; i < length; ++i) {
    if (!Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(text, i))) return false;
  }
  return true;
}

// "5m", "1h", "30m", "90s" in seconds.
std::int32_t SecondsOf(PyObject* marker, const Where& path) {
  PyObject* const ttl = PyDict_Check(marker) ? Lookup(marker, "ttl") : nullptr;
  if (ttl == nullptr) return 0;
  const std::string_view text = Ascii(ttl);
  std::int32_t number = 0;
  std::size_t digits = 0;
  for (; digits < text.size() && digits < 5 && text[digits] >= '0' && text[digits] <= '9';
       ++digits) {
    number = number * 10 + (text[digits] - '0');
  }
  const std::string_view unit = text.substr(digits);
  if (digits == 0 || number == 0 || (unit != "s" && unit != "m" && unit != "h")) {
    Refuse(path, "ttl: expected a duration such as '5m' or '1h'");
  }
  return number * (unit == "h" ? 3600 : unit == "m" ? 60 : 1);
}

Role RoleOf(std::string_view role) {
  if (role == "system" || role == "developer") return Role::kSystem;
  if (role == "user") return Role::kUser;
  if (role == "assistant" || role == "model") return Role::kAssistant;
  if (role == "tool" || role == "function") return Role::kTool;
  return Role::kOther;
}

// What matters of a part of a content, or of a tool, in one pass over its keys.
struct PartFields {
  std::string_view type;
  PyObject* text = nullptr;
  PyObject* function = nullptr;
  std::int32_t marker_seconds = kNotSet;
  Run run = Run::kNone;
  bool others = false;

  PartFields(PyObject* part, const Where& path) {
    ForEachEntry(part, [&](PyObject* key, PyObject* value) {
      if (value == Py_None) return;
      const std::string_view name = Ascii(key);
      if (name == "type" && PyUnicode_Check(value)) {
        type = Ascii(value);
      } else if (name == "text" && PyUnicode_Check(value)) {
        text = value;
      } else if (IsMarkerKey(name)) {
        marker_seconds = SecondsOf(value, path);
      } else {
        others = true;
        if (name == "toolUse") run = Run::kUse;
        if (name == "toolResult") run = Run::kResult;
        if (name == "function" && PyDict_Check(value)) function = value;
      }
    });
    if (type == "tool_use") run = Run::kUse;
    if (type == "tool_result") run = Run::kResult;
  }

  // Whether it holds nothing but a text, so that it equals the text given as a str.
  bool is_plain_text() const {
    return text != nullptr && !others &&
           (type.empty() || type == "text" || type == "input_text" || type == "output_text");
  }
};

// A dict; an object that tells its own fields is asked for them.
py::object Plain(const py::object& value, const Where& path) {
  if (PyDict_Check(value.ptr())) return value;
  if (py::hasattr(value, "model_dump")) {
    py::object fields = value.attr("model_dump")(py::arg("exclude_unset") = true);
    if (PyDict_Check(fields.ptr())) return fields;
  }
  Refuse(path, StrCat("expected a dict, got ", TypeName(value)));
}

std::size_t ItemsOf(const py::object& list) {
  return static_cast<std::size_t>(PySequence_Size(list.ptr()));
}

}  // namespace

CacheBlocks::CacheBlocks(const py::object& tools, const py::object& system,
                         const py::object& messages, const py::object& head,
                         const py::object& middle) {
  chain_ = DigestOfValue(head.ptr(), false, 0, {"settings"}).digest;
  ReadTools(tools);
  tools_end_ = blocks_.size();
  ReadSystem(system);
  head_end_ = blocks_.size();
  chain_ = JoinDigests(chain_, DigestOfValue(middle.ptr(), false, 0, {"settings"}).digest);
  ReadMessages(messages);
}

CacheBlocks CacheBlocks::FromCounts(const std::vector<std::int64_t>& counts) {
  CacheBlocks made;
  for (const std::int64_t count : counts) {
    Block block;
    block.section = kMessages;
    block.item = static_cast<std::int64_t>(made.num_items_[kMessages]++);
    made.Add(block, {DigestOf({reinterpret_cast<const char*>(&count), sizeof count}, kKindInt)},
             Run::kNone, false);
  }
  made.last_turn_ = made.reply_ = made.blocks_.size();
  return made;
}

const CacheBlocks::Block& CacheBlocks::At(std::size_t block) const {
  if (block >= blocks_.size()) throw ArgumentError(StrCat("no block ", block));
  return blocks_[block];
}

py::bytes CacheBlocks::Digests() const {
  std::string bytes(blocks_.size() * sizeof(std::uint64_t), '\0');
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    std::memcpy(bytes.data() + i * sizeof(std::uint64_t), &blocks_[i].digest,
                sizeof(std::uint64_t));
  }
  return py::bytes(bytes);
}

std::size_t CacheBlocks::Common(const py::bytes& digests) const {
  const std::string_view bytes = digests;
  if (bytes.size() % sizeof(std::uint64_t) != 0) {
    throw ArgumentError("digests: must be 8 bytes for each block");
  }
  std::vector<std::uint64_t> theirs(bytes.size() / sizeof(std::uint64_t));
  if (!bytes.empty()) std::memcpy(theirs.data(), bytes.data(), bytes.size());
  std::vector<std::uint64_t> ours;
  ours.reserve(blocks_.size());
  for (const Block& block : blocks_) ours.push_back(block.digest);
  return budget::CommonBlocks(ours, theirs);
}

std::vector<std::size_t> CacheBlocks::Marked() const {
  std::vector<std::size_t> marked;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].marker_seconds != kNotSet) marked.push_back(i);
  }
  return marked;
}

void CacheBlocks::Add(Block block, JsonValue value, Run run, bool continues) {
  chain_ = JoinDigests(chain_, value.digest);
  block.digest = chain_;
  block.size = value.size;
  const bool same = run != Run::kNone && run == run_ && continues;
  if (!same) ++position_;
  run_ = run;
  block.position = position_;
  blocks_.push_back(block);
}

// Bedrock sets a breakpoint by an element of its own behind the block.
bool CacheBlocks::IsCachePoint(const py::object& element, const Where& path) {
  if (!PyDict_Check(element.ptr()) || PyDict_GET_SIZE(element.ptr()) != 1) return false;
  PyObject* const point = Lookup(element.ptr(), "cachePoint");
  if (point == nullptr) return false;
  if (blocks_.empty()) Refuse(path, "a cachePoint must follow what it is for");
  blocks_.back().marker_seconds = SecondsOf(point, path);
  return true;
}

void CacheBlocks::ReadTools(const py::object& tools) {
  if (tools.is_none()) return;
  if (!IsList(tools)) Refuse(Where{"tools"}, StrCat("expected a list, got ", TypeName(tools)));
  ForEachElement(tools, [&](Py_ssize_t i, const py::object& tool) {
    const Where path{"tools", i};
    if (IsCachePoint(tool, path)) return;
    const py::object plain = Plain(tool, path);
    Block block;
    block.section = kTools;
    block.item = i;
    const PartFields fields(plain.ptr(), path);
    block.marker_seconds = fields.marker_seconds;
    if (block.marker_seconds == kNotSet && fields.function != nullptr) {
      block.marker_seconds = PartFields(fields.function, path).marker_seconds;
    }
    Add(block, DigestOfValue(plain.ptr(), false, 0, path), Run::kNone, false);
  });
  num_items_[kTools] = ItemsOf(tools);
}

void CacheBlocks::ReadSystem(const py::object& system) {
  if (system.is_none()) return;
  if (PyUnicode_Check(system.ptr())) {
    num_items_[kSystem] = 1;
    Block block;
    block.section = kSystem;
    block.part = kText;
    block.markable = !IsBlank(system.ptr());
    Add(block, {DigestOfText(system.ptr()), PyUnicode_GET_LENGTH(system.ptr()) + 2}, Run::kNone,
        false);
    return;
  }
  if (!IsList(system)) {
    Refuse(Where{"system"}, StrCat("expected a str or a list, got ", TypeName(system)));
  }
  ForEachElement(system, [&](Py_ssize_t i, const py::object& element) {
    const Where path{"system", i};
    if (IsCachePoint(element, path)) return;
    Block block;
    block.section = kSystem;
    block.item = i;
    AddPart(block, element, 0, true, path);
  });
  num_items_[kSystem] = ItemsOf(system);
}

void CacheBlocks::ReadMessages(const py::object& messages) {
  if (!IsList(messages))
    Refuse(Where{"messages"}, StrCat("expected a list, got ", TypeName(messages)));
  bool head = true;
  Role before = Role::kOther;
  ForEachElement(messages, [&](Py_ssize_t i, const py::object& message) {
    const Where path{"messages", i};
    const py::object plain = Plain(message, path);
    const std::size_t begin = blocks_.size();
    const Role role = ReadMessage(i, plain.ptr(), before, path);
    if (head && role != Role::kSystem) {
      head = false;
      head_end_ = begin;
    }
    if (role == Role::kUser) last_turn_ = begin;
    if (role == Role::kAssistant && before != Role::kAssistant) reply_ = begin;
    before = role;
  });
  if (head) head_end_ = blocks_.size();
  num_items_[kMessages] = ItemsOf(messages);
  if (reply_ == kNowhere) reply_ = blocks_.size();
  if (last_turn_ == kNowhere) last_turn_ = blocks_.size();
}

CacheBlocks::Role CacheBlocks::ReadMessage(Py_ssize_t item, PyObject* message, Role before,
                                           const Where& path) {
  PyObject* content = nullptr;
  PyObject* calls = nullptr;
  Part listed = kContent;
  JsonValue frame{DigestOf({}, kKindWide + 4), 4};
  std::int32_t marker = kNotSet;
  Role role = Role::kOther;
  ForEachEntry(message, [&](PyObject* key, PyObject* value) {
    if (!PyUnicode_Check(key)) Refuse(path, "the keys of a message must be str");
    const std::string_view name = Ascii(key);
    if (value == Py_None) return;
    if (name == "content" || name == "parts") {
      if (content != nullptr) Refuse(path, "either content or parts");
      if (name == "parts" && !IsList(value)) Refuse(path, "parts: expected a list");
      content = value;
      listed = name == "parts" ? kParts : kContent;
    } else if (name == "tool_calls" && IsList(value)) {
      calls = value;
    } else if (IsMarkerKey(name)) {
      marker = SecondsOf(value, path);
    } else {
      const JsonValue inner = DigestOfValue(value, IsWrittenOut(name), 1, path);
      frame.digest += JoinDigests(DigestOfText(key), inner.digest);
      if (name == "role" && PyUnicode_Check(value)) {
        role = RoleOf(Ascii(value));
      } else {
        frame.size += inner.size;
      }
    }
  });
  const std::size_t begin = blocks_.size();
  Block block;
  block.section = kMessages;
  block.item = item;
  const std::uint64_t joined = JoinDigests(frame.digest, kKindWide);
  const Run run = role == Role::kTool ? Run::kResult : Run::kNone;
  const bool continues = role == Role::kTool && before == Role::kTool;
  if (content != nullptr && PyUnicode_Check(content)) {
    block.part = kText;
    block.markable = !IsBlank(content);
    Add(block,
        {JoinDigests(joined, DigestOfText(content)), frame.size + PyUnicode_GET_LENGTH(content)},
        run, continues);
  } else if (content != nullptr && IsList(content)) {
    ForEachElement(content, [&](Py_ssize_t i, const py::object& part) {
      if (IsCachePoint(part, path)) return;
      Block at = block;
      at.part = listed;
      at.index = i;
      const bool first = blocks_.size() == begin;
      AddPart(at, part, first ? joined : 0, !first || continues, path, run, frame.size);
    });
  } else if (content != nullptr) {
    Refuse(path, StrCat("content: expected a str or a list, got ", TypeName(content)));
  }
  if (calls != nullptr) {
    ForEachElement(calls, [&](Py_ssize_t i, const py::object& call) {
      Block at = block;
      at.part = kCall;
      at.index = i;
      at.markable = false;
      const bool first = blocks_.size() == begin;
      JsonValue value = DigestOfValue(Plain(call, path).ptr(), false, 1, path);
      if (first) value.digest = JoinDigests(joined, value.digest);
      Add(at, value, Run::kUse, !first);
    });
  }
  if (blocks_.size() == begin) {
    block.part = kWhole;
    block.markable = false;
    Add(block, {joined, frame.size}, Run::kNone, false);
  }
  if (marker != kNotSet) blocks_.back().marker_seconds = marker;
  return role;
}

void CacheBlocks::AddPart(Block block, const py::object& element, std::uint64_t joined,
                          bool continues, const Where& path, Run run, std::int64_t frame_size) {
  JsonValue value;
  if (PyUnicode_Check(element.ptr())) {
    value = {DigestOfText(element.ptr()), PyUnicode_GET_LENGTH(element.ptr())};
    block.markable = !IsBlank(element.ptr());
  } else {
    const py::object part = Plain(element, path);
    const PartFields fields(part.ptr(), path);
    block.marker_seconds = fields.marker_seconds;
    value = fields.is_plain_text()
                ? JsonValue{DigestOfText(fields.text), PyUnicode_GET_LENGTH(fields.text)}
                : DigestOfValue(part.ptr(), false, 1, path);
    const std::string_view type = fields.type;
    block.markable = fields.text != nullptr
                         ? !IsBlank(fields.text)
                         : type != "thinking" && type != "redacted_thinking" && type != "reasoning";
    if (run == Run::kNone) run = fields.run;
  }
  if (joined != 0) {
    value.digest = JoinDigests(joined, value.digest);
    value.size += frame_size;
  }
  Add(block, value, run, continues);
}

}  // namespace ctx::bindings
