#include "chat/count.h"

#include <cstring>
#include <string>

namespace ctx::chat {
namespace {

// Fingerprint, then each segment as (trusted, length, bytes): equal keys are equal inputs.
void WriteKey(const tokenize::Encoding& encoding, std::span<const tokenize::Segment> segments,
              std::string& key) {
  key.assign(encoding.fingerprint());
  for (const tokenize::Segment& segment : segments) {
    char frame[1 + sizeof(std::uint64_t)];
    const std::uint64_t length = segment.text.size();
    frame[0] = segment.trusted ? '\1' : '\0';
    std::memcpy(frame + 1, &length, sizeof length);
    key.append(frame, sizeof frame);
    key.append(segment.text);
  }
}

}  // namespace

Counts CountTokens(const Rendered& rendered, std::size_t num_messages,
                   const tokenize::Encoding& encoding, CountTable* table) {
  Counts counts;
  counts.per_message.resize(num_messages);
  std::string key;
  for (std::size_t i = 0; i < rendered.chunks().size(); ++i) {
    const Chunk& chunk = rendered.chunks()[i];
    const auto segments = rendered.SegmentsOf(i);
    std::int64_t num_tokens = 0;
    if (!segments.empty()) {
      std::optional<std::int64_t> known;
      if (table != nullptr) {
        WriteKey(encoding, segments, key);
        known = table->Find(key);
      }
      num_tokens = known ? *known : encoding.CountSegments(segments);
      if (table != nullptr && !known) table->Insert(key, num_tokens);
    }
    num_tokens += chunk.extra_tokens;
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
