#include "tokenize/decode_stream.h"

#include <random>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/shipped_encodings.h"

namespace ctx::tokenize {
namespace {

std::shared_ptr<const Encoding> Gpt2() {
  static const std::shared_ptr<const Encoding> encoding =
      LoadShippedEncoding("gpt2", CTXENGINE_VOCABULARY_DIR);
  return encoding;
}

StreamDecoder Decoder(std::vector<std::string> stops = {}, bool skip_special_tokens = false) {
  return {Gpt2(), std::make_shared<const StopStrings>(std::move(stops)), skip_special_tokens};
}

/// One id for each byte.
std::vector<TokenId> ByteIds(std::string_view bytes) {
  std::vector<TokenId> ids;
  for (const char& byte : bytes) ids.push_back(Gpt2()->EncodeSingleToken({&byte, 1}));
  return ids;
}

/// What comes out byte by byte, and at the end.
std::string Streamed(const StreamDecoder& decoder, std::string_view bytes) {
  StreamState state;
  std::string out;
  for (const TokenId id : ByteIds(bytes)) {
    decoder.Feed(state, {&id, 1}, out);
    REQUIRE(decoder.IsPossible(state));
  }
  decoder.Finish(state, out);
  REQUIRE(decoder.IsPossible(state));
  CHECK(state.num_bytes == static_cast<std::int64_t>(out.size()));
  return out;
}

TEST_CASE("only whole characters come out") {
  const StreamDecoder decoder = Decoder();
  StreamState state;
  std::string out;
  const std::vector<TokenId> ids = ByteIds("\xF0\x9F\x91\x8D!");
  for (std::size_t i = 0; i < 3; ++i) {
    decoder.Feed(state, {&ids[i], 1}, out);
    CHECK(out.empty());
    CHECK(decoder.NumHeldChars(state) == 1);
  }
  decoder.Feed(state, std::span(ids).subspan(3), out);
  CHECK(out == "\xF0\x9F\x91\x8D!");
  CHECK(decoder.NumHeldChars(state) == 0);
}

TEST_CASE("malformed bytes: the examples of The Unicode Standard 16.0, tables 3-8 to 3-11") {
  const std::string r = "\xEF\xBF\xBD";
  // Overlong forms, surrogates, values that are too large: each byte by itself.
  CHECK(Streamed(Decoder(), "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") ==
        r + r + r + r + r + r + r + r + "A");
  CHECK(Streamed(Decoder(), "\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41") ==
        r + r + r + r + r + r + r + r + "A");
  CHECK(Streamed(Decoder(), "\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42") ==
        r + r + r + r + r + "A" + r + r + "B");
  // The beginning of a character: as a whole.
  CHECK(Streamed(Decoder(), "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == r + r + r + r + "A");
}

TEST_CASE("a stop string ends the text wherever the ids are cut") {
  const StreamDecoder decoder = Decoder({"wor", "ld"});
  const std::vector<TokenId> ids = ByteIds("hello world");
  for (std::size_t cut = 0; cut <= ids.size(); ++cut) {
    StreamState state;
    std::string out;
    decoder.Feed(state, std::span(ids).first(cut), out);
    decoder.Feed(state, std::span(ids).subspan(cut), out);
    CHECK(out == "hello ");
    CHECK(state.stop == 0);
    decoder.Finish(state, out);
    CHECK(out == "hello ");
    CHECK(state.num_bytes == 6);
  }
}

TEST_CASE("an incomplete character at the end can complete a stop string") {
  CHECK(Streamed(Decoder({"a\xEF\xBF\xBD"}), "xa\xE2\x80") == "x");
  CHECK(Streamed(Decoder({"a\xEF\xBF\xBD!"}), "xa\xE2\x80") == "xa\xEF\xBF\xBD");
}

TEST_CASE("control tokens are skipped when asked for") {
  const std::vector<TokenId> ids = {31373, 50256, 995};  // "hello", <|endoftext|>, " world"
  for (const bool skip : {false, true}) {
    StreamState state;
    std::string out;
    Decoder({}, skip).Feed(state, ids, out);
    CHECK(out == (skip ? "hello world" : "hello<|endoftext|> world"));
  }
}

TEST_CASE("errors leave everything as it was") {
  const StreamDecoder decoder = Decoder({"hello!"});
  StreamState state;
  std::string out = "kept";
  decoder.Feed(state, std::vector<TokenId>{31373}, out);
  const StreamState before = state;
  CHECK_THROWS_WITH_AS(decoder.Feed(state, std::vector<TokenId>{0, 50257}, out),
                       "encoding gpt2 has no token 50257, at index 1", UnknownTokenError);
  const auto failures = ctx::testing::FailEveryAllocation(
      [&] {
        StreamState copy = state;
        std::string longer = out;
        decoder.Feed(copy, std::vector<TokenId>(100, 31373), longer);
      },
      [&] { CHECK(state == before); });
  CHECK(failures > 0);
  CHECK(state == before);
  CHECK(out == "kept");
  decoder.Finish(state, out);
  CHECK(out == "kepthello");
  CHECK_THROWS_WITH_AS(decoder.Feed(state, {}, out), "the stream is finished", ArgumentError);
  decoder.Finish(state, out);
  CHECK(out == "kepthello");
}

TEST_CASE("states that cannot be are known") {
  const StreamDecoder decoder = Decoder({"ab"});
  const auto possible = [&](auto change) {
    StreamState state;
    change(state);
    return decoder.IsPossible(state);
  };
  CHECK(possible([](StreamState&) {}));
  CHECK(possible([](StreamState& s) { s.node = 1; }));
  CHECK_FALSE(possible([](StreamState& s) { s.node = 2; }));
  CHECK_FALSE(possible([](StreamState& s) { s.node = 99; }));
  CHECK_FALSE(possible([](StreamState& s) { s.num_bytes = -1; }));
  CHECK(possible([](StreamState& s) { s.stop = 0; }));
  CHECK_FALSE(possible([](StreamState& s) { s.stop = 1; }));
  CHECK_FALSE(possible([](StreamState& s) { s.stop = -2; }));
  CHECK_FALSE(possible([](StreamState& s) { s.node = 1, s.finished = true; }));
  CHECK(possible([](StreamState& s) { s.incomplete = {'\xE2', '\x80'}, s.num_incomplete = 2; }));
  CHECK_FALSE(possible([](StreamState& s) { s.incomplete = {'a'}, s.num_incomplete = 1; }));
  CHECK_FALSE(
      possible([](StreamState& s) { s.incomplete = {'\xE0', '\x80'}, s.num_incomplete = 2; }));
  CHECK_FALSE(possible(
      [](StreamState& s) { s.incomplete = {'\xE2', '\x80', '\x80'}, s.num_incomplete = 3; }));
  CHECK_FALSE(possible([](StreamState& s) { s.num_incomplete = 4; }));
}

}  // namespace
}  // namespace ctx::tokenize
