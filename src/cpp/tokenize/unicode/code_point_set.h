// Sets of code points, as the classes of regular expressions need them.
#pragma once

#include <string_view>
#include <vector>

#include "tokenize/unicode/property_tables.h"

namespace ctx::tokenize {

/// A set of code points U+0000 to U+10FFFF. O(ranges) per operation unless it says otherwise.
class CodePointSet {
 public:
  CodePointSet() = default;
  explicit CodePointSet(CodePointRange range) : ranges_{range} {}

  /// A general category, script or binary property by its name (property_tables.h); false when
  /// there is none of that name. O(log(properties) + ranges).
  static bool Named(std::string_view name, CodePointSet& set);

  void Add(const CodePointSet& other);
  CodePointSet Complement() const;

  /// The set and every character whose simple case folding is that of one of its members.
  /// O(ranges + foldings * log(ranges)).
  CodePointSet ClosedUnderSimpleFolding() const;

  /// O(log(ranges)).
  bool Contains(char32_t c) const noexcept;
  bool empty() const noexcept { return ranges_.empty(); }

  /// Ascending, neither overlapping nor adjacent.
  const std::vector<CodePointRange>& ranges() const noexcept { return ranges_; }
  friend bool operator==(const CodePointSet&, const CodePointSet&) = default;

 private:
  void Normalize();

  std::vector<CodePointRange> ranges_;
};

/// Simple case folding (CaseFolding.txt, status C and S). O(log(foldings)).
char32_t SimpleFold(char32_t c) noexcept;

}  // namespace ctx::tokenize
