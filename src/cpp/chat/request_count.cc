#include "chat/request_count.h"

#include <algorithm>
#include <utility>

#include "chat/count.h"

namespace ctx::chat {
namespace {

using tokenize::Segment;

bool AreSameViews(std::span<const Segment> a, std::span<const Segment> b) noexcept {
  return std::ranges::equal(a, b, [](const Segment& left, const Segment& right) {
    return left.text.data() == right.text.data() && left.text.size() == right.text.size() &&
           left.trusted == right.trusted;
  });
}

// Tokens of each chunk, the extra ones left out; `memo` becomes the memo of this rendering.
std::vector<std::int64_t> CountChunks(Rendered rendered, const tokenize::Encoding& encoding,
                                      CountTable* table, RenderMemo& memo) {
  const std::size_t num_chunks = rendered.chunks().size();
  const bool is_known_encoding = memo.fingerprint == encoding.fingerprint();
  const std::size_t num_known = is_known_encoding ? std::min(num_chunks, memo.tokens.size()) : 0;
  std::vector<std::int64_t> tokens(num_chunks);
  Rendered missing;
  std::vector<std::size_t> missing_chunks;
  for (std::size_t i = 0; i < num_chunks; ++i) {
    const auto segments = rendered.SegmentsOf(i);
    if (i < num_known && AreSameViews(memo.rendered.SegmentsOf(i), segments)) {
      tokens[i] = memo.tokens[i];
      continue;
    }
    missing.BeginChunk(static_cast<std::int64_t>(missing_chunks.size()));
    for (const Segment& segment : segments) {
      segment.trusted ? missing.Literal(segment.text) : missing.Text(segment.text);
    }
    missing_chunks.push_back(i);
  }
  const Counts counted = CountTokens(missing, missing_chunks.size(), encoding, table);
  for (std::size_t k = 0; k < missing_chunks.size(); ++k) {
    tokens[missing_chunks[k]] = counted.per_message[k];
  }
  memo.tokens.clear();  // should the next line throw
  if (!is_known_encoding) memo.fingerprint = encoding.fingerprint();
  memo.rendered = std::move(rendered);
  memo.tokens = tokens;
  return tokens;
}

Counts Count(const Template& family, const TemplateOptions& options,
             const Conversation& conversation, const tokenize::Encoding& encoding,
             CountTable* table, RenderMemo* memo) {
  if (memo != nullptr && memo->options != options) {
    *memo = RenderMemo();
    memo->options = options;
  }
  Rendered rendered;
  family.render(conversation, memo == nullptr ? options : memo->options, rendered);
  const std::size_t num_messages = conversation.messages.size();
  if (memo == nullptr) return CountTokens(rendered, num_messages, encoding, table);
  const std::vector<std::int64_t> tokens = CountChunks(std::move(rendered), encoding, table, *memo);
  Counts counts;
  counts.per_message.resize(num_messages);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Chunk& chunk = memo->rendered.chunks()[i];
    const std::int64_t num_tokens = tokens[i] + chunk.extra_tokens;
    (chunk.message == kTemplateOwned
         ? counts.template_tokens
         : counts.per_message[static_cast<std::size_t>(chunk.message)]) += num_tokens;
    counts.total += num_tokens;
  }
  return counts;
}

std::size_t SizeOf(const RenderMemo& memo) noexcept {
  return memo.rendered.segments().size() * sizeof(Segment) +
         memo.tokens.capacity() * (sizeof(std::int64_t) + sizeof(Chunk));
}

}  // namespace

std::size_t RequestMemo::size_bytes() const noexcept {
  return SizeOf(with_tools) + SizeOf(without_tools);
}

RequestCounts CountRequest(const Template& family, const TemplateOptions& options,
                           const RequestView& request, const tokenize::Encoding& encoding,
                           CountTable* table, RequestMemo* memo) {
  ValidateEncoding(family, encoding);
  Conversation conversation{request.messages, request.tools_json, request.add_generation_prompt};
  const bool has_lead = !request.items.empty() && request.items.front() >= request.num_items;
  const std::size_t first = has_lead ? 1 : 0;
  Validate(family, options, request.messages.first(first), "body.system");
  Validate(family, options, request.messages.subspan(first), request.path,
           request.items.subspan(first));
  ValidateRequest(family, options, conversation);
  RequestCounts result;
  std::int64_t with_tools = -1;
  if (!request.tools_json.empty()) {
    with_tools = Count(family, options, conversation, encoding, table,
                       memo == nullptr ? nullptr : &memo->with_tools)
                     .total;
    conversation.tools_json = {};
  }
  const Counts counts = Count(family, options, conversation, encoding, table,
                              memo == nullptr ? nullptr : &memo->without_tools);
  result.per_item.resize(request.num_items);
  result.template_tokens = counts.template_tokens;
  result.total = counts.total;
  if (with_tools >= 0) {
    result.tools_tokens = with_tools - counts.total;
    result.total = with_tools;
  }
  bool is_leading = true;
  for (std::size_t i = 0; i < request.messages.size(); ++i) {
    const Message& message = request.messages[i];
    const std::int64_t num_tokens = counts.per_message[i] + message.extra_tokens;
    const auto role = static_cast<std::size_t>(message.role);
    result.total += message.extra_tokens;
    result.roles[role] += num_tokens;
    result.has_role[role] = true;
    is_leading = is_leading && (message.role == Role::kSystem || message.role == Role::kDeveloper);
    (is_leading ? result.system_tokens : result.message_tokens) += num_tokens;
    if (request.items[i] < request.num_items) result.per_item[request.items[i]] += num_tokens;
  }
  return result;
}

}  // namespace ctx::chat
