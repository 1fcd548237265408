#include "chat/conversation.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "chat/count.h"
#include "chat/message_sums.h"
#include "chat/sampled_ids.h"
#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::chat {
namespace {

constexpr std::size_t kMaxBranches = 64;

std::uint64_t NextBranch() noexcept {
  static std::atomic<std::uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// A message whose text is its own. What is missing here would dangle.
static_assert(sizeof(Message) == 29 * sizeof(void*) && sizeof(ToolCall) == 9 * sizeof(void*) &&
                  sizeof(ContentPart) == 3 * sizeof(void*),
              "copy the new field's text too");

template <typename Visit>
void ForEachText(Message& message, Visit visit) {
  visit(message.content);
  for (auto* const text : {&message.name, &message.reasoning, &message.channel,
                           &message.tool_call_id, &message.recipient, &message.content_type}) {
    if (*text) visit(**text);
  }
  for (ToolCall& call : message.tool_calls) {
    visit(call.name);
    visit(call.arguments_json);
    visit(call.arguments_text);
    if (call.id) visit(*call.id);
  }
  for (ContentPart& part : message.parts) visit(part.text);
}

std::shared_ptr<const char[]> OwnTexts(Message& message) {
  std::size_t size_bytes = 0;
  ForEachText(message, [&](std::string_view& text) { size_bytes += text.size(); });
  auto bytes = std::make_shared_for_overwrite<char[]>(size_bytes);
  char* at = bytes.get();
  ForEachText(message, [&](std::string_view& text) {
    if (!text.empty()) std::memcpy(at, text.data(), text.size());
    text = {at, text.size()};
    at += text.size();
  });
  return bytes;
}

bool SameSegments(std::span<const tokenize::Segment> a,
                  std::span<const tokenize::Segment> b) noexcept {
  return std::ranges::equal(a, b, [](const tokenize::Segment& x, const tokenize::Segment& y) {
    return x.trusted == y.trusted && x.text.size() == y.text.size() &&
           (x.text.data() == y.text.data() || x.text == y.text);
  });
}

// What was shown before, to be found in what is shown now.
class Shown {
 public:
  Shown(const Rendered& before, std::size_t first_message, std::size_t num_messages)
      : before_(before), first_message_(first_message) {
    first_of_.assign(num_messages - first_message, before.chunks().size());
    for (std::size_t i = before.chunks().size(); i-- > 0;) {
      const std::int64_t message = before.chunks()[i].message;
      if (message != kTemplateOwned)
        first_of_[static_cast<std::size_t>(message) - first_message] = i;
    }
  }

  /// The chunk that shows the same as the `ordinal`th chunk of what was message `message`.
  std::optional<std::size_t> Find(std::int64_t message, std::size_t ordinal,
                                  std::span<const tokenize::Segment> segments) const {
    const auto chunks = before_.chunks();
    if (chunks.empty()) return std::nullopt;
    const std::size_t i =
        message == kTemplateOwned
            ? chunks.size() - 1
            : first_of_[static_cast<std::size_t>(message) - first_message_] + ordinal;
    if (i >= chunks.size() || chunks[i].message != message ||
        !SameSegments(before_.SegmentsOf(i), segments)) {
      return std::nullopt;
    }
    return i;
  }

 private:
  const Rendered& before_;
  const std::size_t first_message_;
  std::vector<std::size_t> first_of_;
};

}  // namespace

struct LiveConversation::Edit {
  std::size_t begin;
  std::size_t end;
  std::span<const Message> messages;
  std::string_view path;
  std::span<const TokenId> sampled;
};

LiveConversation::LiveConversation(std::shared_ptr<const tokenize::Encoding> encoding,
                                   const Template& family, TemplateOptions options,
                                   std::span<const std::string_view> tools_json,
                                   bool add_generation_prompt)
    : encoding_(std::move(encoding)),
      family_(family),
      options_(std::move(options)),
      add_generation_prompt_(add_generation_prompt),
      tools_(std::make_shared<std::vector<std::string>>(tools_json.begin(), tools_json.end())),
      tools_json_(tools_->begin(), tools_->end()),
      branches_{{NextBranch(), 0}} {
  ValidateEncoding(family_, *encoding_);
  // Where a first message is needed, it comes with what is said of the tools.
  if (!family_.needs_first_message) Apply({0, 0, {}, "messages", {}}, nullptr, nullptr);
}

LiveConversation::LiveConversation(const LiveConversation& other)
    : LiveConversation(other, std::lock_guard(other.mutex_)) {}

LiveConversation::LiveConversation(const LiveConversation& other,
                                   const std::lock_guard<std::mutex>& /*lock*/)
    : encoding_(other.encoding_),
      family_(other.family_),
      options_(other.options_),
      add_generation_prompt_(other.add_generation_prompt_),
      tools_(other.tools_),
      tools_json_(other.tools_json_),
      messages_(other.messages_),
      texts_(other.texts_),
      chunks_(other.chunks_),
      ids_(other.ids_),
      changes_(other.changes_),
      branches_(other.branches_),
      version_(other.version_),
      changed_from_(other.changed_from_) {
  if (branches_.size() == kMaxBranches) branches_.erase(branches_.begin());
  branches_.back().version = version_;
  branches_.push_back({NextBranch(), version_});
}

bool LiveConversation::IsRendered(std::span<const Message> messages) const noexcept {
  return !messages.empty() || !family_.needs_first_message;
}

Rendered LiveConversation::RenderFrom(std::span<const Message> messages,
                                      std::size_t first_message) const {
  Rendered rendered;
  if (IsRendered(messages)) {
    family_.render({.messages = messages,
                    .tools_json = tools_json_,
                    .add_generation_prompt = add_generation_prompt_,
                    .first_message = first_message},
                   options_, rendered);
  }
  return rendered;
}

std::size_t LiveConversation::TokensBefore(std::size_t chunk) const noexcept {
  return chunk == 0 ? 0 : static_cast<std::size_t>(chunks_[chunk - 1].tokens);
}

void LiveConversation::Append(std::span<const Message> messages, std::string_view path,
                              CountTable* table) {
  const std::lock_guard lock(mutex_);
  Apply({messages_.size(), messages_.size(), messages, path, {}}, table, nullptr);
}

LiveConversation::Generated LiveConversation::AppendGenerated(
    std::span<const TokenId> sampled, std::optional<std::span<const Message>> messages,
    std::string_view path, CountTable* table) {
  const std::string text = TextOfSampled(*encoding_, sampled, !messages);
  Message message;
  message.role = Role::kAssistant;
  message.content = text;
  if (!messages) {
    if (family_.render == RenderHarmony || family_.render == RenderGptOss) {
      throw ArgumentError(
          "message: harmony spells channels in what is generated; give the "
          "messages that the ids spell");
    }
    messages.emplace(&message, 1);
  }
  const std::lock_guard lock(mutex_);
  RequireIds();
  if (!add_generation_prompt_) {
    throw ArgumentError(
        "append_generated: the conversation has no generation prompt "
        "(add_generation_prompt=False), so nothing can follow it");
  }
  Generated generated{0, 0};
  Apply({messages_.size(), messages_.size(), *messages, path, sampled}, table, &generated);
  generated.changed_from = changed_from_;
  return generated;
}

void LiveConversation::Replace(std::size_t begin, std::size_t end,
                               std::span<const Message> messages, std::string_view path,
                               CountTable* table) {
  const std::lock_guard lock(mutex_);
  if (begin > end || end > messages_.size()) {
    throw ArgumentError(StrCat("replace_span: [", begin, ", ", end, ") is no span of ",
                               messages_.size(), " messages"));
  }
  Apply({begin, end, messages, path, {}}, table, nullptr);
}

// Everything is made beside what there is; only then, where nothing can fail, it is put in place.
void LiveConversation::Apply(const Edit& edit, CountTable* table, Generated* generated) {
  const std::size_t num_before = messages_.size();
  const std::size_t num_new = edit.messages.size();
  const std::size_t num_after = num_before - (edit.end - edit.begin) + num_new;
  const bool appends = edit.begin == num_before;

  std::vector<Message> own(edit.messages.begin(), edit.messages.end());
  std::vector<Text> texts;
  texts.reserve(num_new);
  for (Message& message : own) texts.push_back(OwnTexts(message));
  Validate(family_, options_, own, edit.path);

  // Appended messages are written behind the others, where nobody looks yet.
  std::vector<Message> replaced;
  std::span<const Message> after;
  if (appends) {
    Message* const all = messages_.Prepare(num_before, num_after);
    std::ranges::move(own, all + num_before);
    after = {all, num_after};
  } else {
    const auto old = messages_.span();
    replaced.reserve(num_after);
    replaced.assign(old.begin(), old.begin() + static_cast<std::ptrdiff_t>(edit.begin));
    std::ranges::move(own, std::back_inserter(replaced));
    replaced.insert(replaced.end(), old.begin() + static_cast<std::ptrdiff_t>(edit.end), old.end());
    after = replaced;
  }
  if (IsRendered(after)) {
    ValidateRequest(family_, options_, {after, tools_json_, add_generation_prompt_});
  }

  const std::size_t first = appends && num_before > 0 && family_.first_changed != nullptr
                                ? family_.first_changed(after, num_before)
                                : 0;
  const bool is_first = chunks_.size() == 0;  // or there was nothing to render
  const Rendered before = is_first ? Rendered() : RenderFrom(messages_.span(), first);
  const Rendered now = RenderFrom(after, first);
  const std::size_t first_chunk = chunks_.size() - before.chunks().size();
  const auto message_before = [&](std::int64_t message) {
    const auto index = static_cast<std::size_t>(message);
    if (message == kTemplateOwned || index < edit.begin) return message;
    return static_cast<std::int64_t>(index - num_new + (edit.end - edit.begin));
  };
  const auto is_new = [&](std::int64_t message) {
    return message != kTemplateOwned && static_cast<std::size_t>(message) >= edit.begin &&
           static_cast<std::size_t>(message) < edit.begin + num_new;
  };

  // Chunks up to `same` are as they were.
  std::size_t same = 0;
  while (same < std::min(before.chunks().size(), now.chunks().size()) &&
         before.chunks()[same].message == now.chunks()[same].message &&
         !is_new(now.chunks()[same].message) &&
         message_before(now.chunks()[same].message) == before.chunks()[same].message &&
         SameSegments(before.SegmentsOf(same), now.SegmentsOf(same))) {
    ++same;
  }
  const std::size_t tokens_before = TokensBefore(first_chunk + same);

  std::vector<TokenId> ids;  // of the chunks from `same` on
  std::vector<ChunkEnd> ends;
  ends.reserve(now.chunks().size() - same);
  std::size_t done = same;
  auto num_tokens = static_cast<std::int64_t>(tokens_before);
  if (generated != nullptr) {
    std::size_t last = now.chunks().size();
    while (last > same && now.chunks()[last - 1].message == kTemplateOwned) --last;
    EncodedChunks prompt;
    const auto all = ids_.span();
    prompt.ids.assign(all.begin() + static_cast<std::ptrdiff_t>(tokens_before), all.end());
    for (std::size_t i = same; i < before.chunks().size(); ++i) {
      prompt.ends.push_back(TokensBefore(first_chunk + i + 1) - tokens_before);
    }
    if (auto kept = KeepSampled(*encoding_, before, prompt, now, same, last, edit.sampled)) {
      generated->num_kept = kept->num_kept;
      ids = std::move(kept->chunks.ids);
      for (; done < last; ++done) {
        num_tokens = static_cast<std::int64_t>(tokens_before + kept->chunks.ends[done - same]);
        ends.push_back({now.chunks()[done].message, num_tokens});
      }
    }
  }
  const Shown shown(before, first, num_before);
  std::size_t ordinal = 0;
  for (std::size_t i = done; i < now.chunks().size(); ++i) {
    const Chunk& chunk = now.chunks()[i];
    const auto segments = now.SegmentsOf(i);
    ordinal = i > done && now.chunks()[i - 1].message == chunk.message ? ordinal + 1 : 0;
    const auto old = is_new(chunk.message)
                         ? std::nullopt
                         : shown.Find(message_before(chunk.message), ordinal, segments);
    if (old) {
      const std::size_t begin = TokensBefore(first_chunk + *old);
      const std::size_t end = TokensBefore(first_chunk + *old + 1);
      num_tokens += static_cast<std::int64_t>(end - begin);
      if (family_.is_rendering) {
        const auto known = ids_.span().subspan(begin, end - begin);
        ids.insert(ids.end(), known.begin(), known.end());
      }
    } else if (family_.is_rendering) {
      const std::size_t begin = ids.size();
      EncodeChunk(segments, *encoding_, table, ids);
      num_tokens += static_cast<std::int64_t>(ids.size() - begin);
    } else {
      num_tokens += CountChunk(segments, *encoding_, table) + chunk.extra_tokens;
    }
    ends.push_back({chunk.message, num_tokens});
  }

  std::size_t num_same = 0;  // of `ids`, which a count rule has none of
  if (family_.is_rendering) {
    const auto old = ids_.span().subspan(tokens_before);
    num_same = static_cast<std::size_t>(std::ranges::mismatch(ids, old).in1 - ids.begin());
  }
  const std::size_t ids_before = family_.is_rendering ? tokens_before : 0;
  const std::size_t changed_from = ids_before + num_same;
  const std::size_t num_ids = ids_before + ids.size();
  const std::size_t num_chunks = first_chunk + now.chunks().size();
  TokenId* const new_ids = ids_.Prepare(changed_from, num_ids);
  ChunkEnd* const new_chunks = chunks_.Prepare(first_chunk + same, num_chunks);
  Text* const new_texts = texts_.Prepare(edit.begin, std::max(num_before, num_after));
  Message* const new_messages =
      appends ? nullptr : messages_.Prepare(edit.begin, std::max(num_before, num_after));
  if (changes_.size() == changes_.capacity()) changes_.reserve(2 * changes_.size() + 8);

  // Nothing fails from here on.
  std::copy(ids.begin() + static_cast<std::ptrdiff_t>(num_same), ids.end(), new_ids + changed_from);
  ids_.Commit(num_ids);
  std::ranges::copy(ends, new_chunks + first_chunk + same);
  chunks_.Commit(num_chunks);
  if (!appends) {
    groups_.reset();
    std::ranges::move(replaced.begin() + static_cast<std::ptrdiff_t>(edit.begin), replaced.end(),
                      new_messages + edit.begin);
    if (num_after <= num_before) {
      std::move(new_texts + edit.end, new_texts + num_before, new_texts + edit.begin + num_new);
      std::fill(new_texts + num_after, new_texts + num_before, nullptr);
    } else {
      std::move_backward(new_texts + edit.end, new_texts + num_before, new_texts + num_after);
    }
  }
  messages_.Commit(num_after);
  std::ranges::move(texts, new_texts + edit.begin);
  texts_.Commit(num_after);
  while (!changes_.empty() && changes_.back().changed_from >= changed_from) changes_.pop_back();
  changes_.push_back({++version_, changed_from});
  branches_.back().version = version_;
  changed_from_ = changed_from;
}

void LiveConversation::RequireIds() const {
  if (!family_.is_rendering) {
    throw ArgumentError(StrCat("template '", family_.name,
                               "' is a count rule: its prompt is not published, so there are no "
                               "token ids"));
  }
  RequireMessage();
}

void LiveConversation::RequireMessage() const {
  if (IsRendered(messages_.span())) return;
  throw ArgumentError(StrCat("messages: template '", family_.name, "' needs at least one"));
}

std::size_t LiveConversation::num_messages() const {
  const std::lock_guard lock(mutex_);
  return messages_.size();
}

std::int64_t LiveConversation::count() const {
  const std::lock_guard lock(mutex_);
  RequireMessage();
  return static_cast<std::int64_t>(TokensBefore(chunks_.size()));
}

LiveConversation::Counts LiveConversation::counts() const {
  const std::lock_guard lock(mutex_);
  RequireMessage();
  Counts counts{std::vector<std::int64_t>(messages_.size()), 0};
  std::int64_t done = 0;
  for (const ChunkEnd& chunk : chunks_.span()) {
    const std::int64_t num_tokens = chunk.tokens - std::exchange(done, chunk.tokens);
    (chunk.message == kTemplateOwned
         ? counts.template_tokens
         : counts.per_message[static_cast<std::size_t>(chunk.message)]) += num_tokens;
  }
  return counts;
}

// Tokens of the chunks before those of a message; what no message owns stands around all others.
std::int64_t LiveConversation::TokensBeforeMessage(std::size_t message) const noexcept {
  const auto chunks = chunks_.span();
  const auto is_owned = [](const ChunkEnd& chunk) { return chunk.message != kTemplateOwned; };
  const auto begin = std::ranges::find_if(chunks, is_owned);
  const auto end = std::find_if(chunks.rbegin(), chunks.rend(), is_owned).base();
  const auto first = std::lower_bound(begin, std::max(begin, end), message,
                                      [](const ChunkEnd& chunk, std::size_t index) {
                                        return static_cast<std::size_t>(chunk.message) < index;
                                      });
  return static_cast<std::int64_t>(TokensBefore(static_cast<std::size_t>(first - chunks.begin())));
}

std::vector<std::size_t> LiveConversation::turns() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    const Message& message = messages_[i];
    if (message.role != Role::kUser) continue;
    if (!family_.wraps_tool_results || !IsWrappedToolResponse(message)) starts.push_back(i);
  }
  return starts;
}

LiveConversation::Cut LiveConversation::Fit(std::int64_t max_tokens) const {
  const std::lock_guard lock(mutex_);
  RequireMessage();
  if (!AddsUp(family_, !tools_json_.empty())) {
    throw ArgumentError(StrCat("template '", family_.name,
                               "' shows messages by what stands beside them: what a part of the "
                               "conversation takes is known when it is planned, or replaced"));
  }
  if (!groups_) groups_.emplace(family_.wraps_tool_results);
  try {
    for (std::size_t i = groups_->num_messages(); i < messages_.size(); ++i) {
      groups_->Add(FactsOf(messages_[i]), "messages");
    }
  } catch (...) {
    groups_.reset();
    throw;
  }
  const MessageGroups& groups = *groups_;
  const auto all = static_cast<std::int64_t>(TokensBefore(chunks_.size()));
  const std::size_t lead = groups.lead();
  if (groups.size() == 0) return {lead, lead, lead, lead, all};
  const std::int64_t head_end = TokensBeforeMessage(lead);
  const auto cut_at = [&](std::size_t place) {
    const std::size_t group = groups.places()[place];
    const std::size_t start = groups.begin_of(group);
    Cut cut{lead, start, start, start, all};
    std::int64_t gone = TokensBeforeMessage(start) - head_end;
    if (const std::size_t user = groups.heads()[group];
        user != MessageGroups::kNone && user < group) {
      cut.carried_begin = groups.begin_of(user);
      cut.carried_end = groups.begin_of(user + 1);
      gone -= TokensBeforeMessage(cut.carried_end) - TokensBeforeMessage(cut.carried_begin);
    }
    // The token that Llama 3's prompts begin with counts as the first message's.
    const bool begins_anew = lead == 0 && start > 0 && cut.carried_begin > 0;
    if (begins_anew && family_.render == RenderLlama3) --gone;
    cut.tokens -= gone;
    return cut;
  };
  std::size_t low = 0;
  std::size_t high = groups.places().size() - 1;
  while (low < high) {  // a later place never takes more
    const std::size_t middle = low + (high - low) / 2;
    if (cut_at(middle).tokens <= max_tokens) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return cut_at(low);
}

LiveConversation::Ids LiveConversation::ids() const {
  const std::lock_guard lock(mutex_);
  RequireIds();
  return ids_.Publish();
}

std::size_t LiveConversation::changed_from() const {
  const std::lock_guard lock(mutex_);
  RequireIds();
  return changed_from_;
}

LiveConversation::Cursor LiveConversation::cursor() const {
  const std::lock_guard lock(mutex_);
  return branches_.back();
}

LiveConversation::Since LiveConversation::since(const Cursor& cursor) const {
  const std::lock_guard lock(mutex_);
  RequireIds();
  const auto branch = std::ranges::find(branches_, cursor.branch, &Cursor::branch);
  if (branch == branches_.end() || cursor.version > branch->version) {
    throw ArgumentError("cursor: not of this conversation, nor of what it was copied from");
  }
  const auto change = std::ranges::upper_bound(changes_, cursor.version, {}, &Change::version);
  return {change == changes_.end() ? ids_.size() : change->changed_from, ids_.Publish()};
}

}  // namespace ctx::chat
