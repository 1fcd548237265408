// SentencePiece models: the protobuf message ModelProto of sentencepiece_model.proto. Of its parts
// the pieces make the definition; trainer_spec and normalizer_spec must say what we do:
//
//     text -> "▁" before it -> every space becomes "▁" -> BPE by score, leftmost of equals first,
//     bytes for characters that are no piece
//
// Pieces of every kind have an id: their place. CONTROL and UNKNOWN pieces become special tokens,
// USER_DEFINED pieces are matched before merging.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "tokenize/load/fallback_byte.h"
#include "tokenize/load/load.h"
#include "tokenize/load/messages.h"
#include "tokenize/load/protobuf.h"
#include "tokenize/unicode/utf8.h"
#include "tokenize/unicode/utf8_validation.h"

namespace ctx::tokenize::load {
namespace {

constexpr char kSpaceSymbol[] = "\u2581";

enum PieceType : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct Piece {
  std::string_view text;
  float score = 0;
  std::int32_t type = kNormal;
};

std::string NameOf(std::size_t piece) { return StrCat("pieces[", piece, ']'); }

/// The number of characters of valid UTF-8.
std::size_t NumCharacters(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char byte) { return BeginsCharacter(byte); }));
}

class Loader {
 public:
  Loader(std::string_view bytes, const std::string& file_name)
      : bytes_(bytes), file_name_(file_name) {}

  EncodingDefinition Run() {
    ReadModel();
    EncodingDefinition definition;
    definition.name = StemOf(file_name_);
    if (add_dummy_prefix_) {
      definition.normalizer.push_back({NormalizerStep::Kind::kPrepend, {}, kSpaceSymbol});
    }
    definition.normalizer.push_back({NormalizerStep::Kind::kReplace, " ", kSpaceSymbol});
    definition.model = MakeModel();
    definition.special_tokens = std::move(special_tokens_);
    definition.decoder = {.metaspace = true, .strip_leading_space = add_dummy_prefix_};
    return definition;
  }

 private:
  // Field numbers are those of sentencepiece_model.proto.
  void ReadModel() {
    ProtobufReader reader(bytes_, file_name_, "ModelProto");
    ProtobufField field;
    bool has_trainer_spec = false, has_normalizer_spec = false;
    while (reader.Next(field)) {
      if (field.number == 1) {
        ReadPiece(reader.Bytes(field));
      } else if (field.number == 2) {
        ReadTrainerSpec(reader.Bytes(field));
        has_trainer_spec = true;
      } else if (field.number == 3) {
        ReadNormalizerSpec(reader.Bytes(field));
        has_normalizer_spec = true;
      } else if (field.number == 5) {  // self_test_data and others change nothing
        ReadDenormalizerSpec(reader.Bytes(field));
      }
    }
    if (pieces_.empty()) Fail(file_name_, "no SentencePiece model: it has no pieces");
    if (!has_trainer_spec) Fail(file_name_, "trainer_spec is missing");
    if (!has_normalizer_spec) Fail(file_name_, "normalizer_spec is missing");
    constexpr std::int32_t kBpe = 2;
    if (model_type_ != kBpe) Fail(file_name_, "trainer_spec.model_type must be BPE");
    if (!byte_fallback_) Fail(file_name_, "trainer_spec.byte_fallback must be true");
  }

  void ReadPiece(std::string_view message) {
    const std::string name = NameOf(pieces_.size());
    ProtobufReader reader(message, file_name_, name);
    ProtobufField field;
    Piece piece;
    while (reader.Next(field)) {
      if (field.number == 1) piece.text = reader.Bytes(field);
      if (field.number == 2) piece.score = reader.Float(field);
      if (field.number == 3) piece.type = reader.Int32(field);
    }
    if (piece.text.empty()) Fail(file_name_, name, ".piece is empty");
    if (ValidUtf8Prefix(piece.text) != piece.text.size()) {
      Fail(file_name_, name, ".piece is not valid UTF-8");
    }
    if (std::isnan(piece.score)) Fail(file_name_, name, ".score is not a number");
    if (piece.type < kNormal || piece.type > kByte || piece.type == kUnused) {
      Fail(file_name_, name, ".type ", piece.type, " is not supported");
    }
    pieces_.push_back(piece);
  }

  void ReadTrainerSpec(std::string_view message) {
    ProtobufReader reader(message, file_name_, "trainer_spec");
    ProtobufField field;
    while (reader.Next(field)) {  // the other fields guide training alone, or decoding to text
      if (field.number == 3) model_type_ = reader.Int32(field);
      if (field.number == 24 && reader.Boolean(field)) {
        Fail(file_name_, "trainer_spec.treat_whitespace_as_suffix must be false");
      }
      if (field.number == 35) byte_fallback_ = reader.Boolean(field);
    }
  }

  void ReadNormalizerSpec(std::string_view message) {
    ProtobufReader reader(message, file_name_, "normalizer_spec");
    ProtobufField field;
    bool remove_extra_whitespaces = true, escape_whitespaces = true;  // the schema's defaults
    while (reader.Next(field)) {
      if (field.number == 2 && !reader.Bytes(field).empty()) {
        Fail(file_name_, "normalizer_spec.precompiled_charsmap must be empty (identity)");
      }
      if (field.number == 3) add_dummy_prefix_ = reader.Boolean(field);
      if (field.number == 4) remove_extra_whitespaces = reader.Boolean(field);
      if (field.number == 5) escape_whitespaces = reader.Boolean(field);
    }
    if (remove_extra_whitespaces) {
      Fail(file_name_, "normalizer_spec.remove_extra_whitespaces must be false");
    }
    if (!escape_whitespaces) Fail(file_name_, "normalizer_spec.escape_whitespaces must be true");
  }

  void ReadDenormalizerSpec(std::string_view message) {
    ProtobufReader reader(message, file_name_, "denormalizer_spec");
    ProtobufField field;
    while (reader.Next(field)) {
      if (field.number == 2 && !reader.Bytes(field).empty()) {
        Fail(file_name_, "denormalizer_spec.precompiled_charsmap must be empty (identity)");
      }
    }
  }

  /// Sorts the pieces by what they are for.
  ModelDefinition MakeModel() {
    ModelDefinition model;
    model.symbols = ModelDefinition::Symbols::kCharacters;
    model.whole_first = false;
    constexpr TokenId kNone = kMaxTokenId + 1;
    model.byte_ids.assign(256, kNone);
    std::vector<std::pair<float, TokenDefinition>> normal;
    std::size_t num_unknown = 0;
    RequireDistinct();
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const Piece& piece = pieces_[i];
      const auto id = static_cast<TokenId>(i);
      switch (piece.type) {
        case kNormal:
          normal.push_back({piece.score, {std::string(piece.text), id}});
          break;
        case kUserDefined:
          model.user_defined.push_back({std::string(piece.text), id});
          break;
        case kByte:
          model.byte_ids[RequireByte(i)] = id;
          break;
        default:
          // SentencePiece would give such a piece for the character in ordinary text.
          if (NumCharacters(piece.text) == 1) {
            Fail(file_name_, NameOf(i), ": a control piece of one character is not supported");
          }
          num_unknown += piece.type == kUnknown;
          special_tokens_.push_back({.spelling = std::string(piece.text), .id = id});
      }
    }
    if (num_unknown != 1) Fail(file_name_, "must have one piece of type UNKNOWN");
    for (std::size_t byte = 0; byte < 256; ++byte) {
      if (model.byte_ids[byte] == kNone) Fail(file_name_, "has no piece for byte ", byte);
    }
    std::stable_sort(normal.begin(), normal.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < normal.size(); ++i) {
      if (i > 0 && normal[i].first != normal[i - 1].first) ++rank;
      model.ranks.push_back(rank);
      model.tokens.push_back(std::move(normal[i].second));
    }
    return model;
  }

  void RequireDistinct() const {
    std::vector<std::pair<std::string_view, std::size_t>> sorted;
    for (std::size_t i = 0; i < pieces_.size(); ++i) sorted.emplace_back(pieces_[i].text, i);
    std::sort(sorted.begin(), sorted.end());
    const auto twice =
        std::adjacent_find(sorted.begin(), sorted.end(),
                           [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twice != sorted.end()) {
      Fail(file_name_, NameOf((twice + 1)->second), ": the same piece as ", NameOf(twice->second));
    }
  }

  unsigned char RequireByte(std::size_t index) const {
    const std::string_view text = pieces_[index].text;
    if (const auto byte = FallbackByteOf(text)) return *byte;
    Fail(file_name_, NameOf(index), ": a byte piece must be <0x00> to <0xFF>, not ", Quoted(text));
  }

  std::string_view bytes_;
  const std::string& file_name_;
  std::vector<Piece> pieces_;
  std::vector<SpecialTokenDefinition> special_tokens_;
  std::int32_t model_type_ = 1;  // the schema's default: unigram
  bool byte_fallback_ = false;
  bool add_dummy_prefix_ = true;
};

}  // namespace

EncodingDefinition LoadSentencePiece(std::string_view bytes, const std::string& file_name) {
  return Loader(bytes, file_name).Run();
}

}  // namespace ctx::tokenize::load
