#include "tokenize/pretokenize/regex.h"

#include <pcre2.h>

#include <array>
#include <new>
#include <optional>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/pretokenize/regex_syntax.h"

namespace ctx::tokenize {
namespace {

// PCRE2's own default; a published pattern takes a handful of steps for each character.
constexpr std::uint32_t kMatchLimit = 10'000'000;
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kJitStackBytes = 32 * 1024;
constexpr std::size_t kMaxJitStackBytes = 64 * 1024 * 1024;
constexpr std::size_t kMaxCodeBytes = 4 * 1024 * 1024;

template <auto free>
struct Free {
  template <typename T>
  void operator()(T* pointer) const noexcept {
    free(pointer);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Free<pcre2_compile_context_free>>;
using CodePointer = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack_free>>;

template <typename T>
T* OrBadAlloc(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

std::string MessageOf(int error) {
  std::array<PCRE2_UCHAR, 256> message{};
  pcre2_get_error_message(error, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

}  // namespace

struct Regex::Code {
  CodePointer code;
  bool has_jit = false;
};

struct RegexMatcher::State {
  MatchData data;
  MatchContext context;
  JitStack jit_stack;  // only once a search has needed more than the machine's stack gives
};

Regex::Regex(std::string_view pattern, PreTokenizerStep::Flavor flavor) : pattern_(pattern) {
  const TranslatedRegex translated = TranslateRegex(pattern, flavor);
  can_match_empty_ = translated.can_match_empty;
  looks_behind_ = translated.looks_behind;
  const CompileContext context(OrBadAlloc(pcre2_compile_context_create(nullptr)));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_compiled_length(context.get(), kMaxCodeBytes);
  auto code = std::make_shared<Code>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.pcre2.data()),
                                 translated.pcre2.size(), PCRE2_UTF, &error, &offset,
                                 context.get()));
  if (code->code == nullptr) {
    if (error == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
    throw LoadError(
        StrCat("regular expression ", QuotedPattern(pattern), ": PCRE2 says: ", MessageOf(error)));
  }
  // Without memory that may be executed, PCRE2's interpreter does the same at a slower pace.
  code->has_jit =
      pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
  code_ = std::move(code);
}

RegexMatcher::RegexMatcher(const Regex& regex) : regex_(regex), state_(std::make_unique<State>()) {
  state_->data.reset(OrBadAlloc(pcre2_match_data_create(1, nullptr)));
  state_->context.reset(OrBadAlloc(pcre2_match_context_create(nullptr)));
  pcre2_set_match_limit(state_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(state_->context.get(), kHeapLimitKib);
}

RegexMatcher::~RegexMatcher() = default;

RegexMatcher::Outcome RegexMatcher::Search(std::string_view text, std::size_t from,
                                           RegexMatch& match, unsigned options) {
  const auto search = [&]() {
    const Regex::Code& code = *regex_.code_;
    auto* const match_now = code.has_jit ? pcre2_jit_match : pcre2_match;
    return match_now(code.code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                     options | PCRE2_NO_UTF_CHECK, state_->data.get(), state_->context.get());
  };
  int result = search();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && state_->jit_stack == nullptr) {
    state_->jit_stack.reset(
        OrBadAlloc(pcre2_jit_stack_create(kJitStackBytes, kMaxJitStackBytes, nullptr)));
    pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->jit_stack.get());
    result = search();
  }
  if (result == PCRE2_ERROR_NOMATCH) return Outcome::kNoMatch;
  if (result == PCRE2_ERROR_PARTIAL) return Outcome::kNeedsMoreText;
  if (result == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
  if (result < 0) {
    throw ArgumentError(StrCat("regular expression ", QuotedPattern(regex_.pattern()),
                               ": the search gave up that began at byte ", from, " of a piece of ",
                               text.size(), " bytes (", MessageOf(result), ")"));
  }
  const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(state_->data.get());
  match = {ends[0], ends[1]};
  return Outcome::kMatch;
}

bool RegexMatcher::Find(std::string_view text, std::size_t from, RegexMatch& match) {
  return Search(text, from, match, 0) == Outcome::kMatch;
}

RegexMatcher::Outcome RegexMatcher::FindFinal(std::string_view text, std::size_t from,
                                              RegexMatch& match) {
  return Search(text, from, match, PCRE2_PARTIAL_HARD);
}

}  // namespace ctx::tokenize
