// CacheBlocks: the blocks of a request as a provider's prompt cache sees them, read from the live
// objects without a copy, and the cache planner over them. No Python code runs while a dict is
// walked: what is not plain JSON data is refused with its path.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "budget/cache_plan.h"
#include "budget/content_digest.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::bindings {
namespace {

namespace py = pybind11;
using budget::DigestOf;
using budget::JoinDigests;

enum Section : std::uint8_t { kTools, kSystem, kMessages };
// What a block is of its item; the path is made from it.
enum Part : std::uint8_t { kWhole, kText, kContent, kParts, kCall };
enum Kind : std::uint64_t { kKindNull, kKindBool, kKindInt, kKindFloat, kKindText, kKindWide };
enum class Role : std::uint8_t { kOther, kSystem, kUser, kAssistant, kTool };

constexpr int kMaxDepth = 200;
constexpr std::int32_t kNotSet = -1;

struct Block {
  std::uint64_t digest = 0;
  std::int64_t size = 0;  // what tokens of an item are shared by
  std::int64_t tokens_after = 0;
  std::int64_t position = 0;
  std::int64_t item = 0;
  std::int64_t index = 0;
  std::int32_t marker_seconds = kNotSet;  // 0: the default lifetime
  Section section = kTools;
  Part part = kWhole;
  bool markable = true;
};

// An item of a request; written out only for an error.
struct Where {
  const char* section;
  Py_ssize_t item = -1;
};

[[noreturn]] void Refuse(const std::string& path, std::string_view why) {
  throw ArgumentError(StrCat(path, ": ", why));
}
[[noreturn]] void Refuse(const Where& where, std::string_view why) {
  if (where.item < 0) Refuse(std::string(where.section), why);
  Refuse(StrCat(where.section, "[", where.item, "]"), why);
}

std::string_view TypeName(py::handle value) { return Py_TYPE(value.ptr())->tp_name; }

// A str as its characters lie in memory: equal texts have equal bytes of an equal width.
std::string_view BytesOf(PyObject* text) {
  const auto width = static_cast<std::size_t>(PyUnicode_KIND(text));
  return {static_cast<const char*>(PyUnicode_DATA(text)),
          static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)) * width};
}

std::uint64_t DigestOfText(PyObject* text) {
  return DigestOf(BytesOf(text), kKindText + (PyUnicode_IS_ASCII(text) ? 0 : 1) +
                                     2 * static_cast<std::uint64_t>(PyUnicode_KIND(text)));
}

// The spelling of a key when it is ASCII; other keys are none of ours.
std::string_view Ascii(PyObject* key) {
  return PyUnicode_Check(key) && PyUnicode_IS_ASCII(key) ? BytesOf(key) : std::string_view();
}

bool IsMarkerKey(std::string_view key) {
  return key == "cache_control" || key == "prompt_cache_breakpoint";
}

// Below these a value is written out for the model as it stands, so that the order of its keys
// counts; elsewhere an API reads the keys by name.
bool IsWrittenOut(std::string_view key) {
  constexpr std::array<std::string_view, 10> kKeys = {
      "input", "input_schema", "parameters", "arguments", "schema",
      "args",  "inputSchema",  "properties", "json",      "parametersJsonSchema"};
  return std::ranges::find(kKeys, key) != kKeys.end();
}

bool IsBlank(PyObject* text) {
  const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
  for (Py_ssize_t i = 0; i < length; ++i) {
    if (!Py_UNICODE_ISSPACE(PyUnicode_READ_CHAR(text, i))) return false;
  }
  return true;
}

// A dict or list that no other thread changes: the object itself where a lock holds the others off.
py::object Still(py::handle value) {
#ifdef Py_GIL_DISABLED
  PyObject* const copy =
      PyDict_Check(value.ptr()) ? PyDict_Copy(value.ptr()) : PySequence_List(value.ptr());
  if (copy == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(copy);
#else
  return py::reinterpret_borrow<py::object>(value);
#endif
}

template <typename Visit>
void ForEachEntry(py::handle dict, const Visit& visit) {
  const py::object still = Still(dict);
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(still.ptr(), &at, &key, &value) != 0) visit(key, value);
}

bool IsList(py::handle value) { return PyList_Check(value.ptr()) || PyTuple_Check(value.ptr()); }

template <typename Visit>
void ForEachElement(py::handle list, const Visit& visit) {
  const py::object still = Still(list);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(still.ptr()); ++i) {
    visit(i, py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(still.ptr(), i)));
  }
}

struct Value {
  std::uint64_t digest = 0;
  std::int64_t size = 0;
};

Value DigestOfValue(PyObject* value, bool written_out, int depth, const Where& path);

Value DigestOfNumber(PyObject* value) {
  if (PyBool_Check(value)) return {DigestOf(value == Py_True ? "1" : "0", kKindBool), 2};
  if (PyFloat_Check(value)) {
    const double number = PyFloat_AS_DOUBLE(value);
    return {DigestOf({reinterpret_cast<const char*>(&number), sizeof number}, kKindFloat), 8};
  }
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) {
    return {DigestOf({reinterpret_cast<const char*>(&number), sizeof number}, kKindInt), 4};
  }
  const auto digits = py::reinterpret_steal<py::object>(PyNumber_ToBase(value, 16));
  if (!digits) throw py::error_already_set();
  return {DigestOf(BytesOf(digits.ptr()), kKindInt), PyUnicode_GET_LENGTH(digits.ptr())};
}

Value DigestOfDict(PyObject* dict, bool written_out, int depth, const Where& path) {
  Value all{budget::DigestOf({}, kKindWide + 2), 2};
  ForEachEntry(dict, [&](PyObject* key, PyObject* value) {
    if (!PyUnicode_Check(key)) Refuse(path, "the keys of an object must be str");
    const std::string_view name = Ascii(key);
    if (!written_out && (IsMarkerKey(name) || value == Py_None)) return;
    const Value inner = DigestOfValue(value, written_out || IsWrittenOut(name), depth + 1, path);
    const std::uint64_t entry = JoinDigests(DigestOfText(key), inner.digest);
    all.digest = written_out ? JoinDigests(all.digest, entry) : all.digest + entry;
    all.size += PyUnicode_GET_LENGTH(key) + inner.size + 2;
  });
  all.digest = JoinDigests(all.digest, kKindWide);
  return all;
}

Value DigestOfValue(PyObject* value, bool written_out, int depth, const Where& path) {
  if (PyUnicode_Check(value)) return {DigestOfText(value), PyUnicode_GET_LENGTH(value) + 2};
  if (value == Py_None) return {DigestOf({}, kKindNull), 4};
  if (PyLong_Check(value) || PyFloat_Check(value)) return DigestOfNumber(value);
  if (depth > kMaxDepth) Refuse(path, StrCat("nested deeper than ", kMaxDepth, " levels"));
  if (PyDict_Check(value)) return DigestOfDict(value, written_out, depth, path);
  if (!IsList(value)) {
    Refuse(path, StrCat("a value of type ", TypeName(value), " is not JSON data"));
  }
  Value all{DigestOf({}, kKindWide + 3), 2};
  ForEachElement(value, [&](Py_ssize_t, const py::object& element) {
    const Value inner = DigestOfValue(element.ptr(), written_out, depth + 1, path);
    all.digest = JoinDigests(all.digest, inner.digest);
    all.size += inner.size + 1;
  });
  return all;
}

// The value of a key that is not null; a dict of ours has few keys.
PyObject* Lookup(PyObject* dict, std::string_view wanted) {
  PyObject* found = nullptr;
  ForEachEntry(dict, [&](PyObject* key, PyObject* value) {
    if (value != Py_None && Ascii(key) == wanted) found = value;
  });
  return found;
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

// What a run of such blocks counts as one position for; kNone: each counts.
enum class Run : std::uint8_t { kNone, kUse, kResult };

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

class CacheBlocks {
 public:
  CacheBlocks(py::object tools, py::object system, py::object messages, py::object head,
              py::object middle) {
    chain_ = DigestOfValue(head.ptr(), false, 0, {"settings"}).digest;
    ReadTools(tools);
    tools_end_ = blocks_.size();
    ReadSystem(system);
    head_end_ = blocks_.size();
    chain_ = JoinDigests(chain_, DigestOfValue(middle.ptr(), false, 0, {"settings"}).digest);
    ReadMessages(messages);
  }

  // Blocks of which only the tokens are known: equal counts are taken for equal blocks.
  static CacheBlocks FromCounts(const std::vector<std::int64_t>& counts) {
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

  std::size_t size() const { return blocks_.size(); }
  std::int64_t total_tokens() const { return total_tokens_; }

  py::bytes Digests() const {
    std::string bytes(blocks_.size() * sizeof(std::uint64_t), '\0');
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      std::memcpy(bytes.data() + i * sizeof(std::uint64_t), &blocks_[i].digest,
                  sizeof(std::uint64_t));
    }
    return py::bytes(bytes);
  }

  std::size_t Common(const py::bytes& digests) const {
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

  // Ends of the tools and of the head, begin of the last user turn, begin of the last reply: as
  // numbers of blocks before them.
  std::tuple<std::size_t, std::size_t, std::size_t, std::size_t> Landmarks() const {
    return {tools_end_, head_end_, last_turn_, reply_};
  }

  std::tuple<int, std::int64_t, int, std::int64_t> Place(std::size_t block) const {
    const Block& of = At(block);
    return {of.section, of.item, of.part, of.index};
  }
  std::int64_t TokensAfter(std::size_t block) const { return At(block).tokens_after; }
  std::int32_t MarkerSeconds(std::size_t block) const { return At(block).marker_seconds; }
  bool Markable(std::size_t block) const { return At(block).markable; }
  std::vector<std::size_t> Marked() const {
    std::vector<std::size_t> marked;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      if (blocks_[i].marker_seconds != kNotSet) marked.push_back(i);
    }
    return marked;
  }
  std::int64_t PositionOf(std::size_t block) const { return At(block).position; }

  // Tokens of each section: a number, or a sequence with a number, or numbers by block, per item.
  void Allot(const py::object& tools, const py::object& system, const py::object& messages,
             std::int64_t tail_tokens) {
    std::vector<std::int64_t> tokens(blocks_.size());
    std::size_t from = 0;
    constexpr std::array<const char*, 3> kNames = {"tools", "system", "messages"};
    const std::array<const py::object*, 3> given = {&tools, &system, &messages};
    for (const Section section : {kTools, kSystem, kMessages}) {
      std::size_t to = from;
      while (to < blocks_.size() && blocks_[to].section == section) ++to;
      AllotSection(kNames[section], *given[section], section, from, to, tokens);
      from = to;
    }
    std::int64_t sum = 0;
    for (const std::int64_t count : tokens) sum = Sum(sum, count);
    const std::int64_t total = Sum(sum, Checked("template", tail_tokens));
    std::int64_t after = 0;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      after += tokens[i];
      blocks_[i].tokens_after = after;
    }
    total_tokens_ = total;
  }

  using Lifetime = std::pair<std::int64_t, std::int64_t>;             // seconds, write price
  using Entry = std::tuple<std::size_t, std::int64_t, std::int64_t>;  // block, seconds, left
  using Next = std::tuple<std::size_t, std::int64_t, std::int64_t>;   // blocks, ppm, gap
  using Chosen = std::vector<std::pair<std::size_t, std::size_t>>;    // block, lifetime
  using Use =
      std::tuple<Chosen, std::int64_t, std::size_t, std::vector<std::int64_t>, std::int64_t>;

  Use Plan(std::size_t max_breakpoints, std::int64_t min_tokens, std::int64_t look_back,
           const std::vector<Lifetime>& lifetimes, std::int64_t default_seconds,
           std::int64_t input_price, std::int64_t read_price, const std::vector<Entry>& entries,
           std::int64_t entries_ppm, const std::vector<Next>& next_calls, int first_section,
           bool place, bool implicit_tail) const {
    budget::BreakpointRules rules{max_breakpoints, min_tokens, look_back, {},
                                  input_price,     read_price};
    for (const auto& [seconds, price] : lifetimes) rules.lifetimes.push_back({seconds, price});
    std::vector<budget::PromptBlock> blocks;
    blocks.reserve(blocks_.size());
    std::vector<budget::CacheBreakpoint> chosen;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      std::int32_t marker_seconds = block.marker_seconds;
      if (implicit_tail && i + 1 == blocks_.size() && marker_seconds == kNotSet) marker_seconds = 0;
      const std::int32_t marker = LifetimeOf(marker_seconds, rules, default_seconds);
      blocks.push_back({block.tokens_after, block.position,
                        block.markable && block.section >= first_section, marker});
      if (marker >= 0) chosen.push_back({i, static_cast<std::size_t>(marker)});
    }
    std::vector<budget::CacheEntry> stored;
    for (const auto& [block, seconds, left] : entries) stored.push_back({block, seconds, left});
    std::vector<budget::NextCall> next;
    for (const auto& [shared, ppm, gap] : next_calls) next.push_back({shared, ppm, gap});
    const budget::CacheProblem problem{blocks, total_tokens_, &rules, stored, entries_ppm, next};
    if (place) {
      chosen = budget::ChooseBreakpoints(problem);
    } else {
      budget::CheckMarkers(problem);
    }
    // What may be there is planned for; what is not known to be there is not predicted.
    budget::CacheProblem known = problem;
    if (entries_ppm != budget::kPartsPerMillion) known.entries = {};
    const budget::CacheUse use = budget::PredictUse(known, chosen);
    Chosen pairs;
    for (const budget::CacheBreakpoint& at : chosen) pairs.emplace_back(at.block, at.lifetime);
    return {std::move(pairs), use.read_tokens, use.read_blocks, use.written_tokens,
            use.uncached_tokens};
  }

 private:
  CacheBlocks() = default;

  const Block& At(std::size_t block) const {
    if (block >= blocks_.size()) throw ArgumentError(StrCat("no block ", block));
    return blocks_[block];
  }

  void Add(Block block, Value value, Run run, bool continues) {
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
  bool IsCachePoint(const py::object& element, const Where& path) {
    if (!PyDict_Check(element.ptr()) || PyDict_GET_SIZE(element.ptr()) != 1) return false;
    PyObject* const point = Lookup(element.ptr(), "cachePoint");
    if (point == nullptr) return false;
    if (blocks_.empty()) Refuse(path, "a cachePoint must follow what it is for");
    blocks_.back().marker_seconds = SecondsOf(point, path);
    return true;
  }

  void ReadTools(const py::object& tools) {
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

  void ReadSystem(const py::object& system) {
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

  void ReadMessages(const py::object& messages) {
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

  Role ReadMessage(Py_ssize_t item, PyObject* message, Role before, const Where& path) {
    PyObject* content = nullptr;
    PyObject* calls = nullptr;
    Part listed = kContent;
    Value frame{DigestOf({}, kKindWide + 4), 4};
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
        const Value inner = DigestOfValue(value, IsWrittenOut(name), 1, path);
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
        Value value = DigestOfValue(Plain(call, path).ptr(), false, 1, path);
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

  // `joined` is the digest of what stands before the first part of a message; 0: nothing does.
  void AddPart(Block block, const py::object& element, std::uint64_t joined, bool continues,
               const Where& path, Run run = Run::kNone, std::int64_t frame_size = 0) {
    Value value;
    if (PyUnicode_Check(element.ptr())) {
      value = {DigestOfText(element.ptr()), PyUnicode_GET_LENGTH(element.ptr())};
      block.markable = !IsBlank(element.ptr());
    } else {
      const py::object part = Plain(element, path);
      const PartFields fields(part.ptr(), path);
      block.marker_seconds = fields.marker_seconds;
      value = fields.is_plain_text()
                  ? Value{DigestOfText(fields.text), PyUnicode_GET_LENGTH(fields.text)}
                  : DigestOfValue(part.ptr(), false, 1, path);
      const std::string_view type = fields.type;
      block.markable = fields.text != nullptr ? !IsBlank(fields.text)
                                              : type != "thinking" && type != "redacted_thinking" &&
                                                    type != "reasoning";
      if (run == Run::kNone) run = fields.run;
    }
    if (joined != 0) {
      value.digest = JoinDigests(joined, value.digest);
      value.size += frame_size;
    }
    Add(block, value, run, continues);
  }

  // A dict; an object that tells its own fields is asked for them.
  static py::object Plain(const py::object& value, const Where& path) {
    if (PyDict_Check(value.ptr())) return value;
    if (py::hasattr(value, "model_dump")) {
      py::object fields = value.attr("model_dump")(py::arg("exclude_unset") = true);
      if (PyDict_Check(fields.ptr())) return fields;
    }
    Refuse(path, StrCat("expected a dict, got ", TypeName(value)));
  }

  static std::size_t ItemsOf(const py::object& list) {
    return static_cast<std::size_t>(PySequence_Size(list.ptr()));
  }

  static std::int64_t Checked(std::string_view name, std::int64_t tokens) {
    if (tokens < 0) throw ArgumentError(StrCat(name, ": tokens must not be negative: ", tokens));
    return tokens;
  }
  static std::int64_t Sum(std::int64_t sum, std::int64_t more) {
    if (more > budget::kMaxCacheTokens - sum) {
      throw ArgumentError("tokens: more than 2^40 together");
    }
    return sum + more;
  }

  // Shares `total` between blocks by their size; the parts add up.
  void Share(std::int64_t total, std::size_t from, std::size_t to,
             std::vector<std::int64_t>& tokens) const {
    if (from == to) return;
    budget::Amount sizes = 0;
    for (std::size_t i = from; i < to; ++i) sizes += blocks_[i].size + 1;
    budget::Amount seen = 0;
    std::int64_t given = 0;
    for (std::size_t i = from; i < to; ++i) {
      seen += blocks_[i].size + 1;
      const auto up_to = static_cast<std::int64_t>(total * seen / sizes);
      tokens[i] = up_to - given;
      given = up_to;
    }
  }

  static std::int64_t CountFrom(py::handle number, const std::string& path) {
    const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(number.ptr()));
    int overflow = 0;
    long long count = -1;
    if (index) count = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (!index || overflow != 0) {
      PyErr_Clear();
      Refuse(path, StrCat("expected a number of tokens, got ", TypeName(number)));
    }
    if (count > budget::kMaxCacheTokens) Refuse(path, "more than 2^40 tokens");
    return Checked(path, count);
  }

  void AllotSection(const char* name, const py::object& given, Section section, std::size_t from,
                    std::size_t to, std::vector<std::int64_t>& tokens) const {
    if (given.is_none()) {
      if (from != to) Refuse(StrCat("tokens.", name), "missing");
      return;
    }
    if (!PySequence_Check(given.ptr()) || PyUnicode_Check(given.ptr())) {
      const std::int64_t total = CountFrom(given, StrCat("tokens.", name));
      if (from == to && total > 0) Refuse(StrCat("tokens.", name), "the request has none");
      Share(total, from, to, tokens);
      return;
    }
    const auto items = py::reinterpret_steal<py::object>(PySequence_Fast(given.ptr(), ""));
    if (!items) throw py::error_already_set();
    const auto size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
    if (size != num_items_[section]) {
      Refuse(StrCat("tokens.", name),
             StrCat(size, " counts for ", num_items_[section], " of the request"));
    }
    for (std::size_t i = 0; i < size; ++i) {
      std::size_t end = from;
      while (end < to && static_cast<std::size_t>(blocks_[end].item) == i) ++end;
      const py::handle item = PySequence_Fast_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i));
      if (PyLong_Check(item.ptr())) {
        const std::int64_t total = CountFrom(item, name);
        if (from == end && total > 0) {
          Refuse(StrCat("tokens.", name, "[", i, "]"), "tokens of what holds nothing");
        }
        Share(total, from, end, tokens);
      } else {
        AllotItem(StrCat("tokens.", name, "[", i, "]"), item, from, end, tokens);
      }
      from = end;
    }
  }

  void AllotItem(const std::string& path, py::handle given, std::size_t from, std::size_t to,
                 std::vector<std::int64_t>& tokens) const {
    if (!PySequence_Check(given.ptr()) || PyUnicode_Check(given.ptr())) {
      Share(CountFrom(given, path), from, to, tokens);
      return;
    }
    const auto counts = py::reinterpret_steal<py::object>(PySequence_Fast(given.ptr(), ""));
    if (!counts) throw py::error_already_set();
    const auto size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(counts.ptr()));
    if (size != to - from) Refuse(path, StrCat(size, " counts for ", to - from, " blocks"));
    for (std::size_t i = 0; i < size; ++i) {
      tokens[from + i] =
          CountFrom(PySequence_Fast_GET_ITEM(counts.ptr(), static_cast<Py_ssize_t>(i)), path);
    }
  }

  static std::int32_t LifetimeOf(std::int32_t marker_seconds, const budget::BreakpointRules& rules,
                                 std::int64_t default_seconds) {
    if (marker_seconds == kNotSet) return -1;
    const std::int64_t seconds = marker_seconds == 0 ? default_seconds : marker_seconds;
    for (std::size_t i = 0; i < rules.lifetimes.size(); ++i) {
      if (rules.lifetimes[i].seconds == seconds) return static_cast<std::int32_t>(i);
    }
    throw ArgumentError(
        StrCat("a breakpoint is set to live ", seconds, " seconds, which the rules do not offer"));
  }

  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

  std::vector<Block> blocks_;
  std::array<std::size_t, 3> num_items_{};
  std::uint64_t chain_ = 0;
  std::int64_t position_ = -1;
  std::int64_t total_tokens_ = 0;
  Run run_ = Run::kNone;
  std::size_t tools_end_ = 0;
  std::size_t head_end_ = 0;
  std::size_t last_turn_ = kNowhere;
  std::size_t reply_ = kNowhere;
};

}  // namespace

void RegisterCachePlan(py::module_& module) {
  py::class_<CacheBlocks>(module, "CacheBlocks")
      .def(py::init<py::object, py::object, py::object, py::object, py::object>(), py::arg("tools"),
           py::arg("system"), py::arg("messages"), py::arg("head"), py::arg("middle"),
           py::pos_only())
      .def_static("from_counts", &CacheBlocks::FromCounts, py::arg("counts"), py::pos_only())
      .def("__len__", &CacheBlocks::size)
      .def_property_readonly("total_tokens", &CacheBlocks::total_tokens)
      .def_property_readonly("digests", &CacheBlocks::Digests)
      .def_property_readonly("landmarks", &CacheBlocks::Landmarks)
      .def_property_readonly("marked", &CacheBlocks::Marked)
      .def("common", &CacheBlocks::Common, py::arg("digests"), py::pos_only())
      .def("place", &CacheBlocks::Place, py::arg("block"), py::pos_only())
      .def("tokens_after", &CacheBlocks::TokensAfter, py::arg("block"), py::pos_only())
      .def("marker_seconds", &CacheBlocks::MarkerSeconds, py::arg("block"), py::pos_only())
      .def("markable", &CacheBlocks::Markable, py::arg("block"), py::pos_only())
      .def("position", &CacheBlocks::PositionOf, py::arg("block"), py::pos_only())
      .def("allot", &CacheBlocks::Allot, py::arg("tools"), py::arg("system"), py::arg("messages"),
           py::arg("tail_tokens"), py::pos_only())
      .def("plan", &CacheBlocks::Plan, py::arg("max_breakpoints"), py::arg("min_tokens"),
           py::arg("look_back"), py::arg("lifetimes"), py::arg("default_seconds"),
           py::arg("input_price"), py::arg("read_price"), py::arg("entries"),
           py::arg("entries_ppm"), py::arg("next_calls"), py::arg("first_section"),
           py::arg("place"), py::arg("implicit_tail"), py::pos_only());
}

}  // namespace ctx::bindings
