#include "chat/harmony_content.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <unordered_set>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

using std::string_view;
using Kind = JsonTree::Kind;

// openai-harmony's own tools, by the names that ToolNamespaceConfig has them under.
constexpr string_view kBrowser =
    "## browser\n\n"
    "// Tool for browsing.\n"
    "// The `cursor` appears in brackets before each browsing display: `[{cursor}]`.\n"
    "// Cite information from the tool using the following format:\n"
    "// `【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or `【8†L3】`.\n"
    "// Do not quote more than 10 words directly from the tool output.\n"
    "// sources=web (default: web)\n"
    "namespace browser {\n\n"
    "// Searches for information related to `query` and displays `topn` results.\n"
    "type search = (_: {\n"
    "query: string,\n"
    "topn?: number, // default: 10\n"
    "source?: string,\n"
    "}) => any;\n\n"
    "// Opens the link `id` from the page indicated by `cursor` starting at line number `loc`, "
    "showing `num_lines` lines.\n"
    "// Valid link ids are displayed with the formatting: `【{id}†.*】`.\n"
    "// If `cursor` is not provided, the most recent page is implied.\n"
    "// If `id` is a string, it is treated as a fully qualified URL associated with `source`.\n"
    "// If `loc` is not provided, the viewport will be positioned at the beginning of the document "
    "or centered on the most relevant passage, if available.\n"
    "// Use this function without `id` to scroll to a new location of an opened page.\n"
    "type open = (_: {\n"
    "id?: number | string, // default: -1\n"
    "cursor?: number, // default: -1\n"
    "loc?: number, // default: -1\n"
    "num_lines?: number, // default: -1\n"
    "view_source?: boolean, // default: false\n"
    "source?: string,\n"
    "}) => any;\n\n"
    "// Finds exact matches of `pattern` in the current page, or the page given by `cursor`.\n"
    "type find = (_: {\n"
    "pattern: string,\n"
    "cursor?: number, // default: -1\n"
    "}) => any;\n\n"
    "} // namespace browser";
constexpr string_view kPython =
    "## python\n\n"
    "Use this tool to execute Python code in your chain of thought. The code will not be shown to "
    "the user. This tool should be used for internal reasoning, but not for code that is intended "
    "to be visible to the user (e.g. when creating plots, tables, or files).\n\n"
    "When you send a message containing Python code to python, it will be executed in a stateful "
    "Jupyter notebook environment. python will respond with the output of the execution or time "
    "out after 120.0 seconds. The drive at '/mnt/data' can be used to save and persist user files. "
    "Internet access for this session is UNKNOWN. Depends on the cluster.";

template <typename... Parts>
void Append(std::string& out, const Parts&... parts) {
  (out.append(parts), ...);
}

std::string Joined(std::span<const std::string> parts, string_view between) {
  std::string out;
  for (const std::string& part : parts) {
    if (&part != &parts.front()) out.append(between);
    out.append(part);
  }
  return out;
}

// Each line with `prefix` before and "\n" after it. A line ends with "\n" or "\r\n"; an empty last
// one is none.
void AppendLines(string_view text, string_view prefix, std::string& out) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    string_view line = text.substr(0, end);
    text.remove_prefix(end == string_view::npos ? text.size() : end + 1);
    if (end != string_view::npos && line.ends_with('\r')) line.remove_suffix(1);
    Append(out, prefix, line, "\n");
  }
}

// --- JSON schema as a TypeScript-like type ---

class Schema {
 public:
  explicit Schema(string_view path) : path_(path) {}

  // Mirrors openai-harmony's choice: oneOf, a list of types, one type, else any.
  void Type(const JsonTree& schema, const std::string& indent, std::string& out) const {
    if (const JsonTree* variants = Array(schema, "oneOf")) {
      for (const JsonTree& variant : variants->items) {
        Append(out, "\n", indent, " | ");
        VariantType(variant, indent, out);
        const std::string* const text = variant.FindString("description");
        std::string comment = text == nullptr ? "" : *text;
        if (const JsonTree* value = variant.Find("default")) {
          if (text != nullptr) comment += ' ';
          Append(comment, "default: ");
          // Here the string of an enum stands in quotes as well.
          if (value->is(Kind::kString) && !IsEnum(variant)) {
            Append(comment, "\"", value->text, "\"");
          } else {
            WriteLikeSerde(*value, path_, comment);
          }
        } else if (text == nullptr) {
          continue;
        }
        Append(out, " // ", comment);
      }
      return;
    }
    if (const JsonTree* types = Array(schema, "type")) {
      if (ListOfTypes(*types, out)) return;
    }
    const std::string* const type = schema.FindString("type");
    if (type == nullptr) {
      out += "any";
    } else if (*type == "object") {
      Object(schema, indent, out);
    } else if (*type == "string") {
      if (!Enum(schema, out)) out += "string";
    } else if (*type == "number" || *type == "integer") {
      out += "number";
    } else if (*type == "boolean") {
      out += "boolean";
    } else if (*type != "array") {
      out += "any";
    } else if (const JsonTree* items = schema.Find("items")) {
      Type(*items, indent, out);
      out += "[]";
    } else {
      out += "Array<any>";
    }
  }

 private:
  static const JsonTree* Array(const JsonTree& schema, string_view key) {
    const JsonTree* const value = schema.Find(key);
    return value != nullptr && value->is(Kind::kArray) ? value : nullptr;
  }

  static bool IsEnum(const JsonTree& schema) {
    const JsonTree* const values = Array(schema, "enum");
    return values != nullptr && !values->items.empty();
  }

  static bool ListOfTypes(const JsonTree& types, std::string& out) {
    bool any = false;
    for (const JsonTree& type : types.items) {
      if (!type.is(Kind::kString)) continue;
      Append(out, any ? " | " : "", type.text == "integer" ? "number" : type.text);
      any = true;
    }
    return any;
  }

  static bool Enum(const JsonTree& schema, std::string& out) {
    const JsonTree* const values = Array(schema, "enum");
    if (values == nullptr) return false;
    bool any = false;
    for (const JsonTree& value : values->items) {
      if (!value.is(Kind::kString)) continue;
      Append(out, any ? " | \"" : "\"", value.text, "\"");
      any = true;
    }
    return any;
  }

  // A type with " | null" when it may be null and does not say so yet.
  void NullableType(const JsonTree& schema, const std::string& indent, std::string& out) const {
    const std::size_t from = out.size();
    Type(schema, indent, out);
    const JsonTree* const nullable = schema.Find("nullable");
    if (nullable != nullptr && nullable->is(Kind::kBoolean) && nullable->boolean &&
        out.find("null", from) == std::string::npos) {
      out += " | null";
    }
  }

  void VariantType(const JsonTree& variant, const std::string& indent, std::string& out) const {
    NullableType(variant, indent + "   ", out);
  }

  // "default: VALUE": a string in quotes unless it is one of an enum.
  void Default(const JsonTree& schema, const JsonTree& value, std::string& out) const {
    out += "default: ";
    if (!value.is(Kind::kString)) {
      WriteLikeSerde(value, path_, out);
    } else if (IsEnum(schema)) {
      out += value.text;
    } else {
      Append(out, "\"", value.text, "\"");
    }
  }

  void Object(const JsonTree& schema, const std::string& indent, std::string& out) const {
    if (const std::string* text = schema.FindString("description")) {
      Append(out, indent, "// ", *text, "\n");
    }
    out += "{\n";
    if (const JsonTree* properties = schema.Find("properties")) {
      std::unordered_set<string_view> required;
      if (const JsonTree* names = Array(schema, "required")) {
        for (const JsonTree& name : names->items) {
          if (name.is(Kind::kString)) required.insert(name.text);
        }
      }
      for (const auto& [name, property] : properties->members) {
        Property(name, property, required.contains(name), indent, out);
      }
    }
    Append(out, indent, "}");
  }

  void Property(const std::string& name, const JsonTree& property, bool is_required,
                const std::string& indent, std::string& out) const {
    const string_view mark = is_required ? "" : "?";
    const std::string* const text = property.FindString("description");
    if (const std::string* title = property.FindString("title")) {
      Append(out, indent, "// ", *title, "\n", indent, "//\n");
    }
    if (text != nullptr && property.Find("oneOf") == nullptr) {
      Append(out, indent, "// ", *text, "\n");
    }
    if (const JsonTree* examples = Array(property, "examples")) {
      if (!examples->items.empty()) Append(out, indent, "// Examples:\n");
      for (const JsonTree& example : examples->items) {
        if (example.is(Kind::kString)) Append(out, indent, "// - \"", example.text, "\"\n");
      }
    }
    const JsonTree* const value = property.Find("default");
    if (const JsonTree* variants = Array(property, "oneOf")) {
      Variants(
          *variants, text, indent,
          [&] {
            if (value != nullptr) {
              Append(out, indent, "// ");
              Default(property, *value, out);
              out += "\n";
            }
            Append(out, indent, name, mark, ":\n");
          },
          out);
      return;
    }
    Append(out, indent, name, mark, ": ");
    NullableType(property, indent + "    ", out);
    out += ",";
    if (value != nullptr && property.Find("oneOf") == nullptr) {
      out += " // ";
      Default(property, *value, out);
    }
    out += "\n";
  }

  // The property's description stands above it, unless the first variant says the same.
  template <typename WriteName>
  void Variants(const JsonTree& variants, const std::string* text, const std::string& indent,
                const WriteName& write_name, std::string& out) const {
    const std::string* const first =
        variants.items.empty() ? nullptr : variants.items.front().FindString("description");
    const bool stands_above = text != nullptr && (first == nullptr || *first != *text);
    if (stands_above) Append(out, indent, "// ", *text, "\n");
    write_name();
    for (const JsonTree& variant : variants.items) {
      Append(out, indent, " | ");
      VariantType(variant, indent, out);
      std::string comment;
      const std::string* own = variant.FindString("description");
      if (stands_above && &variant == &variants.items.front()) own = nullptr;
      if (own != nullptr && text != nullptr && *own == *text) own = nullptr;
      if (own != nullptr) comment = " " + *own;
      if (const JsonTree* value = variant.Find("default")) {
        comment += " ";
        Default(variant, *value, comment);
      }
      if (!comment.empty()) Append(out, " //", comment);
      out += "\n";
    }
    Append(out, indent, ",\n");
  }

  const string_view path_;
};

// --- tools ---

struct Tool {
  string_view name;
  string_view description;
  const JsonTree* parameters;  // null for a function without any
};

void AppendTool(const Tool& tool, string_view path, std::string& out) {
  AppendLines(tool.description, "// ", out);
  Append(out, "type ", tool.name, " = (");
  if (tool.parameters != nullptr) {
    out += "_: ";
    Schema(path).Type(*tool.parameters, "", out);
  }
  out += ") => any;\n\n";
}

std::string Namespace(string_view name, string_view description, std::span<const Tool> tools,
                      string_view path) {
  std::string out;
  Append(out, "## ", name, "\n\n");
  AppendLines(description, tools.empty() ? "" : "// ", out);
  if (tools.empty()) {
    out.pop_back();
    return out;
  }
  Append(out, "namespace ", name, " {\n\n");
  for (const Tool& tool : tools) AppendTool(tool, path, out);
  Append(out, "} // namespace ", name);
  return out;
}

// --- checked reading ---

[[noreturn]] void Refuse(string_view path, string_view field, string_view why) {
  throw ArgumentError(StrCat(path, ".", field, ": ", why));
}

const JsonTree& RequireObject(const JsonTree& value, string_view path) {
  if (!value.is(Kind::kObject)) throw ArgumentError(StrCat(path, ": must be an object"));
  return value;
}

void RefuseOthers(const JsonTree& object, string_view path,
                  std::initializer_list<string_view> known) {
  for (const auto& [name, value] : RequireObject(object, path).members) {
    if (std::ranges::find(known, string_view(name)) == known.end() && !value.is(Kind::kNull)) {
      Refuse(path, name, "unknown field");
    }
  }
}

// A member; null when absent or null.
const JsonTree* Member(const JsonTree& object, string_view name) {
  const JsonTree* const value = object.Find(name);
  return value == nullptr || value->is(Kind::kNull) ? nullptr : value;
}

const std::string* OptionalString(const JsonTree& object, string_view name, string_view path) {
  const JsonTree* const value = Member(object, name);
  if (value == nullptr) return nullptr;
  if (!value->is(Kind::kString)) Refuse(path, name, "must be a string");
  return &value->text;
}

const std::string& RequiredString(const JsonTree& object, string_view name, string_view path) {
  const std::string* const value = OptionalString(object, name, path);
  if (value == nullptr) Refuse(path, name, "missing");
  return *value;
}

const JsonTree* OptionalArray(const JsonTree& object, string_view name, string_view path) {
  const JsonTree* const value = Member(object, name);
  if (value != nullptr && !value->is(Kind::kArray)) Refuse(path, name, "must be a list");
  return value;
}

const JsonTree* Parameters(const JsonTree& tool, string_view path) {
  const JsonTree* const value = Member(tool, "parameters");
  if (value != nullptr && !value->is(Kind::kObject))
    Refuse(path, "parameters", "must be an object");
  return value;
}

// The namespaces of a content by key, each as text. openai-harmony keeps them sorted.
std::vector<std::pair<std::string, std::string>> Namespaces(const JsonTree& content,
                                                            const std::string& path) {
  std::vector<std::pair<std::string, std::string>> found;
  if (const JsonTree* names = OptionalArray(content, "builtin_tools", path)) {
    for (const JsonTree& name : names->items) {
      if (name.text == "browser") {
        found.emplace_back(name.text, kBrowser);
      } else if (name.text == "python") {
        found.emplace_back(name.text, kPython);
      } else {
        Refuse(path, "builtin_tools", "must hold 'browser' and 'python' only");
      }
    }
  }
  if (const JsonTree* tools = Member(content, "tools")) {
    const std::string tools_path = path + ".tools";
    for (const auto& [key, space] : RequireObject(*tools, tools_path).members) {
      const std::string where = StrCat(tools_path, ".", key);
      RefuseOthers(space, where, {"name", "description", "tools"});
      const std::string* const description = OptionalString(space, "description", where);
      std::vector<Tool> functions;
      if (const JsonTree* list = OptionalArray(space, "tools", where)) {
        for (std::size_t i = 0; i < list->items.size(); ++i) {
          const JsonTree& tool = list->items[i];
          const std::string at = StrCat(where, ".tools[", i, "]");
          RefuseOthers(tool, at, {"name", "description", "parameters"});
          functions.push_back({RequiredString(tool, "name", at),
                               RequiredString(tool, "description", at), Parameters(tool, at)});
        }
      } else {
        Refuse(where, "tools", "missing");
      }
      found.emplace_back(key,
                         Namespace(RequiredString(space, "name", where),
                                   description == nullptr ? "" : *description, functions, where));
    }
  }
  std::ranges::stable_sort(found, {}, &std::pair<std::string, std::string>::first);
  const auto twice = std::ranges::adjacent_find(
      found, [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != found.end()) Refuse(path, "builtin_tools", "gives '" + twice->first + "' twice");
  return found;
}

// "# Tools" and the namespaces; nothing without any.
void AppendToolsSection(std::span<const std::pair<std::string, std::string>> namespaces,
                        std::vector<std::string>& sections) {
  if (namespaces.empty()) return;
  sections.emplace_back("# Tools");
  for (const auto& [key, text] : namespaces) sections.push_back(text);
}

}  // namespace

HarmonyContent::HarmonyContent(Kind kind, string_view json, std::string path)
    : kind_(kind), path_(std::move(path)), root_(ParseJson(json, kMaxParameterDepth + 5, path_)) {
  if (kind_ == Kind::kDeveloper) {
    RefuseOthers(root_, path_, {"type", "instructions", "tools"});
  } else {
    RefuseOthers(root_, path_,
                 {"type", "model_identity", "reasoning_effort", "conversation_start_date",
                  "knowledge_cutoff", "channel_config", "tools", "builtin_tools"});
  }
}

bool HarmonyContent::has_function_tools() const {
  if (kind_ != Kind::kDeveloper) return false;
  const JsonTree* const tools = root_.Find("tools");
  const JsonTree* const functions = tools == nullptr ? nullptr : tools->Find("functions");
  const JsonTree* const list = functions == nullptr ? nullptr : functions->Find("tools");
  return list != nullptr && !list->items.empty();
}

std::string HarmonyContent::Text(bool conversation_has_function_tools) const {
  return kind_ == Kind::kSystem ? SystemText(conversation_has_function_tools) : DeveloperText();
}

std::string HarmonyContent::SystemText(bool conversation_has_function_tools) const {
  std::vector<std::string> sections;
  std::vector<std::string> top;
  constexpr std::array<std::pair<string_view, string_view>, 3> kTop = {{
      {"model_identity", ""},
      {"knowledge_cutoff", "Knowledge cutoff: "},
      {"conversation_start_date", "Current date: "},
  }};
  for (const auto& [field, label] : kTop) {
    if (const std::string* value = OptionalString(root_, field, path_)) {
      top.push_back(std::string(label) + *value);
    }
  }
  if (!top.empty()) sections.push_back(Joined(top, "\n"));
  if (const std::string* effort = OptionalString(root_, "reasoning_effort", path_)) {
    if (*effort != "Low" && *effort != "Medium" && *effort != "High") {
      Refuse(path_, "reasoning_effort", "must be 'Low', 'Medium' or 'High'");
    }
    sections.push_back("Reasoning: " + *effort);
    char& initial = sections.back()[std::string("Reasoning: ").size()];
    initial = static_cast<char>(initial - 'A' + 'a');
  }
  AppendToolsSection(Namespaces(root_, path_), sections);
  if (const JsonTree* config = Member(root_, "channel_config")) {
    const std::string where = path_ + ".channel_config";
    RefuseOthers(*config, where, {"valid_channels", "channel_required"});
    std::vector<std::string> names;
    if (const JsonTree* channels = OptionalArray(*config, "valid_channels", where)) {
      for (const JsonTree& name : channels->items) {
        if (!name.is(JsonTree::Kind::kString)) Refuse(where, "valid_channels", "must hold strings");
        names.push_back(name.text);
      }
    }
    const JsonTree* const required = Member(*config, "channel_required");
    if (required == nullptr || !required->is(JsonTree::Kind::kBoolean)) {
      Refuse(where, "channel_required", "missing or not a boolean");
    }
    if (!names.empty()) {
      std::string line = "# Valid channels: " + Joined(names, ", ") + ".";
      if (required->boolean) line += " Channel must be included for every message.";
      if (conversation_has_function_tools) {
        line += "\nCalls to these tools must go to the commentary channel: 'functions'.";
      }
      sections.push_back(std::move(line));
    }
  }
  return Joined(sections, "\n\n");
}

std::string HarmonyContent::DeveloperText() const {
  std::vector<std::string> sections;
  if (const std::string* instructions = OptionalString(root_, "instructions", path_)) {
    sections = {"# Instructions", *instructions};
  }
  AppendToolsSection(Namespaces(root_, path_), sections);
  return Joined(sections, "\n\n");
}

std::string DeveloperText(const std::optional<std::string>& instructions,
                          std::span<const string_view> tools_json) {
  std::vector<std::string> sections;
  if (instructions) sections = {"# Instructions", *instructions};
  if (!tools_json.empty()) {
    std::vector<JsonTree> roots;
    std::vector<Tool> functions;
    roots.reserve(tools_json.size());
    for (std::size_t i = 0; i < tools_json.size(); ++i) {
      const std::string path = StrCat("tools[", i, "]");
      const JsonTree& root = RequireObject(
          roots.emplace_back(ParseJson(tools_json[i], kMaxParameterDepth + 2, path)), path);
      const std::string* const type = OptionalString(root, "type", path);
      if (type != nullptr && *type != "function") Refuse(path, "type", "must be 'function'");
      const JsonTree* const function = Member(root, "function");
      if (function == nullptr) Refuse(path, "function", "missing");
      const std::string where = path + ".function";
      RequireObject(*function, where);
      const std::string* const description = OptionalString(*function, "description", where);
      functions.push_back({RequiredString(*function, "name", where),
                           description == nullptr ? string_view() : *description,
                           Parameters(*function, where)});
    }
    sections.emplace_back("# Tools");
    sections.push_back(Namespace("functions", "", functions, "tools"));
  }
  return Joined(sections, "\n\n");
}

}  // namespace ctx::chat
