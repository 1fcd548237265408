// The smallest whole files of each vocabulary format, made piece by piece so that a test can spoil
// one of them.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/error.h"

namespace ctx::tokenize::testing {

/// What() of the LoadError that `action` throws, or "" when it throws none.
template <typename Action>
std::string LoadErrorOf(Action action) {
  try {
    action();
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

inline std::string Base64(std::string_view bytes) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k <= bytes.size() ? kAlphabet[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return text;
}

inline std::string RankLine(std::string_view bytes, std::uint64_t rank) {
  return Base64(bytes) + ' ' + std::to_string(rank) + '\n';
}

/// The 256 bytes, "ab" (256) and "abc" (257).
inline std::string TinyRankFile() {
  std::string file;
  for (int byte = 0; byte < 256; ++byte) {
    file += RankLine(std::string(1, static_cast<char>(byte)), static_cast<std::uint64_t>(byte));
  }
  return file + RankLine("ab", 256) + RankLine("abc", 257);
}

/// A tekken.json of 260 ids: 2 special tokens, the bytes, "ab" and "abc"; a row behind is cut off.
/// `config` and `special_tokens` replace those sections.
inline std::string TinyTekken(
    std::string_view config = R"({"pattern": "\\p{L}+", "num_vocab_tokens": 259,
      "default_vocab_size": 260, "default_num_special_tokens": 2, "version": "v11"})",
    std::string_view special_tokens = R"([{"rank": 0, "token_str": "<s>", "is_control": true},
      {"rank": 1, "token_str": "</s>", "is_control": true}])") {
  std::string vocab;
  int rank = 0;
  const auto add = [&vocab, &rank](std::string_view bytes) {
    vocab += vocab.empty() ? "" : ",\n";
    vocab += R"({"rank": )" + std::to_string(rank++) + R"(, "token_bytes": ")" + Base64(bytes) +
             R"(", "token_str": null})";
  };
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  add("ab");
  add("abc");
  add("unused");
  return "{\"config\": " + std::string(config) +
         ",\n\"special_tokens\": " + std::string(special_tokens) + ",\n\"vocab\": [" + vocab + "]}";
}

/// The character that stands for a byte in byte-level vocabularies (GPT-2's bytes_to_unicode).
inline std::string ByteCharacter(int byte) {
  int code_point = byte;
  const auto printable = [](int b) { return (b > 32 && b < 127) || (b > 160 && b != 173); };
  if (!printable(byte)) {
    code_point = 256;
    for (int b = 0; b < byte; ++b) code_point += !printable(b);
  }
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 63))};
}

inline std::string JsonKey(std::string_view key) {
  std::string quoted = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

/// The sections of a byte-level tokenizer.json: 256 bytes, "ab" (256), "abc" (257), "<s>" (258),
/// which is also an added token, and the added token "<x>" (259).
struct TinyTokenizerJson {
  std::string truncation = "null";
  std::string padding = "null";
  std::string added_tokens = AddedToken("<s>", 258) + ", " + AddedToken("<x>", 259);
  std::string normalizer = "null";
  std::string pre_tokenizer =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  std::string post_processor = "null";
  std::string decoder = R"({"type": "ByteLevel"})";
  std::string model_settings = R"("type": "BPE", "dropout": null)";
  std::string vocab = ByteVocab() + R"(, "ab": 256, "abc": 257, "<s>": 258)";
  std::string merges = R"("a b", ["ab", "c"])";
  std::string more = {};  // further members of the whole

  static std::string AddedToken(std::string_view content, int id, std::string_view flags = "") {
    std::string token = "{\"id\": " + std::to_string(id) + ", \"content\": " + JsonKey(content);
    const auto flag = [&](std::string_view name, bool otherwise) {
      const bool value = otherwise != (flags.find(name) != flags.npos);
      token += ", \"" + std::string(name) + "\": " + (value ? "true" : "false");
    };
    flag("single_word", false);
    flag("lstrip", false);
    flag("rstrip", false);
    flag("normalized", false);
    flag("special", true);  // named: not special
    return token + '}';
  }

  static std::string ByteVocab() {
    std::string vocab;
    for (int byte = 0; byte < 256; ++byte) {
      vocab += (byte > 0 ? ", " : "") + JsonKey(ByteCharacter(byte)) + ": " + std::to_string(byte);
    }
    return vocab;
  }

  std::string Text() const {
    return "{\"version\": \"1.0\", \"truncation\": " + truncation + ", \"padding\": " + padding +
           ",\n\"added_tokens\": [" + added_tokens + "],\n\"normalizer\": " + normalizer +
           ",\n\"pre_tokenizer\": " + pre_tokenizer + ",\n\"post_processor\": " + post_processor +
           ",\n\"decoder\": " + decoder + ",\n\"model\": {" + model_settings + ",\n\"vocab\": {" +
           vocab + "},\n\"merges\": [" + merges + "]}" + more + "}\n";
  }
};

/// A tokenizer.json with byte fallback: <unk>, <s>, "a", "b", "ab" (3 to 5), the bytes (6 to 261).
inline TinyTokenizerJson TinyFallbackJson() {
  TinyTokenizerJson file;
  file.added_tokens =
      TinyTokenizerJson::AddedToken("<unk>", 0) + ", " + TinyTokenizerJson::AddedToken("<s>", 1);
  file.pre_tokenizer = "null";
  file.decoder = R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String":
      "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]})";
  file.model_settings =
      R"("type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true)";
  file.vocab = R"("<unk>": 0, "<s>": 1, "a": 3, "b": 4, "ab": 5)";
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    file.vocab += std::string(", \"<0x") + kHex[byte >> 4] + kHex[byte & 15] +
                  ">\": " + std::to_string(6 + byte);
  }
  file.merges = R"(["a", "b"])";
  return file;
}

/// The fields of protocol buffers.
inline std::string Varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(0x80 | (value & 0x7F));
  return bytes + static_cast<char>(value);
}
inline std::string VarintField(unsigned number, std::uint64_t value) {
  return Varint(number << 3) + Varint(value);
}
inline std::string BytesField(unsigned number, std::string_view bytes) {
  return Varint(number << 3 | 2) + Varint(bytes.size()) + std::string(bytes);
}
inline std::string FloatField(unsigned number, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  std::string field = Varint(number << 3 | 5);
  for (unsigned i = 0; i < 4; ++i) field += static_cast<char>(bits >> (8 * i) & 0xFF);
  return field;
}

/// A SentencePiece model: <unk>, <s>, </s>, 256 bytes, then "ab" (259, score 0), "abc" (260, -1),
/// "a" (261), "b" (262) and "c" (263), all -2, and the user-defined "[X]" (264).
struct TinySentencePiece {
  enum Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  std::string pieces = DefaultPieces();
  std::string trainer_spec = VarintField(3, 2) + VarintField(35, 1);
  std::string normalizer_spec =
      BytesField(1, "identity") + VarintField(3, 1) + VarintField(4, 0) + VarintField(5, 1);
  std::string more = {};

  static std::string Piece(std::string_view text, float score, Type type) {
    return BytesField(1, BytesField(1, text) + FloatField(2, score) +
                             VarintField(3, static_cast<std::uint64_t>(type)));
  }

  static std::string DefaultPieces() {
    std::string pieces =
        Piece("<unk>", 0, kUnknown) + Piece("<s>", 0, kControl) + Piece("</s>", 0, kControl);
    for (unsigned byte = 0; byte < 256; ++byte) {
      constexpr char kHex[] = "0123456789ABCDEF";
      pieces += Piece(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + '>', 0, kByte);
    }
    pieces += Piece("ab", 0, kNormal) + Piece("abc", -1, kNormal);
    for (const char* const letter : {"a", "b", "c"}) pieces += Piece(letter, -2, kNormal);
    return pieces + Piece("[X]", 0, kUserDefined);
  }

  std::string Bytes() const {
    return pieces + BytesField(2, trainer_spec) + BytesField(3, normalizer_spec) + more;
  }
};

}  // namespace ctx::tokenize::testing
