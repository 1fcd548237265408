#include "tokenize/check_definition.h"

#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "tokenize/encoding.h"
#include "tokenize/tiny_files.h"

namespace ctx::tokenize {
namespace {

using Model = ModelDefinition;

/// The 256 bytes, "ab" (256) and "abc" (257), merged by rank.
EncodingDefinition OverBytes() {
  EncodingDefinition definition;
  for (TokenId byte = 0; byte < 256; ++byte) {
    definition.model.tokens.push_back({std::string(1, static_cast<char>(byte)), byte});
  }
  definition.model.tokens.push_back({"ab", 256});
  definition.model.tokens.push_back({"abc", 257});
  return definition;
}

/// Likewise, by the list of pairs.
EncodingDefinition ByPairs() {
  EncodingDefinition definition = OverBytes();
  definition.model.merge_rule = Model::MergeRule::kPairs;
  definition.model.merges = {{'a', 'b'}, {256, 'c'}};
  return definition;
}

/// "ab" (0), "a" (1), "b" (2), the bytes (3 to 258), the user-defined "[X]" (259).
EncodingDefinition OverCharacters() {
  EncodingDefinition definition;
  definition.model.symbols = Model::Symbols::kCharacters;
  definition.model.whole_first = false;
  definition.model.tokens = {{"ab", 0}, {"a", 1}, {"b", 2}};
  definition.model.ranks = {0, 1, 1};
  for (TokenId byte = 0; byte < 256; ++byte) definition.model.byte_ids.push_back(3 + byte);
  definition.model.user_defined = {{"[X]", 259}};
  return definition;
}

/// What the check says of it, and the constructor of Encoding alike; "" when all is well.
template <typename Change>
std::string ErrorOf(EncodingDefinition definition, Change change) {
  change(definition);
  const std::string error = testing::LoadErrorOf([&] { CheckDefinition(definition); });
  CHECK(testing::LoadErrorOf([&] { Encoding(definition, false); }) == error);
  return error;
}

TEST_CASE("definitions: those that make an encoding, and what it is made of again") {
  for (const EncodingDefinition& definition : {OverBytes(), ByPairs(), OverCharacters()}) {
    CHECK(&CheckDefinition(definition) == &definition);
    const Encoding encoding(definition, false);
    CHECK(Encoding(encoding.Definition(), false).fingerprint() == encoding.fingerprint());
  }
}

TEST_CASE("definitions: tokens") {
  const auto with = [](const std::string& bytes, TokenId id) {
    return ErrorOf(OverBytes(), [&](auto& d) { d.model.tokens.push_back({bytes, id}); });
  };
  CHECK(with("abcd", 258).empty());
  CHECK(with(std::string(65535, 'x'), 258).empty());
  CHECK(with(std::string(65536, 'x'), 258) == "token 258 is longer than 65535 bytes");
  CHECK(with("", 258) == "token 258 is empty");
  CHECK(with("ab", 258) == "tokens 256 and 258 are both \"ab\"");
  CHECK(with("abcd", 256) == "tokens \"ab\" and \"abcd\" both have the id 256");
  CHECK(ErrorOf(OverBytes(), [](auto& d) { d.model.tokens.erase(d.model.tokens.begin() + 65); }) ==
        "there is no token for the single byte \"A\"");
  CHECK(ErrorOf(OverCharacters(), [](auto& d) { d.model.tokens[0].bytes = "a\xC3"; }) ==
        "token 0 is not valid UTF-8");
}

TEST_CASE("definitions: tokens that were sorted out") {
  for (const auto group : {&Model::whole_tokens, &Model::unused_tokens}) {
    const auto with = [&](const std::string& bytes, TokenId id) {
      return ErrorOf(OverBytes(), [&](auto& d) { (d.model.*group).push_back({bytes, id}); });
    };
    CHECK(with("abcd", 258).empty());
    CHECK(with("", 258) == "token 258 is empty");
    CHECK(with(std::string(65536, 'x'), 258) == "token 258 is longer than 65535 bytes");
    CHECK(with("ab", 258) == "tokens 256 and 258 are both \"ab\"");
    CHECK(with("abcd", 256) == "tokens \"ab\" and \"abcd\" both have the id 256");
    CHECK(ErrorOf(ByPairs(), [&](auto& d) { (d.model.*group) = {{"x", 258}}; }) ==
          "tokens 120 and 258 are both \"x\"");
    CHECK(ErrorOf(ByPairs(), [&](auto& d) { (d.model.*group) = {{"xx", 258}}; }) ==
          "whole and unused tokens are for canonical models");
    CHECK(ErrorOf(OverCharacters(), [&](auto& d) { (d.model.*group) = {{"xx", 300}}; }) ==
          "whole and unused tokens are for canonical models");
  }
  CHECK(ErrorOf(OverCharacters(), [](auto& d) {
          d.model.whole_first = true;
          d.model.unused_tokens = {{"xx", 300}};
        }).empty());
  CHECK(ErrorOf(OverCharacters(), [](auto& d) {
          d.model.whole_first = true;
          d.model.whole_tokens = {{"xx", 300}};
        }) == "tokens that are found whole are for models over bytes");
  CHECK(ErrorOf(OverCharacters(), [](auto& d) {
          d.model.ranks.clear();
          d.model.merge_rule = Model::MergeRule::kPairs;
          d.model.whole_first = true;
        }) == "tokens that are found whole are for models over bytes");
}

TEST_CASE("definitions: ranks and merges") {
  const std::string ranks = "ranks must ascend, one for each token, and merging must go by them";
  CHECK(ErrorOf(OverCharacters(), [](auto& d) { d.model.ranks = {0, 1}; }) == ranks);
  CHECK(ErrorOf(OverCharacters(), [](auto& d) { d.model.ranks = {0, 2, 1}; }) == ranks);
  CHECK(ErrorOf(ByPairs(), [](auto& d) { d.model.ranks.resize(258); }) == ranks);
  CHECK(ErrorOf(OverBytes(), [](auto& d) { d.model.merges = {{'a', 'b'}}; }) ==
        "merges are for models that merge by them");
  const auto with = [](TokenId left, TokenId right) {
    return ErrorOf(ByPairs(), [&](auto& d) { d.model.merges.emplace_back(left, right); });
  };
  CHECK(with('a', 999) == "merge 2: a part is no token");
  CHECK(with(999, 'a') == "merge 2: a part is no token");
  CHECK(with('b', 'a') == "merge 2: what it gives is no token");
  CHECK(with('a', 'b') == "the merge of 97 and 98 is there twice");
}

TEST_CASE("definitions: fallback bytes and user-defined symbols") {
  CHECK(ErrorOf(OverBytes(), [](auto& d) { d.model.byte_ids = {300}; }) ==
        "byte ids are for models over characters");
  CHECK(ErrorOf(OverCharacters(), [](auto& d) { d.model.byte_ids.pop_back(); }) ==
        "there must be 256 byte ids");
  CHECK(ErrorOf(OverCharacters(), [](auto& d) { d.model.byte_ids[0] = 4; }) ==
        "two bytes have the same id");
  CHECK(ErrorOf(OverCharacters(), [](auto& d) { d.model.byte_ids[0] = 2; }) ==
        "id 2 is a byte's and a token's");
  CHECK(ErrorOf(OverBytes(), [](auto& d) { d.model.user_defined = {{"[X]", 300}}; }) ==
        "user-defined symbols are for models over characters");
  const auto with = [](const std::string& bytes, TokenId id) {
    return ErrorOf(OverCharacters(), [&](auto& d) { d.model.user_defined.push_back({bytes, id}); });
  };
  CHECK(with("[Y]", 260).empty());
  CHECK(with("[X]", 260) == "user-defined symbols 259 and 260 are both \"[X]\"");
  CHECK(with("[Y]", 259) == "two user-defined symbols have the id 259");
  for (const std::string& bytes : {std::string(), std::string("\xFF"), std::string(65536, 'x')}) {
    CHECK(with(bytes, 260) == "user-defined symbol 260 is empty, too long or not valid UTF-8");
  }
  CHECK(with("ab", 260) == "user-defined symbol 260 is also an ordinary token");
  CHECK(with("[Y]", 2) == "user-defined symbol 2 is also an ordinary token");
  CHECK(with("[Y]", 3) == "user-defined symbol 3 is also an ordinary token");
}

TEST_CASE("definitions: special tokens and what is put around a text") {
  const auto with = [](const EncodingDefinition& definition, SpecialTokenDefinition token) {
    return ErrorOf(definition, [&](auto& d) {
      d.special_tokens = {{.spelling = "<s>", .id = 500}, std::move(token)};
    });
  };
  const std::string taken = "special token \"<t>\": id 256 is also that of an ordinary token";
  CHECK(with(OverBytes(), {.spelling = "<t>", .id = 0x7FFFFFFF}).empty());
  CHECK(with(OverBytes(), {.spelling = "<t>", .id = 500}).empty());
  CHECK(with(OverBytes(), {.spelling = "<t>", .id = 0x80000000}) ==
        "special token \"<t>\": id 2147483648 is not below 2^31");
  CHECK(with(OverBytes(), {.spelling = "", .id = 501}) ==
        "special token 501 has an empty spelling");
  CHECK(with(OverBytes(), {.spelling = std::string(65536, 'x'), .id = 501}) ==
        "special token 501 is longer than 65535 bytes");
  CHECK(with(OverBytes(), {.spelling = "\xFF", .id = 501}) ==
        "the spelling of a special token is not valid UTF-8");
  CHECK(with(OverBytes(), {.spelling = "<s>", .id = 501}) ==
        "special token \"<s>\" is there twice");
  CHECK(with(OverBytes(), {.spelling = "<t>", .id = 256}) == taken);
  CHECK(with(OverBytes(), {.spelling = "ab", .id = 256}) ==
        "special token \"ab\": id 256 is also that of an ordinary token");
  CHECK(with(OverBytes(), {.spelling = "ab", .id = 256, .special = false}).empty());
  for (const TokenId id : {TokenId{0}, TokenId{3}, TokenId{259}}) {
    CHECK(with(OverCharacters(), {.spelling = "<t>", .id = id})
              .ends_with("is also that of an ordinary token"));
  }
  EncodingDefinition sorted_out = OverBytes();
  sorted_out.model.unused_tokens = {{"abcd", 258}};
  CHECK(with(sorted_out, {.spelling = "<t>", .id = 258})
            .ends_with("is also that of an ordinary token"));
  CHECK(with(sorted_out, {.spelling = "abcd", .id = 258, .special = false}).empty());

  const auto around = [](TokenId id) {
    return ErrorOf(OverCharacters(), [&](auto& d) {
      d.special_tokens = {{.spelling = "<s>", .id = 500}};
      d.post_processor.after = {id};
    });
  };
  for (const TokenId id : {TokenId{0}, TokenId{3}, TokenId{500}}) CHECK(around(id).empty());
  CHECK(around(501) == "the post-processor adds the id 501, which no token has");
}

TEST_CASE("definitions: steps") {
  const auto normalizer = [](NormalizerStep step) {
    return ErrorOf(OverBytes(), [&](auto& d) { d.normalizer = {std::move(step)}; });
  };
  using Kind = NormalizerStep::Kind;
  CHECK(normalizer({Kind::kReplace, "a", ""}).empty());
  CHECK(normalizer({Kind::kReplace, "", "a"}) ==
        "a normalizer must have a pattern if it replaces, and only then");
  CHECK(normalizer({Kind::kPrepend, "a", "a"}) ==
        "a normalizer must have a pattern if it replaces, and only then");
  CHECK(normalizer({Kind::kNfc, "", "a"}) == "a normalizer has content it cannot use");
  CHECK(normalizer({Kind::kReplace, "\xFF", ""}) == "a normalizer's pattern is not valid UTF-8");
  CHECK(normalizer({Kind::kPrepend, "", "\xFF"}) == "a normalizer's content is not valid UTF-8");
  const auto pre_tokenizer = [](PreTokenizerStep::Kind kind, const std::string& pattern) {
    return ErrorOf(OverBytes(),
                   [&](auto& d) { d.pre_tokenizer = {{.kind = kind, .pattern = pattern}}; });
  };
  const std::string strings =
      "a pre-tokenizer must have a pattern if it splits by one, and only then";
  CHECK(pre_tokenizer(PreTokenizerStep::Kind::kLiteral, "a").empty());
  CHECK(pre_tokenizer(PreTokenizerStep::Kind::kLiteral, "") == strings);
  CHECK(pre_tokenizer(PreTokenizerStep::Kind::kRegex, "") == strings);
  CHECK(pre_tokenizer(PreTokenizerStep::Kind::kDigits, "a") == strings);
  CHECK(pre_tokenizer(PreTokenizerStep::Kind::kRegex, "\xFF") ==
        "a pre-tokenizer's pattern is not valid UTF-8");
}

}  // namespace
}  // namespace ctx::tokenize
