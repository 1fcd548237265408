#include "bindings/definition.h"

#include <string>
#include <utility>
#include <vector>

namespace ctx::bindings {
namespace {

namespace py = pybind11;
using namespace ctx::tokenize;

template <typename Value, typename Function>
py::list ListOf(const std::vector<Value>& values, Function&& object_of) {
  py::list list(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) list[i] = object_of(values[i]);
  return list;
}

template <typename Value, typename Function>
std::vector<Value> VectorFrom(const py::handle& list, Function&& value_from) {
  std::vector<Value> values;
  for (const py::handle item : py::cast<py::list>(list)) values.push_back(value_from(item));
  return values;
}

py::list ListOfTokens(const std::vector<TokenDefinition>& tokens) {
  return ListOf(tokens, [](const TokenDefinition& token) {
    return py::make_tuple(py::bytes(token.bytes), token.id);
  });
}

std::vector<TokenDefinition> TokensFrom(const py::handle& list) {
  return VectorFrom<TokenDefinition>(list, [](const py::handle& item) {
    const auto fields = py::cast<std::pair<py::bytes, TokenId>>(item);
    return TokenDefinition{std::string(fields.first), fields.second};
  });
}

template <typename Enum>
int NumberOf(Enum value) {
  return static_cast<int>(value);
}

/// Throws ValueError for a number past the last value.
template <typename Enum>
Enum EnumFrom(int number, Enum last) {
  if (number < 0 || number > static_cast<int>(last)) throw py::value_error("no such kind");
  return static_cast<Enum>(number);
}

void CheckFields(const py::tuple& fields, std::size_t num_fields) {
  if (fields.size() != num_fields) throw py::value_error("wrong number of fields");
}

NormalizerStep NormalizerStepFrom(const py::handle& item) {
  const auto [kind, pattern, content] = py::cast<std::tuple<int, std::string, std::string>>(item);
  return {EnumFrom(kind, NormalizerStep::Kind::kPrependFirst), pattern, content};
}

PreTokenizerStep PreTokenizerStepFrom(const py::handle& item) {
  const auto [kind, behavior, invert, flavor, pattern] =
      py::cast<std::tuple<int, int, bool, int, std::string>>(item);
  return {EnumFrom(kind, PreTokenizerStep::Kind::kPunctuation),
          EnumFrom(behavior, PreTokenizerStep::Behavior::kContiguous), invert,
          EnumFrom(flavor, PreTokenizerStep::Flavor::kHuggingFace), pattern};
}

SpecialTokenDefinition SpecialTokenFrom(const py::handle& item) {
  const auto [spelling, id, special, single_word, lstrip, rstrip] =
      py::cast<std::tuple<std::string, TokenId, bool, bool, bool, bool>>(item);
  return {spelling, id, special, single_word, lstrip, rstrip};
}

}  // namespace

py::tuple TupleOf(const EncodingDefinition& definition) {
  const ModelDefinition& model = definition.model;
  return py::make_tuple(
      definition.name,
      ListOf(definition.normalizer,
             [](const NormalizerStep& step) {
               return py::make_tuple(NumberOf(step.kind), step.pattern, step.content);
             }),
      ListOf(definition.pre_tokenizer,
             [](const PreTokenizerStep& step) {
               return py::make_tuple(NumberOf(step.kind), NumberOf(step.behavior), step.invert,
                                     NumberOf(step.flavor), step.pattern);
             }),
      NumberOf(model.symbols),
      ListOf(model.ranks, [](std::uint32_t rank) { return py::int_(rank); }),
      ListOfTokens(model.tokens), ListOfTokens(model.whole_tokens),
      ListOfTokens(model.unused_tokens), ListOfTokens(model.user_defined),
      ListOf(model.byte_ids, [](TokenId id) { return py::int_(id); }),
      ListOf(definition.special_tokens,
             [](const SpecialTokenDefinition& token) {
               return py::make_tuple(token.spelling, token.id, token.special, token.single_word,
                                     token.lstrip, token.rstrip);
             }),
      py::make_tuple(definition.decoder.metaspace, definition.decoder.strip_leading_space),
      py::make_tuple(
          ListOf(definition.post_processor.before, [](TokenId id) { return py::int_(id); }),
          ListOf(definition.post_processor.after, [](TokenId id) { return py::int_(id); })));
}

EncodingDefinition DefinitionFrom(const py::tuple& fields) {
  CheckFields(fields, 13);
  const auto id_from = [](const py::handle& item) { return py::cast<TokenId>(item); };
  EncodingDefinition definition;
  definition.name = py::cast<std::string>(fields[0]);
  definition.normalizer = VectorFrom<NormalizerStep>(fields[1], NormalizerStepFrom);
  definition.pre_tokenizer = VectorFrom<PreTokenizerStep>(fields[2], PreTokenizerStepFrom);
  ModelDefinition& model = definition.model;
  model.symbols = EnumFrom(py::cast<int>(fields[3]), ModelDefinition::Symbols::kCharacters);
  model.ranks = VectorFrom<std::uint32_t>(
      fields[4], [](const py::handle& item) { return py::cast<std::uint32_t>(item); });
  model.tokens = TokensFrom(fields[5]);
  model.whole_tokens = TokensFrom(fields[6]);
  model.unused_tokens = TokensFrom(fields[7]);
  model.user_defined = TokensFrom(fields[8]);
  model.byte_ids = VectorFrom<TokenId>(fields[9], id_from);
  definition.special_tokens = VectorFrom<SpecialTokenDefinition>(fields[10], SpecialTokenFrom);
  const auto decoder = py::cast<std::pair<bool, bool>>(fields[11]);
  definition.decoder = {decoder.first, decoder.second};
  const auto post_processor = py::cast<std::pair<py::list, py::list>>(fields[12]);
  definition.post_processor = {VectorFrom<TokenId>(post_processor.first, id_from),
                               VectorFrom<TokenId>(post_processor.second, id_from)};
  return definition;
}

}  // namespace ctx::bindings
