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

namespace ctx::tokenize {
namespace {

/// From here on an open pre-token keeps its ranks.
constexpr std::size_t kLongBytes = 4096;

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
  return static_cast<std::int64_t>(ids.size());
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

void Appender::AppendOrdinary(std::string_view text, Open& open, std::vector<TokenId>& ids) const {
  const Normalizer& normalizer = encoding_->normalizer();
  if (normalizer.empty()) {
    open.normalized.append(text);
  } else {
    open.raw.append(text);
    const std::size_t num_stable = normalizer.StablePrefix(open.raw, open.position);
    if (num_stable != 0) {
      std::string buffer;
      open.normalized.append(normalizer.Apply(std::string_view(open.raw).substr(0, num_stable),
                                              open.position, buffer));
      open.raw.erase(0, num_stable);
      open.position = Normalizer::Position::kMiddle;
    }
  }
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
  const std::size_t begin = ids.size() - open.num_ids;
  std::string joined;
  std::string_view text = open.normalized;
  if (!open.raw.empty()) {
    std::string buffer;
    joined.append(open.normalized)
        .append(encoding_->normalizer().Apply(open.raw, open.position, buffer));
    text = joined;
  }
  const Vocabulary& vocabulary = encoding_->vocabulary();
  if (open.normalized.size() < std::max(kLongBytes, vocabulary.max_token_bytes() + 1) ||
      !encoding_->IsOnePreToken(text)) {
    open.ForgetRanks();
    ids.resize(begin);
    encoding_->EncodeNormalized(text, text.size(), ids);
  } else {
    std::size_t num_kept =
        MergeMore(vocabulary, open.normalized, open.num_merged_bytes, open.ranks, 0);
    open.num_merged_bytes = open.normalized.size();
    if (!open.ids_are_of_ranks) num_kept = 0;
    open.ids_are_of_ranks = open.raw.empty();
    const auto append_ids = [&](const std::vector<Rank>& ranks) {
      ids.resize(begin + num_kept);
      for (std::size_t i = num_kept; i < ranks.size(); ++i)
        ids.push_back(vocabulary.IdOf(ranks[i]));
    };
    if (open.raw.empty()) {
      append_ids(open.ranks);
    } else {
      std::vector<Rank> ranks = open.ranks;
      num_kept = 0;
      MergeMore(vocabulary, text, open.normalized.size(), ranks, 0);
      append_ids(ranks);
    }
  }
  open.num_ids = ids.size() - begin;
}

std::int64_t Appender::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(ids_->size());
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
