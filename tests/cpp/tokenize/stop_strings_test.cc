#include "tokenize/stop_strings.h"

#include <random>

#include "common/error.h"
#include "doctest/doctest.h"
#include "support/alloc_failure.h"
#include "tokenize/tiny_vocabulary.h"

namespace ctx::tokenize {
namespace {

using testing::RandomLetters;

struct Outcome {
  std::string out;
  int stop = -1;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// The rule, letter by letter: the first end of a stop string, of those that end there the longest,
/// of equal ones the first.
Outcome Plain(const std::vector<std::string>& stops, const std::string& text) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    int found = -1;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      const bool ends_here = text.substr(0, end).ends_with(stops[i]);
      const bool is_longer =
          found < 0 || stops[i].size() > stops[static_cast<std::size_t>(found)].size();
      if (ends_here && is_longer) found = static_cast<int>(i);
    }
    if (found >= 0) {
      return {text.substr(0, end - stops[static_cast<std::size_t>(found)].size()), found};
    }
  }
  return {text, -1};
}

/// Reads in pieces of random size and asserts, after each, what is held back.
Outcome InPieces(const StopStrings& stops, const std::string& text, std::mt19937& random) {
  Outcome outcome;
  StopStrings::Node node = StopStrings::kRoot;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = std::min<std::size_t>(random() % 4, text.size() - at);
    const StopStrings::Result result = stops.Read(node, text.substr(at, size), outcome.out);
    if (result.stop >= 0) return {outcome.out, result.stop};
    node = result.node;
    at += size;
    std::string longest;
    const std::string read = text.substr(0, at);
    for (const std::string& stop : stops.stops()) {
      for (std::size_t length = 1; length < stop.size(); ++length) {
        if (length > longest.size() && read.ends_with(stop.substr(0, length))) {
          longest = stop.substr(0, length);
        }
      }
    }
    REQUIRE(stops.Held(node) == longest);
    REQUIRE(outcome.out + longest == read);
    REQUIRE(stops.IsResting(node));
  }
  outcome.out += stops.Held(node);
  return outcome;
}

TEST_CASE("random stop strings in random text, in pieces, against the plain rule") {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> strings(random() % 5);
    for (std::string& string : strings) string = RandomLetters(random, 1 + random() % 6, 2);
    const std::string text = RandomLetters(random, random() % 30, 2);
    const StopStrings stops(strings);
    REQUIRE(InPieces(stops, text, random) == Plain(strings, text));
  }
}

TEST_CASE("characters are held back whole") {
  const StopStrings stops({"\u00e9\u00e8!"});
  std::string out;
  auto result = stops.Read(StopStrings::kRoot, "a\u00e9\u00e8", out);
  CHECK(out == "a");
  CHECK(stops.Held(result.node) == "\u00e9\u00e8");
  CHECK(stops.NumHeldChars(result.node) == 2);
  result = stops.Read(result.node, "\u00e9", out);  // shares its first byte with what would match
  CHECK(out == "a\u00e9\u00e8");
  CHECK(stops.Held(result.node) == "\u00e9");
}

TEST_CASE("no stop strings hold nothing back") {
  const StopStrings none;
  std::string out;
  CHECK(none.Read(StopStrings::kRoot, "text", out).node == StopStrings::kRoot);
  CHECK(out == "text");
  CHECK(none.Held(StopStrings::kRoot).empty());
  CHECK_FALSE(none.IsResting(1));
}

TEST_CASE("an empty stop string is refused") {
  CHECK_THROWS_WITH_AS(StopStrings({"a", ""}), "stop string 1 is empty", ArgumentError);
}

TEST_CASE("nodes inside a character or at a stop string are not for resting") {
  const StopStrings stops({"\u00e9x"});
  int num_resting = 0;
  for (std::uint32_t node = 0; node < 10; ++node) num_resting += stops.IsResting(node) ? 1 : 0;
  CHECK(num_resting == 2);  // the root, and the whole first character
}

TEST_CASE("a long stop string of one letter is read in linear time") {
  // What is held back must not be copied for each piece: that would be 2^36 bytes here.
  const std::string stop(1 << 18, 'a');
  const StopStrings stops({stop + "b"});
  std::string out;
  StopStrings::Node node = StopStrings::kRoot;
  for (int i = 0; i < 1 << 19; ++i) node = stops.Read(node, "a", out).node;
  CHECK(out.size() == 1 << 18);
  CHECK(stops.Held(node) == stop);
  CHECK(stops.Read(node, "b", out).stop == 0);
}

TEST_CASE("building survives failing allocations") {
  const std::vector<std::string> strings = {"a long string that is not stored in place", "another"};
  const auto failures =
      ctx::testing::FailEveryAllocation([&] { StopStrings stops(strings); }, [] {});
  CHECK(failures > 0);
}

}  // namespace
}  // namespace ctx::tokenize
