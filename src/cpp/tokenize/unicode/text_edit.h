// A text being rewritten from front to back, so that what nobody touches is neither looked at twice
// nor copied one byte at a time, and that it stays known where every byte comes from.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ctx::tokenize {

/// Where a part of a rewritten text comes from. The part begins where the one before it ends.
struct SourceRange {
  std::size_t end;           ///< of the part, in bytes of the rewritten text
  std::size_t source_begin;  ///< in bytes of the source
  std::size_t source_end;    ///< 0, like the begin, for what was put in before the text
  /// Byte i of the part comes from byte i of the range; otherwise the part as a whole comes from
  /// the range as a whole, which is made of whole characters.
  bool bytewise;
  friend bool operator==(const SourceRange&, const SourceRange&) = default;
};

/// Returns the smallest range of the source that bytes [begin, end) of the rewritten text come
/// from; `begin` < `end`. O(log(parts)).
std::pair<std::size_t, std::size_t> SourceOf(const std::vector<SourceRange>& parts,
                                             std::size_t begin, std::size_t end);

/// Returns where the parts of a text that was rewritten twice come from: `second` leads to the text
/// between, `first` from there to the source. O(parts log(parts)).
std::vector<SourceRange> ComposeSources(const std::vector<SourceRange>& first,
                                        const std::vector<SourceRange>& second);

/// One rewriting. Not thread-safe.
class TextEdit {
 public:
  /// Writes to `output`, which is cleared and must not hold `source`. The origins go to `parts`
  /// unless it is null, likewise cleared.
  TextEdit(std::string_view source, std::string& output, std::vector<SourceRange>* parts);

  std::string_view source() const noexcept { return source_; }

  /// Makes room for an output of this size; otherwise that of the source is expected.
  void Reserve(std::size_t size_bytes) { output_.reserve(size_bytes); }

  /// Puts `content` in the place of the whole characters [begin, end), behind all earlier edits.
  /// Nothing is replaced, by what is put in, at the front alone.
  void Replace(std::size_t begin, std::size_t end, std::string_view content);

  /// Copies [begin, end), behind all earlier edits, and returns where the copy stands, to be
  /// changed byte for byte before the next call.
  char* CopyToChange(std::size_t begin, std::size_t end);

  /// Copies the rest if anything was edited; otherwise leaves the output empty and returns false.
  bool Finish();

 private:
  void BeginEdit();
  void CopyUpTo(std::size_t end);

  std::string_view source_;
  std::string& output_;
  std::vector<SourceRange>* parts_;
  std::size_t done_ = 0;  // the source up to here is in the output
  bool edited_ = false;
};

}  // namespace ctx::tokenize
