// From tokens of messages to those that a cut of the history is chosen by.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "budget/history_cut.h"
#include "chat/groups.h"

namespace ctx::budget {

/// One number for each place where the history can be cut (MessageGroups::places): what History
/// wants of them.
struct PlaceTokens {
  std::vector<std::int64_t> measure;
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> carried;
};

/// `measured` and `shown` are the tokens of each message, as all later prompts will show it and as
/// this one does; `stays` says of each group whether it is kept in any case. A place carries the
/// user's message of the turn that it is amid. O(messages), any thread.
PlaceTokens TokensByPlace(const chat::MessageGroups& groups, std::span<const std::int64_t> measured,
                          std::span<const std::int64_t> shown, const std::vector<bool>& stays);

}  // namespace ctx::budget
