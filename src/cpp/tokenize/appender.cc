// The text since the last special token, and what is known of it:
//
//     | final pre-tokens | open pre-tokens ............................ |
//     | gone             | normalized            | raw                  |
//     | ids, final       | ids, encoded again by each Append            |
//
// The normalizer says up to where it is done (StablePrefix), the pre-tokenizer up to where its cuts
// stand whatever follows (FinalPrefix): neither guesses.
#include "tokenize/appender.h"

#include <algorithm>
#include <utility>

#include "tokenize/bpe/merge.h"
#include "tokenize/unicode/utf8.h"

namespace ctx::tokenize {
namespace {

/// From here on an open pre-token keeps its ranks.
constexpr std::size_t kLongBytes = 4096;

/// So many of its last ranks are merged again at first with text that does not stay.
constexpr std::size_t kRanksAnew = 64;

}  // namespace

Appender::Appender(std::shared_ptr<const Encoding> encoding)
    : encoding_(std::move(encoding)), ids_(std::make_shared<std::vector<TokenId>>()) {}

Appender::Appender(const Appender& other) : encoding_(other.encoding_) {
  const std::lock_guard lock(other.mutex_);
  ids_ = other.ids_;
  open_ = other.open_;
  changed_from_ = other.changed_from_;
}

std::int64_t Appender::Append(std::string_view utf8, bool trusted) {
  const std::lock_guard lock(mutex_);
  if (ids_.use_count() > 1) {  // somebody looks at them, or a copy shares them
    auto own = std::make_shared<std::vector<TokenId>>();
    own->reserve(ids_->size() + ids_->size() / 2);
    own->assign(ids_->begin(), ids_->end());
    ids_ = std::move(own);
  }
  if (!LengthenPreToken(utf8, trusted)) AppendToCopy(utf8, trusted);
  return static_cast<std::int64_t>(ids_->size());
}

bool Appender::LengthenPreToken(std::string_view utf8, bool trusted) {
  if (open_.ranks.empty() || (trusted && encoding_->special_tokens().Find(utf8))) return false;
  const std::size_t size_before = open_.normalized.size();
  const Normalizer::Position position_before = open_.position;
  std::string raw_before = open_.raw;
  const auto undo = [&]() noexcept {
    open_.normalized.resize(size_before);
    open_.raw.swap(raw_before);
    open_.position = position_before;
    open_.pre_token.reset();
  };
  try {
    TakeText(utf8, open_);
    std::string buffer;
    const std::string_view tail =
        open_.raw.empty() ? std::string_view()
                          : encoding_->normalizer().Apply(open_.raw, open_.position, buffer);
    const std::size_t num_bytes = EndOfLengthened(open_, size_before, tail);
    if (num_bytes < open_.num_merged_bytes) {
      undo();
      return false;
    }
    changed_from_ = EncodeLongOpen(open_, num_bytes, tail, *ids_);
  } catch (...) {
    undo();
    open_.ForgetRanks();
    throw;
  }
  return true;
}

std::size_t Appender::EndOfLengthened(Open& open, std::size_t size_before,
                                      std::string_view tail) const {
  const PreTokenizer& pre_tokenizer = encoding_->pre_tokenizer();
  const SpecialTokens& symbols = encoding_->user_defined();
  if (!pre_tokenizer.steps().empty()) {
    if (!pre_tokenizer.pattern() || !symbols.empty()) return 0;
    if (!open.pre_token) open.pre_token.emplace(*pre_tokenizer.pattern());
    if (open.pre_token->FinalEnd(open.normalized) != 0) return 0;
    return open.pre_token->End(open.normalized, tail);
  }
  if (!symbols.empty()) {
    // One that was not there would have to end in what is new.
    const std::size_t from = FloorCharacter(
        open.normalized, size_before - std::min(size_before, symbols.max_spelling_bytes()));
    if (symbols.Find(open.normalized.substr(from).append(tail))) return 0;
  }
  return open.normalized.size() + tail.size();
}

void Appender::AppendToCopy(std::string_view utf8, bool trusted) {
  std::vector<TokenId>& ids = *ids_;
  const std::size_t num_final = ids.size() - open_.num_ids;
  const std::vector<TokenId> before(ids.begin() + static_cast<std::ptrdiff_t>(num_final),
                                    ids.end());
  Open open = open_;
  try {
    AppendSections(utf8, trusted, open, ids);
  } catch (...) {
    ids.resize(num_final);
    ids.insert(ids.end(), before.begin(), before.end());  // the memory is there
    throw;
  }
  open_ = std::move(open);
  const auto num_common = std::min(before.size(), ids.size() - num_final);
  const auto changed =
      std::mismatch(before.begin(), before.begin() + static_cast<std::ptrdiff_t>(num_common),
                    ids.begin() + static_cast<std::ptrdiff_t>(num_final));
  changed_from_ = num_final + static_cast<std::size_t>(changed.first - before.begin());
}

void Appender::AppendSections(std::string_view utf8, bool trusted, Open& open,
                              std::vector<TokenId>& ids) const {
  std::size_t done = 0;
  const auto append_until = [&](std::size_t end) {
    if (done < end) AppendOrdinary(utf8.substr(done, end - done), open, ids);
  };
  if (trusted) {
    const TextRange all{0, utf8.size()};
    SpecialTokenMatches matches(encoding_->special_tokens(), utf8, {&all, 1});
    while (const auto match = matches.Next()) {
      append_until(match->begin);
      // A section ends here as a text does, so its ids are right as they are.
      ids.push_back(match->id);
      open = {};
      open.position = Normalizer::Position::kSectionStart;
      done = match->end;
    }
  }
  append_until(utf8.size());
}

void Appender::TakeText(std::string_view text, Open& open) const {
  const Normalizer& normalizer = encoding_->normalizer();
  if (normalizer.empty()) {
    open.normalized.append(text);
    return;
  }
  open.raw.append(text);
  const std::size_t num_stable = normalizer.StablePrefix(open.raw, open.position);
  if (num_stable == 0) return;
  std::string buffer;
  open.normalized.append(
      normalizer.Apply(std::string_view(open.raw).substr(0, num_stable), open.position, buffer));
  open.raw.erase(0, num_stable);
  open.position = Normalizer::Position::kMiddle;
}

void Appender::AppendOrdinary(std::string_view text, Open& open, std::vector<TokenId>& ids) const {
  TakeText(text, open);
  const std::size_t num_final = encoding_->FinalPrefix(open.normalized);
  if (num_final != 0) {
    ids.resize(ids.size() - open.num_ids);
    encoding_->EncodeNormalized(open.normalized, num_final, ids);
    open.normalized.erase(0, num_final);
    open.num_ids = 0;
    open.ForgetRanks();
  }
  EncodeOpen(open, ids);
}

void Appender::EncodeOpen(Open& open, std::vector<TokenId>& ids) const {
  std::string buffer;
  const std::string_view tail =
      open.raw.empty() ? std::string_view()
                       : encoding_->normalizer().Apply(open.raw, open.position, buffer);
  std::string joined;
  std::string_view text = open.normalized;
  if (!tail.empty()) text = joined.append(open.normalized).append(tail);
  if (text.size() >= std::max(kLongBytes, encoding_->vocabulary().max_token_bytes() + 1)) {
    const std::size_t num_bytes = encoding_->FirstPreToken(text);
    if (num_bytes < open.num_merged_bytes) open.ForgetRanks();
    if (num_bytes >= std::max(kLongBytes, encoding_->vocabulary().max_token_bytes() + 1)) {
      EncodeLongOpen(open, num_bytes, tail, ids);
      return;
    }
  }
  open.ForgetRanks();
  const std::size_t begin = ids.size() - open.num_ids;
  ids.resize(begin);
  encoding_->EncodeNormalized(text, text.size(), ids);
  open.num_ids = ids.size() - begin;
}

std::size_t Appender::EncodeLongOpen(Open& open, std::size_t num_bytes, std::string_view tail,
                                     std::vector<TokenId>& ids) const {
  const Vocabulary& vocabulary = encoding_->vocabulary();
  const std::string_view text = std::string_view(open.normalized).substr(0, num_bytes);
  std::vector<TokenId> rest_ids;
  if (num_bytes < open.normalized.size() + tail.size()) {
    std::string rest = open.normalized.substr(text.size());
    rest.append(tail.substr(num_bytes - text.size()));
    encoding_->EncodeNormalized(rest, rest.size(), rest_ids);
  }
  tail = tail.substr(0, num_bytes - text.size());
  std::vector<Rank>& ranks = open.ranks;
  const std::size_t num_kept = MergeMore(vocabulary, text, open.num_merged_bytes, ranks, 0);
  open.num_merged_bytes = text.size();

  // With the tail the last ranks, from `first` on, are these.
  std::size_t first = ranks.size();
  std::size_t num_kept_with_tail = first;
  std::vector<Rank> last;
  for (std::size_t num_anew = kRanksAnew; !tail.empty(); num_anew *= 2) {
    std::size_t begin = text.size();
    first = ranks.size();
    while (first > 0 && (ranks.size() - first < num_anew || !BeginsCharacter(text, begin))) {
      begin -= vocabulary.Bytes(ranks[--first]).size();
    }
    last.assign(ranks.begin() + static_cast<std::ptrdiff_t>(first), ranks.end());
    const std::string end = std::string(text.substr(begin)).append(tail);
    num_kept_with_tail = first + MergeMore(vocabulary, end, text.size() - begin, last, 0);
    if (num_kept_with_tail > first || first == 0) break;
  }

  const std::size_t begin = ids.size() - open.num_ids;
  const std::size_t num_ranks = first + last.size();
  const std::size_t size = begin + num_ranks + rest_ids.size();
  if (ids.capacity() < size) ids.reserve(std::max(size, 2 * ids.capacity()));
  // Nothing fails from here on.
  const auto new_id = [&](std::size_t i) {
    if (i >= num_ranks) return rest_ids[i - num_ranks];
    return vocabulary.IdOf(i < first ? ranks[i] : last[i - first]);
  };
  std::size_t changed_from = size;
  for (std::size_t i = std::min({num_kept, num_kept_with_tail, open.num_ids_of_ranks});
       begin + i < size; ++i) {
    const TokenId id = new_id(i);
    if (begin + i < ids.size() && ids[begin + i] == id) continue;
    changed_from = std::min(changed_from, begin + i);
    if (begin + i < ids.size()) {
      ids[begin + i] = id;
    } else {
      ids.push_back(id);
    }
  }
  ids.resize(size);
  open.num_ids = size - begin;
  open.num_ids_of_ranks = num_kept_with_tail;
  return changed_from;
}

std::int64_t Appender::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(ids_->size());
}

std::int64_t Appender::CountWith(std::string_view utf8, bool trusted) const {
  std::unique_lock lock(mutex_);
  const std::size_t num_final = ids_->size() - open_.num_ids;
  std::vector<TokenId> ids(ids_->begin() + static_cast<std::ptrdiff_t>(num_final), ids_->end());
  Open open = open_;
  lock.unlock();
  AppendSections(utf8, trusted, open, ids);
  return static_cast<std::int64_t>(num_final + ids.size());
}

std::size_t Appender::changed_from() const {
  const std::lock_guard lock(mutex_);
  return changed_from_;
}

std::shared_ptr<const std::vector<TokenId>> Appender::ids() const {
  const std::lock_guard lock(mutex_);
  return ids_;
}

}  // namespace ctx::tokenize
