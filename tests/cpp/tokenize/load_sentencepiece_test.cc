#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/load/load.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using load::LoadSentencePiece;
using testing::BytesField;
using testing::FloatField;
using testing::LoadErrorOf;
using testing::Varint;
using testing::VarintField;
using Tiny = testing::TinySentencePiece;

std::string ErrorOf(const std::string& bytes) {
  return LoadErrorOf([&] { LoadSentencePiece(bytes, "m.model"); });
}

std::string ErrorOf(const Tiny& model) { return ErrorOf(model.Bytes()); }

TEST_CASE("sentencepiece: pieces by score, equal scores share a rank") {
  const EncodingDefinition definition = LoadSentencePiece(Tiny().Bytes(), "d/m.model");
  CHECK(definition.name == "m");
  const ModelDefinition& model = definition.model;
  CHECK(model.symbols == ModelDefinition::Symbols::kCharacters);
  CHECK(model.merge_rule == ModelDefinition::MergeRule::kRanks);
  CHECK(!model.whole_first);
  CHECK(model.tokens == std::vector<TokenDefinition>{
                            {"ab", 259}, {"abc", 260}, {"a", 261}, {"b", 262}, {"c", 263}});
  CHECK(model.ranks == std::vector<std::uint32_t>{0, 1, 2, 2, 2});
  REQUIRE(model.byte_ids.size() == 256);
  CHECK(model.byte_ids[0x41] == 3 + 0x41);
  CHECK(model.user_defined == std::vector<TokenDefinition>{{"[X]", 264}});
  REQUIRE(definition.special_tokens.size() == 3);
  CHECK(definition.special_tokens[1] == SpecialTokenDefinition{.spelling = "<s>", .id = 1});
  CHECK(definition.normalizer ==
        std::vector<NormalizerStep>{{NormalizerStep::Kind::kPrepend, "", "\u2581"},
                                    {NormalizerStep::Kind::kReplace, " ", "\u2581"}});
  CHECK(definition.pre_tokenizer.empty());
  CHECK(definition.decoder == DecoderDefinition{.metaspace = true, .strip_leading_space = true});
}

TEST_CASE("sentencepiece: no dummy prefix; unknown fields are passed over") {
  Tiny model;
  model.normalizer_spec = VarintField(3, 0) + VarintField(4, 0) + BytesField(6, "x");
  model.more = BytesField(4, "self test") + VarintField(200, 5) + FloatField(201, 1);
  const EncodingDefinition definition = LoadSentencePiece(model.Bytes(), "m.model");
  CHECK(definition.normalizer.size() == 1);
  CHECK(!definition.decoder.strip_leading_space);
}

TEST_CASE("sentencepiece: what is not supported is refused with the field") {
  const std::string trainer = Tiny().trainer_spec;
  const std::string normalizer = Tiny().normalizer_spec;
  const auto with_piece = [](const std::string& piece) {
    return Tiny{.pieces = Tiny().pieces + piece};
  };
  const std::vector<std::pair<Tiny, std::string>> cases = {
      {{.trainer_spec = VarintField(35, 1)}, "trainer_spec.model_type must be BPE"},
      {{.trainer_spec = VarintField(3, 1) + VarintField(35, 1)},
       "trainer_spec.model_type must be BPE"},
      {{.trainer_spec = VarintField(3, 2)}, "trainer_spec.byte_fallback must be true"},
      {{.trainer_spec = trainer + VarintField(24, 1)},
       "trainer_spec.treat_whitespace_as_suffix must be false"},
      {{.trainer_spec = BytesField(3, "x")}, "trainer_spec: field 3 has wire type 2, expected 0"},
      {{.normalizer_spec = normalizer + BytesField(2, "x")},
       "normalizer_spec.precompiled_charsmap must be empty (identity)"},
      {{.normalizer_spec = VarintField(3, 1)},
       "normalizer_spec.remove_extra_whitespaces must be false"},
      {{.normalizer_spec = normalizer + VarintField(5, 0)},
       "normalizer_spec.escape_whitespaces must be true"},
      {{.more = BytesField(5, BytesField(2, "x"))},
       "denormalizer_spec.precompiled_charsmap must be empty (identity)"},
      {{.pieces = Tiny::Piece("<unk>", 0, Tiny::kUnknown)}, "has no piece for byte 0"},
      {{.pieces = ""}, "no SentencePiece model: it has no pieces"},
      {with_piece(Tiny::Piece("ab", 0, Tiny::kNormal)),
       "pieces[265]: the same piece as pieces[259]"},
      {with_piece(Tiny::Piece("<s>", 0, Tiny::kNormal)),
       "pieces[265]: the same piece as pieces[1]"},
      {with_piece(Tiny::Piece("", 0, Tiny::kNormal)), "pieces[265].piece is empty"},
      {with_piece(Tiny::Piece("\xFF", 0, Tiny::kNormal)), "pieces[265].piece is not valid UTF-8"},
      {with_piece(Tiny::Piece("d", std::numeric_limits<float>::quiet_NaN(), Tiny::kNormal)),
       "pieces[265].score is not a number"},
      {with_piece(Tiny::Piece("d", 0, Tiny::kUnused)), "pieces[265].type 5 is not supported"},
      {with_piece(Tiny::Piece("d", 0, static_cast<Tiny::Type>(7))),
       "pieces[265].type 7 is not supported"},
      {with_piece(Tiny::Piece("d", 0, Tiny::kControl)),
       "pieces[265]: a control piece of one character is not supported"},
      {with_piece(Tiny::Piece("<unk2>", 0, Tiny::kUnknown)), "must have one piece of type UNKNOWN"},
      {with_piece(Tiny::Piece("<0x4g>", 0, Tiny::kByte)),
       "pieces[265]: a byte piece must be <0x00> to <0xFF>, not \"<0x4g>\""},
      {with_piece(Tiny::Piece("<0x-1>", 0, Tiny::kByte)),
       "pieces[265]: a byte piece must be <0x00> to <0xFF>, not \"<0x-1>\""},
      {{.more = VarintField(0, 1)}, "ModelProto: bad field number"},
      {{.more = Varint(20 << 3 | 3)},
       "ModelProto: field 20 has wire type 3, which is not supported"},
      {{.more = Varint(20 << 3 | 7)},
       "ModelProto: field 20 has wire type 7, which is not supported"},
      {{.more = Varint(20 << 3) + std::string(10, '\xFF')},
       "ModelProto: a varint of more than 64 bits"},
      {{.more = Varint(20 << 3) + "\x80"}, "ModelProto: the file is cut"},
      {{.more = Varint(20 << 3 | 2) + Varint(~std::uint64_t{0}) + "x"},
       "ModelProto: the file is cut"},
      {{.more = Varint(20 << 3 | 5) + "xyz"}, "ModelProto: the file is cut"},
  };
  for (const auto& [model, message] : cases) CHECK(ErrorOf(model) == "m.model: " + message);
  const Tiny good;
  CHECK(ErrorOf(good.pieces + BytesField(3, normalizer)) == "m.model: trainer_spec is missing");
  CHECK(ErrorOf(good.pieces + BytesField(2, trainer)) == "m.model: normalizer_spec is missing");
  CHECK(ErrorOf(good.Bytes().substr(0, good.Bytes().size() - 1)) ==
        "m.model: ModelProto: the file is cut");
}

}  // namespace
}  // namespace ctx::tokenize
