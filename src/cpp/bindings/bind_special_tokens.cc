// The search for special tokens by itself: for tests, and for looking at what a prompt's spellings
// become.
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "tokenize/special_tokens.h"

namespace ctx::bindings {
namespace {

namespace py = pybind11;
using tokenize::SpecialToken;
using Token = std::tuple<std::string, TokenId, bool, bool, bool>;
using Found = std::tuple<std::size_t, std::size_t, TokenId>;

std::vector<Found> FindSpecialTokens(const std::vector<Token>& tokens,
                                     const std::vector<std::pair<std::string, bool>>& segments) {
  std::vector<SpecialToken> definitions;
  for (const auto& [spelling, id, single_word, lstrip, rstrip] : tokens) {
    definitions.push_back({spelling, id, true, single_word, lstrip, rstrip});
  }
  const tokenize::SpecialTokens special_tokens(std::move(definitions));
  std::string text;
  std::vector<tokenize::TextRange> trusted_ranges;
  for (const auto& [segment, trusted] : segments) {
    if (trusted) trusted_ranges.push_back({text.size(), text.size() + segment.size()});
    text += segment;
  }
  std::vector<Found> found;
  tokenize::SpecialTokenMatches matches(special_tokens, text, trusted_ranges);
  while (const auto match = matches.Next()) found.emplace_back(match->begin, match->end, match->id);
  return found;
}

}  // namespace

void RegisterSpecialTokens(py::module_& module) {
  module.def("find_special_tokens", &FindSpecialTokens, py::arg("tokens"), py::arg("segments"),
             py::pos_only(),
             "(begin, end, id) of each special token in the UTF-8 of the joined segments.\n\n"
             "A token is (spelling, id, single_word, lstrip, rstrip), a segment (text, trusted).");
}

}  // namespace ctx::bindings
