#include "kv/extra_table.h"

namespace ctx::kv {

ExtraTable::ExtraTable() : ids_(0, Hash{&prefix::Keyed128::Process()}), entries_(1) {}

ExtraId ExtraTable::Find(std::string_view framed) const noexcept {
  if (framed.empty()) return kNoExtra;
  const auto found = ids_.find(framed);
  return found == ids_.end() ? kUnknownExtra : found->second;
}

ExtraId ExtraTable::Add(std::string_view framed) {
  ExtraId extra = Find(framed);
  if (extra == kUnknownExtra) {
    if (unused_.empty()) {
      if (unused_.capacity() <= entries_.size()) unused_.reserve(2 * entries_.size() + 1);
      entries_.emplace_back();
      unused_.push_back(static_cast<ExtraId>(entries_.size() - 1));
    }
    extra = unused_.back();
    const auto [added, is_new] = ids_.emplace(framed, extra);
    entries_[static_cast<std::size_t>(extra)].text = added->first;
    unused_.pop_back();
  }
  AddRef(extra);
  return extra;
}

std::vector<ExtraId> ExtraTable::AddAll(const std::vector<std::string>& framed) {
  std::vector<ExtraId> extras;
  extras.reserve(framed.size());
  try {
    for (const std::string& text : framed) extras.push_back(Add(text));
  } catch (...) {
    for (const ExtraId extra : extras) Release(extra);
    throw;
  }
  return extras;
}

void ExtraTable::Drop(ExtraId extra) noexcept {
  Entry& entry = entries_[static_cast<std::size_t>(extra)];
  ids_.erase(ids_.find(entry.text));
  entry.text = {};
  unused_.push_back(extra);
}

}  // namespace ctx::kv
