// What the files of a directory say is gathered in the order in which transformers lets them speak,
// but where it lets a later one win silently, we refuse.
#include "tokenize/load/directory.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "tokenize/load/json.h"
#include "tokenize/load/messages.h"

namespace ctx::tokenize::load {
namespace {

namespace fs = std::filesystem;

class DirectoryLoader {
 public:
  DirectoryLoader(const std::string& directory, const RankFileOptions& options)
      : directory_(directory), options_(options) {}

  LoadedFiles Run() {
    config_ = ReadJson("tokenizer_config.json");
    special_map_ = ReadJson("special_tokens_map.json");
    added_tokens_ = ReadJson("added_tokens.json");
    tokenizer_path_ = FindTokenizer();
    LoadTokenizer();
    AddTokens();
    CheckSpecialMap();
    SetPostProcessor();
    loaded_.definition.name = fs::path(directory_ + '/').parent_path().filename().string();
    ReadChatTemplates();
    return std::move(loaded_);
  }

 private:
  std::string PathOf(const std::string& name) const {
    return (fs::path(directory_) / name).string();
  }

  bool Has(const std::string& name) const {
    std::error_code error;
    return fs::exists(PathOf(name), error);
  }

  /// The document, or nullptr when there is no such file.
  std::unique_ptr<JsonDocument> ReadJson(const std::string& name) const {
    if (!Has(name)) return nullptr;
    const std::string path = PathOf(name);
    auto document = std::make_unique<JsonDocument>(ReadFile(path), path);
    document->root().Members();  // must be an object
    return document;
  }

  /// A member of tokenizer_config.json that is there and not null.
  std::optional<JsonValue> Setting(std::string_view key) const {
    return config_ ? config_->root().FindValue(key) : std::nullopt;
  }

  std::string FindTokenizer() const {
    for (const char* const name : {"tokenizer.json", "tekken.json", "tokenizer.model"}) {
      if (Has(name)) return PathOf(name);
    }
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator at(directory_, error), end; !error && at != end;
         at.increment(error)) {
      if (at->path().extension() == ".tiktoken") found.push_back(at->path().string());
    }
    if (error) Fail(directory_, "cannot be listed");
    std::sort(found.begin(), found.end());
    if (found.size() > 1) Fail(found[0], "is not the only rank file, there is also ", found[1]);
    if (found.empty()) {
      Fail(directory_, "has no tokenizer.json, tekken.json, tokenizer.model or *.tiktoken");
    }
    return found[0];
  }

  void LoadTokenizer() {
    RankFileOptions options = options_;
    // The published names may be another model's with the same rank file.
    const bool is_rank_file = LooksLikeRankFile(ReadFile(tokenizer_path_));
    if (is_rank_file && !options.special_tokens && Setting("added_tokens_decoder")) {
      options.special_tokens.emplace();
      for (const ConfigToken& token : ConfigTokens())
        options.special_tokens->push_back(token.token);
    }
    loaded_.definition = LoadFile(tokenizer_path_, options);
  }

  struct ConfigToken {
    SpecialTokenDefinition token;
    JsonValue json;
  };

  /// "added_tokens_decoder": {"0": {"content": "<s>", ...}, ...}.
  std::vector<ConfigToken> ConfigTokens() const {
    std::vector<ConfigToken> tokens;
    const auto section = Setting("added_tokens_decoder");
    if (!section) return tokens;
    for (const JsonValue::Member& member : section->Members()) {
      const JsonValue& value = member.value;
      TokenId id = 0;
      for (const char digit : member.key) {
        if (digit < '0' || digit > '9' || id > kMaxTokenId / 10) value.Fail("its key is no id");
        id = id * 10 + static_cast<TokenId>(digit - '0');
      }
      if (member.key != std::to_string(id) || id > kMaxTokenId) value.Fail("its key is no id");
      if (value.BooleanOr("normalized", false) && HasNormalizer()) {
        value.Fail("normalized: true is not supported beside a normalizer");
      }
      tokens.push_back({{.spelling = std::string(value.At("content").String()),
                         .id = id,
                         .special = value.BooleanOr("special", false),
                         .single_word = value.BooleanOr("single_word", false),
                         .lstrip = value.BooleanOr("lstrip", false),
                         .rstrip = value.BooleanOr("rstrip", false)},
                        value});
    }
    return tokens;
  }

  /// Whether text is normalized before "normalized" added tokens would be looked for in it.
  bool HasNormalizer() const { return !loaded_.definition.normalizer.empty(); }

  void AddTokens() {
    std::map<std::string, std::size_t, std::less<>> place_of;
    std::map<TokenId, std::size_t> place_of_id;
    std::vector<SpecialTokenDefinition>& tokens = loaded_.definition.special_tokens;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      place_of.emplace(tokens[i].spelling, i);
      place_of_id.emplace(tokens[i].id, i);
    }
    const auto add = [&](const SpecialTokenDefinition& token, const JsonValue& json,
                         bool knows_flags) {
      const auto place = place_of.find(token.spelling);
      if (place != place_of.end()) {
        const SpecialTokenDefinition& known = tokens[place->second];
        if (known.id != token.id) {
          json.Fail("gives ", Quoted(token.spelling), " the id ", token.id, ", but ",
                    tokenizer_path_, " gives it ", known.id);
        }
        if (knows_flags && known != token) {
          json.Fail("describes ", Quoted(token.spelling), " otherwise than ", tokenizer_path_);
        }
        return;
      }
      if (const auto other = place_of_id.find(token.id); other != place_of_id.end()) {
        json.Fail("gives the id ", token.id, " to ", Quoted(token.spelling), ", but ",
                  tokenizer_path_, " gives it to ", Quoted(tokens[other->second].spelling));
      }
      place_of.emplace(token.spelling, tokens.size());
      place_of_id.emplace(token.id, tokens.size());
      tokens.push_back(token);
    };
    for (const ConfigToken& token : ConfigTokens()) add(token.token, token.json, true);
    if (!added_tokens_) return;
    const std::set<std::string_view> special = SpecialSpellings();
    for (const JsonValue::Member& member : added_tokens_->root().Members()) {
      add({.spelling = std::string(member.key),
           .id = member.value.Id(),
           .special = special.contains(member.key)},
          member.value, false);
    }
  }

  /// A token by name: its spelling, or an object with the member "content".
  static std::string_view SpellingOf(const JsonValue& token) {
    return token.IsObject() ? token.At("content").String() : token.String();
  }

  /// The values of special_tokens_map.json with their places.
  std::vector<std::pair<std::string_view, JsonValue>> SpecialMapTokens() const {
    std::vector<std::pair<std::string_view, JsonValue>> tokens;
    if (!special_map_) return tokens;
    for (const JsonValue::Member& member : special_map_->root().Members()) {
      if (member.value.IsArray()) {
        for (const JsonValue& item : member.value.Items()) {
          tokens.emplace_back(SpellingOf(item), item);
        }
      } else if (!member.value.IsNull()) {
        tokens.emplace_back(SpellingOf(member.value), member.value);
      }
    }
    return tokens;
  }

  std::set<std::string_view> SpecialSpellings() const {
    std::set<std::string_view> spellings;
    for (const auto& [spelling, json] : SpecialMapTokens()) spellings.insert(spelling);
    return spellings;
  }

  /// The id of a token with this spelling.
  std::optional<TokenId> IdOf(std::string_view spelling) const {
    for (const SpecialTokenDefinition& token : loaded_.definition.special_tokens) {
      if (token.spelling == spelling) return token.id;
    }
    return std::nullopt;
  }

  void CheckSpecialMap() const {
    std::set<std::string_view> known;
    for (const SpecialTokenDefinition& token : loaded_.definition.special_tokens) {
      known.insert(token.spelling);
    }
    for (const auto& [spelling, json] : SpecialMapTokens()) {
      if (!known.contains(spelling)) {
        json.Fail(Quoted(spelling), " is no special token in ", tokenizer_path_);
      }
    }
  }

  /// "bos_token" or "eos_token": what tokenizer_config.json and special_tokens_map.json agree on.
  std::string NamedToken(std::string_view key) const {
    const auto setting = Setting(key);
    const auto mapped = special_map_ ? special_map_->root().FindValue(key) : std::nullopt;
    if (setting && mapped && SpellingOf(*setting) != SpellingOf(*mapped)) {
      setting->Fail("is ", Quoted(SpellingOf(*setting)), ", but ", mapped->file_name(), " says ",
                    Quoted(SpellingOf(*mapped)));
    }
    const auto& named = setting ? setting : mapped;
    if (!named) return "";
    const std::string_view spelling = SpellingOf(*named);
    if (!IdOf(spelling)) {
      named->Fail(Quoted(spelling), " is no special token in ", tokenizer_path_);
    }
    return std::string(spelling);
  }

  void SetPostProcessor() {
    loaded_.bos_token = NamedToken("bos_token");
    loaded_.eos_token = NamedToken("eos_token");
    PostProcessorDefinition& ids = loaded_.definition.post_processor;
    SetSide("add_bos_token", loaded_.bos_token, ids.before);
    SetSide("add_eos_token", loaded_.eos_token, ids.after);
  }

  /// Tokenizers of the Llama family make their post-processor from add_bos_token and add_eos_token;
  /// so do we where there is none. Otherwise the tokenizer.json has its own, which must agree.
  void SetSide(std::string_view key, const std::string& token, std::vector<TokenId>& side) const {
    const auto setting = Setting(key);
    if (!setting) return;
    const bool wanted = setting->Boolean();
    if (wanted && token.empty()) setting->Fail("is true, but no such token is named");
    const std::vector<TokenId> ids = wanted ? std::vector{*IdOf(token)} : std::vector<TokenId>();
    if (side == ids) return;
    if (tokenizer_path_.ends_with("tokenizer.json") && !IsLlamaFamily()) {
      setting->Fail("disagrees with the post_processor of ", tokenizer_path_);
    }
    side = ids;
  }

  bool IsLlamaFamily() const {
    constexpr std::array<std::string_view, 8> kClasses = {
        "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
        "GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizer",    "CohereTokenizerFast"};
    const auto name = Setting("tokenizer_class");
    return name && std::find(kClasses.begin(), kClasses.end(), name->String()) != kClasses.end();
  }

  void AddChatTemplate(std::string_view name, std::string_view text, const std::string& path) {
    for (std::size_t i = 0; i < loaded_.chat_templates.size(); ++i) {
      if (loaded_.chat_templates[i].name != name) continue;
      if (loaded_.chat_templates[i].text != text) {
        Fail(path, "has another ", Quoted(name), " chat template than ", template_paths_[i]);
      }
      return;
    }
    loaded_.chat_templates.push_back({std::string(name), std::string(text)});
    template_paths_.push_back(path);
  }

  /// A template, or a list of {"name": ..., "template": ...}.
  void AddChatTemplates(const JsonValue& json) {
    constexpr std::size_t kMaxTemplates = 256;
    if (json.IsString()) {
      AddChatTemplate("default", json.String(), json.file_name());
      return;
    }
    const std::vector<JsonValue> items = json.Items();
    if (items.size() > kMaxTemplates) json.Fail("has more than ", kMaxTemplates, " entries");
    for (const JsonValue& item : items) {
      item.RequireKnownKeys({"name", "template"});
      AddChatTemplate(item.At("name").String(), item.At("template").String(), json.file_name());
    }
  }

  void ReadChatTemplates() {
    if (Has("chat_template.jinja")) {
      const std::string path = PathOf("chat_template.jinja");
      AddChatTemplate("default", ReadFile(path), path);
    }
    if (const auto document = ReadJson("chat_template.json")) {
      AddChatTemplates(document->root().At("chat_template"));
    }
    if (const auto setting = Setting("chat_template")) AddChatTemplates(*setting);
  }

  const std::string& directory_;
  const RankFileOptions& options_;
  std::unique_ptr<JsonDocument> config_, special_map_, added_tokens_;
  std::string tokenizer_path_;
  std::vector<std::string> template_paths_;  // of each of loaded_.chat_templates
  LoadedFiles loaded_;
};

}  // namespace

LoadedFiles LoadDirectory(const std::string& directory, const RankFileOptions& options) {
  return DirectoryLoader(directory, options).Run();
}

}  // namespace ctx::tokenize::load
