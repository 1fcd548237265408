#include "tokenize/unicode/text_edit.h"

#include <algorithm>

namespace ctx::tokenize {
namespace {

using Parts = std::vector<SourceRange>;

/// Index of the part that holds the byte.
std::size_t PartOf(const Parts& parts, std::size_t byte) {
  const auto found =
      std::upper_bound(parts.begin(), parts.end(), byte,
                       [](std::size_t at, const SourceRange& part) { return at < part.end; });
  return static_cast<std::size_t>(found - parts.begin());
}

std::size_t BeginOf(const Parts& parts, std::size_t index) {
  return index == 0 ? 0 : parts[index - 1].end;
}

void AppendBytewise(Parts& parts, std::size_t begin, std::size_t source_begin,
                    std::size_t source_end) {
  const std::size_t end = begin + (source_end - source_begin);
  if (!parts.empty() && parts.back().bytewise && parts.back().source_end == source_begin) {
    parts.back().end = end;
    parts.back().source_end = source_end;
  } else {
    parts.push_back({end, source_begin, source_end, true});
  }
}

}  // namespace

std::pair<std::size_t, std::size_t> SourceOf(const Parts& parts, std::size_t begin,
                                             std::size_t end) {
  const std::size_t first = PartOf(parts, begin);
  const std::size_t last = PartOf(parts, end - 1);
  std::size_t source_begin = parts[first].source_begin;
  std::size_t source_end = parts[last].source_end;
  if (parts[first].bytewise) source_begin += begin - BeginOf(parts, first);
  if (parts[last].bytewise) source_end -= parts[last].end - end;
  return {source_begin, source_end};
}

Parts ComposeSources(const Parts& first, const Parts& second) {
  Parts composed;
  std::size_t begin = 0;
  for (const SourceRange& part : second) {
    if (!part.bytewise) {
      std::pair<std::size_t, std::size_t> source{0, 0};  // of what was put in
      if (part.source_begin < part.source_end) {
        source = SourceOf(first, part.source_begin, part.source_end);
      }
      composed.push_back({part.end, source.first, source.second, false});
    } else {
      std::size_t between = part.source_begin;
      for (std::size_t i = PartOf(first, between); between < part.source_end; ++i) {
        const std::size_t end = std::min(first[i].end, part.source_end);
        const std::size_t composed_end = begin + (end - part.source_begin);
        if (first[i].bytewise) {
          const std::size_t source = first[i].source_begin + (between - BeginOf(first, i));
          AppendBytewise(composed, composed_end - (end - between), source,
                         source + (end - between));
        } else {
          composed.push_back({composed_end, first[i].source_begin, first[i].source_end, false});
        }
        between = end;
      }
    }
    begin = part.end;
  }
  return composed;
}

TextEdit::TextEdit(std::string_view source, std::string& output, Parts* parts)
    : source_(source), output_(output), parts_(parts) {
  output_.clear();
  if (parts_ != nullptr) parts_->clear();
}

void TextEdit::BeginEdit() {
  if (!edited_) output_.reserve(std::max(output_.capacity(), source_.size()));
  edited_ = true;
}

void TextEdit::CopyUpTo(std::size_t end) {
  if (end == done_) return;
  if (parts_ != nullptr) AppendBytewise(*parts_, output_.size(), done_, end);
  output_.append(source_, done_, end - done_);
  done_ = end;
}

void TextEdit::Replace(std::size_t begin, std::size_t end, std::string_view content) {
  BeginEdit();
  CopyUpTo(begin);
  output_.append(content);
  if (parts_ != nullptr && !content.empty()) parts_->push_back({output_.size(), begin, end, false});
  done_ = end;
}

char* TextEdit::CopyToChange(std::size_t begin, std::size_t end) {
  BeginEdit();
  CopyUpTo(end);
  return output_.data() + (output_.size() - (end - begin));
}

bool TextEdit::Finish() {
  if (edited_) CopyUpTo(source_.size());
  return edited_;
}

}  // namespace ctx::tokenize
