// `_core.Encoding` and `_core.SpecialTokens`. ctxengine/tokenize/ documents what users call.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/bindings.h"
#include "bindings/convert.h"
#include "bindings/definition.h"
#include "bindings/release_gil.h"
#include "bindings/special_check.h"
#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/bpe/merge.h"
#include "tokenize/decoder.h"
#include "tokenize/encoding.h"
#include "tokenize/load/load.h"
#include "tokenize/shipped_encodings.h"

namespace ctx::bindings {
namespace {

using tokenize::Encoding;
using tokenize::Segment;
using tokenize::SpecialToken;
using tokenize::SpecialTokens;
using tokenize::Vocabulary;

// --- construction ---

std::shared_ptr<Encoding> Shipped(std::string_view name, const std::string& directory) {
  // Everything of an encoding is const; pybind11 wants the holder without.
  return std::const_pointer_cast<Encoding>(tokenize::LoadShippedEncoding(name, directory));
}

py::list ShippedNames() {
  py::list names;
  for (const std::string& name : tokenize::ShippedEncodingNames()) names.append(name);
  return names;
}

TokenId IdOfRank(py::handle number) {
  if (PyIndex_Check(number.ptr()) == 0) ThrowWrongType("a token id", "int", number);
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(number.ptr()));
  if (!index) throw py::error_already_set();
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (overflow != 0 || value < 0 || value > INT32_MAX) {
    throw LoadError(StrCat("token id ", Printed(index), " is outside [0, 2^31)"));
  }
  return static_cast<TokenId>(value);
}

SpecialTokens SpecialTokensFrom(const py::dict& ids) {
  std::vector<SpecialToken> tokens;
  for (const auto& [spelling, id] : ids) {
    tokens.push_back({std::string(RequireUtf8(spelling, "a special token")), IdOfRank(id)});
  }
  return SpecialTokens(std::move(tokens));
}

std::shared_ptr<Encoding> FromRanks(std::string name, std::string pattern, const py::dict& ranks,
                                    const py::dict& special_tokens, bool allow_regex) {
  using tokenize::PreTokenizerStep;
  tokenize::EncodingDefinition definition;
  definition.name = std::move(name);
  // tiktoken takes the matches of its pattern and drops what lies between.
  definition.pre_tokenizer = {{PreTokenizerStep::Kind::kRegex, PreTokenizerStep::Behavior::kRemoved,
                               /*invert=*/true, PreTokenizerStep::Flavor::kTiktoken,
                               std::move(pattern)}};
  std::vector<tokenize::TokenDefinition>& tokens = definition.model.tokens;
  for (const auto& [token, rank] : ranks) {
    if (!py::isinstance<py::bytes>(token)) throw py::type_error("mergeable ranks map bytes to int");
    tokens.push_back({py::cast<std::string>(token), IdOfRank(rank)});
  }
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  definition.special_tokens = SpecialTokensFrom(special_tokens).tokens();
  return std::make_shared<Encoding>(definition, allow_regex);
}

/// The encoding of a file; what cannot be compiled is told with the file's name.
std::shared_ptr<Encoding> CompileFile(const tokenize::EncodingDefinition& definition,
                                      const std::string& file, bool allow_regex) {
  try {
    return std::make_shared<Encoding>(definition, allow_regex);
  } catch (const LoadError& error) {
    throw LoadError(StrCat(file, ": ", error.what()));
  }
}

/// The encoding; name and source of the chat templates; bos and eos token, "" when there is none.
using Loaded = std::tuple<std::shared_ptr<Encoding>, std::map<std::string, std::string>,
                          std::string, std::string>;

Loaded Load(const std::string& path, std::optional<std::string> pattern,
            const std::optional<py::dict>& special_tokens, bool allow_regex) {
  tokenize::load::RankFileOptions options;
  options.pattern = std::move(pattern);
  if (special_tokens) options.special_tokens = SpecialTokensFrom(*special_tokens).tokens();
  const ReleaseGil release;
  tokenize::load::LoadedFiles files = tokenize::load::Load(path, options);
  std::map<std::string, std::string> chat_templates;
  for (auto& chat_template : files.chat_templates) {
    chat_templates[chat_template.name] = std::move(chat_template.text);
  }
  return {CompileFile(files.definition, path, allow_regex), std::move(chat_templates),
          std::move(files.bos_token), std::move(files.eos_token)};
}

std::shared_ptr<Encoding> FromTokenizerJson(const py::bytes& content, const std::string& name,
                                            bool allow_regex) {
  const auto view = py::cast<std::string_view>(content);
  const ReleaseGil release;
  return CompileFile(tokenize::load::LoadTokenizerJson(view, name), name, allow_regex);
}

/// Why tiktoken can't be this encoding; nothing when it can.
std::optional<std::string> ObstacleToTiktoken(const Encoding& encoding) {
  const Vocabulary& vocabulary = encoding.vocabulary();
  if (!encoding.normalizer().empty()) return "it normalizes text";
  if (vocabulary.symbols() != Vocabulary::Symbols::kBytes) return "it merges characters, not bytes";
  if (!vocabulary.ranks_are_ids()) return "its ids are not in order of rank";
  if (vocabulary.num_merged() != vocabulary.num_ranks()) return "merging can't give all its tokens";
  if (!encoding.pre_tokenizer().tiktoken_pattern()) return "its pre-tokenizer is not one pattern";
  for (const SpecialToken& token : encoding.special_tokens_by_id()) {
    if (token.single_word || token.lstrip || token.rstrip) {
      return StrCat("its special token ", token.spelling, " looks at what stands beside it");
    }
  }
  return std::nullopt;
}

/// Those of the encoding's special tokens whose spelling is in the set, with their conditions.
SpecialTokens SelectSpecialTokens(const Encoding& encoding, const py::object& spellings) {
  std::vector<SpecialToken> selected;
  for (const SpecialToken& token : encoding.special_tokens().tokens()) {
    if (spellings.contains(py::str(token.spelling))) selected.push_back(token);
  }
  return SpecialTokens(std::move(selected));
}

std::pair<std::vector<TokenId>, std::vector<TokenId>> AddedIds(const Encoding& encoding) {
  return {encoding.post_processor().before, encoding.post_processor().after};
}

std::shared_ptr<Encoding> FromDefinition(const py::tuple& fields) {
  // What was an encoding once may have its patterns again.
  try {
    return std::make_shared<Encoding>(DefinitionFrom(fields), /*allow_regex=*/true);
  } catch (const py::cast_error&) {
    throw LoadError("this is no pickled encoding");
  }
}

py::dict RanksOf(const Encoding& encoding) {
  py::dict ranks;
  const Vocabulary& vocabulary = encoding.vocabulary();
  for (tokenize::Rank rank = 0; rank < vocabulary.num_ranks(); ++rank) {
    const std::string_view bytes = vocabulary.Bytes(rank);
    if (!bytes.empty()) ranks[py::bytes(bytes)] = vocabulary.IdOf(rank);
  }
  return ranks;
}

py::dict SpecialTokenIds(const Encoding& encoding) {
  py::dict ids;
  for (const SpecialToken& token : encoding.special_tokens_by_id()) {
    ids[py::str(token.spelling)] = token.id;
  }
  return ids;
}

// --- encoding ---

py::list EncodeSinglePiece(const Encoding& encoding, Bytes<"data"> data) {
  std::vector<TokenId> ids;
  encoding.EncodePreToken(data.view, ids);
  return ListOfIds(ids);
}

py::list MergeBytes(const Encoding& encoding, Bytes<"data"> data) {
  std::vector<TokenId> ids;
  tokenize::Merge(encoding.vocabulary(), data.view, ids);
  return ListOfIds(ids);
}

std::pair<py::list, std::size_t> EncodeUnstable(const Encoding& encoding, Str<"text"> text,
                                                const SpecialTokens& allowed,
                                                const SpecialTokens& disallowed) {
  const Utf8Text utf8(text.object);
  RefuseSpecialTokens(disallowed, utf8.view());
  std::vector<TokenId> ids;
  const std::size_t num_unstable = encoding.EncodeWithUnstable(utf8.view(), allowed, ids);
  return {ListOfIds(ids), num_unstable};
}

py::array_t<TokenId> EncodeSegments(const Encoding& encoding, const py::object& segments) {
  if (PySequence_Check(segments.ptr()) == 0) {
    ThrowWrongType("segments", "a sequence of pairs (text, trusted)", segments);
  }
  // A tuple of tuples keeps every text alive while other threads may change the caller's list.
  const py::tuple pairs(segments);
  std::vector<py::tuple> items;
  std::vector<Utf8Text> texts;
  std::vector<Segment> views;
  std::size_t size_bytes = 0;
  for (const py::handle pair : pairs) {
    items.emplace_back(py::reinterpret_borrow<py::object>(pair));
    const py::tuple& item = items.back();
    if (item.size() != 2 || !py::isinstance<py::str>(item[0]) || !PyBool_Check(item[1].ptr())) {
      throw py::type_error("each segment must be a pair (text: str, trusted: bool)");
    }
    texts.emplace_back(item[0]);
    views.push_back({texts.back().view(), item[1].ptr() == Py_True});
    size_bytes += texts.back().view().size();
  }
  std::vector<TokenId> ids;
  {
    const ReleaseGilForLongWork release(size_bytes);
    encoding.EncodeSegments(views, ids);
  }
  return ArrayOfIds(std::move(ids));
}

TokenId EncodeSingleToken(const Encoding& encoding, Bytes<"data"> data) {
  return encoding.EncodeSingleToken(data.view);
}

// --- decoding ---

py::list DecodeTokens(const Encoding& encoding, const py::object& ids) {
  const std::vector<TokenId> values = IdsFrom(ids);
  py::list tokens(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    tokens[i] = py::bytes(tokenize::TokenBytes(encoding, values[i]));
  }
  return tokens;
}

py::list TokenByteValues(const Encoding& encoding) {
  const std::vector<std::string_view> sorted = tokenize::SortedTokenBytes(encoding);
  py::list tokens(sorted.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) tokens[i] = py::bytes(sorted[i]);
  return tokens;
}

py::object FindSpecial(const SpecialTokens& tokens, Str<"text"> text) {
  const Utf8Text utf8(text.object);
  const auto match = tokens.Find(utf8.view());
  if (!match) return py::none();
  return py::str(utf8.view().data() + match->begin, match->end - match->begin);
}

}  // namespace

void RegisterTokenize(py::module_& module) {
  module.def("shipped_encoding_names", &ShippedNames);

  py::class_<SpecialTokens>(module, "SpecialTokens")
      .def(py::init(&SpecialTokensFrom), py::arg("ids"), py::pos_only())
      .def("find", &FindSpecial, py::arg("text"), py::pos_only());

  py::class_<Encoding, std::shared_ptr<Encoding>>(module, "Encoding")
      .def(py::init(&FromRanks), py::arg("name"), py::arg("pattern"), py::arg("ranks"),
           py::arg("special_tokens"), py::arg("allow_regex"), py::pos_only())
      .def_static("load", &Load, py::arg("path"), py::arg("pattern"), py::arg("special_tokens"),
                  py::arg("allow_regex"), py::pos_only())
      .def_static("from_tokenizer_json", &FromTokenizerJson, py::arg("content"), py::arg("name"),
                  py::arg("allow_regex"), py::pos_only())
      .def_static("from_definition", &FromDefinition, py::arg("fields"), py::pos_only())
      .def_property_readonly("added_ids", &AddedIds)
      .def("definition", [](const Encoding& e) { return TupleOf(e.Definition()); })
      .def_static("shipped", &Shipped, py::arg("name"), py::arg("directory"), py::pos_only())
      .def_property_readonly("name", &Encoding::name)
      .def_property_readonly("fingerprint", &Encoding::fingerprint)
      .def_property_readonly("max_token_value", &Encoding::max_token_id)
      .def_property_readonly("pattern",
                             [](const Encoding& e) { return e.pre_tokenizer().tiktoken_pattern(); })
      .def_property_readonly("obstacle_to_tiktoken", &ObstacleToTiktoken)
      .def("select_special_tokens", &SelectSpecialTokens, py::arg("spellings"), py::pos_only())
      .def("ranks", &RanksOf)
      .def("special_tokens", &SpecialTokenIds)
      .def("encode_single_piece", &EncodeSinglePiece, py::arg("data"), py::pos_only())
      .def("merge_bytes", &MergeBytes, py::arg("data"), py::pos_only())
      .def("encode_unstable", &EncodeUnstable, py::arg("text"), py::arg("allowed"),
           py::arg("disallowed"), py::pos_only())
      .def("encode_segments", &EncodeSegments, py::arg("segments"), py::pos_only())
      .def("encode_single_token", &EncodeSingleToken, py::arg("data"), py::pos_only())
      .def("decode_tokens", &DecodeTokens, py::arg("ids"), py::pos_only())
      .def("token_byte_values", &TokenByteValues);
}

}  // namespace ctx::bindings
