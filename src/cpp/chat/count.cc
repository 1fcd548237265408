#include "chat/count.h"

namespace ctx::chat {

std::int64_t CountChunk(std::span<const tokenize::Segment> segments,
                        const tokenize::Encoding& encoding, CountTable* table) {
  if (segments.empty()) return 0;
  if (table == nullptr) return encoding.CountSegments(segments);
  const CountTable::Key key = table->MakeKey(encoding.fingerprint(), segments);
  if (const auto known = table->Find(key)) return *known;
  const std::int64_t num_tokens = encoding.CountSegments(segments);
  table->Insert(key, num_tokens);
  return num_tokens;
}

void EncodeChunk(std::span<const tokenize::Segment> segments, const tokenize::Encoding& encoding,
                 CountTable* table, std::vector<TokenId>& ids) {
  if (segments.empty()) return;
  if (table == nullptr) return encoding.EncodeSegments(segments, ids);
  const CountTable::Key key = table->MakeKey(encoding.fingerprint(), segments);
  const std::size_t num_before = ids.size();
  if (table->FindIds(key, ids)) return;
  try {
    encoding.EncodeSegments(segments, ids);
    table->Insert(key, std::span(ids).subspan(num_before));
  } catch (...) {
    ids.resize(num_before);
    throw;
  }
}

void EncodeRendered(const Rendered& rendered, const tokenize::Encoding& encoding, CountTable* table,
                    std::vector<TokenId>& ids) {
  const std::size_t num_before = ids.size();
  try {
    for (std::size_t i = 0; i < rendered.chunks().size(); ++i) {
      EncodeChunk(rendered.SegmentsOf(i), encoding, table, ids);
    }
  } catch (...) {
    ids.resize(num_before);
    throw;
  }
}

Counts CountTokens(const Rendered& rendered, std::size_t num_messages,
                   const tokenize::Encoding& encoding, CountTable* table) {
  Counts counts;
  counts.per_message.resize(num_messages);
  for (std::size_t i = 0; i < rendered.chunks().size(); ++i) {
    const Chunk& chunk = rendered.chunks()[i];
    const auto segments = rendered.SegmentsOf(i);
    const std::int64_t num_tokens = CountChunk(segments, encoding, table) + chunk.extra_tokens;
    if (chunk.message == kTemplateOwned) {
      counts.template_tokens += num_tokens;
    } else {
      counts.per_message[static_cast<std::size_t>(chunk.message)] += num_tokens;
    }
    counts.total += num_tokens;
  }
  return counts;
}

}  // namespace ctx::chat
