#include "bindings/known_history.h"

#include <utility>

#include "bindings/convert.h"
#include "chat/input.h"
#include "chat/message_sums.h"
#include "common/error.h"

namespace ctx::bindings {

using Entry = MessageMemory::Entry;
using Reference = MessageMemory::Reference;

bool ReadEntries::Add(const Entry& entry) {
  // Of a copy: reading may run Python code, which could change what it finds.
  const py::object copy = entry.Copy();
  const py::object type = source_.Find(copy, "type");
  if (source_.KindOf(type) != chat::ValueKind::kNull &&
      (source_.KindOf(type) != chat::ValueKind::kText || source_.Text(type) != "message")) {
    return false;  // it may go on with the message before it
  }
  std::vector<chat::Message> read;
  std::vector<std::size_t> items;
  chat::MessageReader<LiveSource> reader(source_, read, items);
  reader.Add(copy, 0, "history");
  if (read.size() != 1 || !reader.part_costs().empty()) return false;
  messages_.push_back(std::move(read.front()));
  return true;
}

// What has to be counted of a history, in one go.
class KnownHistory::Counting {
 public:
  Counting(KnownHistory& history, const ChatTemplate& family, std::uint64_t context)
      : history_(history), family_(family), context_(context) {}

  // False for what cannot be read by itself.
  bool Add(std::size_t begin, std::size_t end, bool in_open_turn) {
    jobs_.push_back({begin, end, in_open_turn, texts_.messages().size()});
    for (std::size_t i = begin; i < end; ++i) {
      if (!texts_.Add(*history_.entries_[i])) return false;
    }
    return true;
  }

  void Run(const tokenize::Encoding& encoding, chat::CountTable& table) {
    if (jobs_.empty()) return;
    std::vector<std::int64_t> tokens;
    tokens.reserve(jobs_.size());
    {
      const ReleaseGilForLongWork release(texts_.size_bytes());
      for (const Job& job : jobs_) {
        const auto messages = texts_.messages().subspan(job.first_text, job.end - job.begin);
        chat::Validate(*family_.family, family_.options, messages, "history");
        tokens.push_back(chat::TokensAmongOthers(*family_.family, family_.options, messages,
                                                 job.in_open_turn, encoding, &table));
      }
    }
    for (std::size_t k = 0; k < jobs_.size(); ++k) Put(jobs_[k], tokens[k]);
  }

 private:
  struct Job {
    std::size_t begin;
    std::size_t end;
    bool in_open_turn;
    std::size_t first_text;
  };

  void Put(const Job& job, std::int64_t num_tokens) {
    history_.shown_[job.begin] = num_tokens;
    if (!job.in_open_turn) history_.measured_[job.begin] = num_tokens;
    if (job.end - job.begin == 1) {
      MessageMemory::Tokens& known = history_.entries_[job.begin]->FindOrForget(context_);
      (job.in_open_turn ? known.in_open_turn : known.measured) = num_tokens;
      return;
    }
    for (std::size_t i = job.begin + 1; i < job.end; ++i) {
      history_.measured_[i] = history_.shown_[i] = 0;
    }
  }

  KnownHistory& history_;
  const ChatTemplate& family_;
  const std::uint64_t context_;
  ReadEntries texts_;
  std::vector<Job> jobs_;
};

std::unique_ptr<KnownHistory> KnownHistory::Read(const py::tuple& messages,
                                                 const ChatTemplate& family, bool has_tools,
                                                 const tokenize::Encoding& encoding,
                                                 chat::CountTable& table, MessageMemory& memory) {
#ifdef Py_GIL_DISABLED
  return nullptr;
#endif
  const chat::Template& rules = *family.family;
  if (!chat::AddsUp(rules, has_tools)) return nullptr;
  try {
    chat::ValidateEncoding(rules, encoding);
    memory.Tick();
    const std::uint64_t context = memory.ContextOf(family, encoding);
    std::unique_ptr<KnownHistory> history(new KnownHistory(rules.wraps_tool_results));
    const std::size_t size = messages.size();
    history->entries_.reserve(size);
    history->measured_.reserve(size);
    chat::MessageGroups& groups = history->groups_;
    Counting counting(*history, family, context);
    std::vector<std::size_t> unknown;
    Reference previous;
    for (std::size_t i = 0; i < size; ++i) {
      PyObject* const message = PyTuple_GET_ITEM(messages.ptr(), static_cast<Py_ssize_t>(i));
      Entry* entry = memory.Find(message, previous.get());
      if (entry == nullptr) {
        const auto made = memory.Describe(message);
        if (!made) return nullptr;
        ReadEntries read;
        if (!read.Add(**made)) return nullptr;
        (*made)->facts = chat::FactsOf(read.messages().front());
        (*made)->content_hash = memory.HashOf(read.messages().front().content);
        memory.Insert(*made, previous.get());
        entry = made->get();
      }
      previous = Reference(entry);
      history->entries_.push_back(previous);
      groups.Add(entry->facts, "history");
      const MessageMemory::Tokens* const known = entry->Find(context);
      const bool leads = groups.size() == 0;
      if ((known == nullptr || known->measured < 0) && !leads) unknown.push_back(i);
      history->measured_.push_back(known == nullptr || leads ? 0 : known->measured);
    }
    if (groups.size() == 0) return nullptr;
    history->shown_ = history->measured_;
    for (const std::size_t i : unknown) {
      if (!counting.Add(i, i + 1, false)) return nullptr;
    }
    const std::size_t newest = groups.size() - 1;
    const std::size_t last_user = groups.last_user();
    if (rules.shows_open_turn && last_user != chat::MessageGroups::kNone &&
        !history->entries_[groups.begin_of(last_user)]->facts.wraps_result) {
      for (std::size_t i = groups.begin_of(last_user + 1); i < groups.begin_of(newest); ++i) {
        const MessageMemory::Tokens* const known = history->entries_[i]->Find(context);
        if (known != nullptr && known->in_open_turn >= 0) {
          history->shown_[i] = known->in_open_turn;
        } else if (!counting.Add(i, i + 1, true)) {
          return nullptr;
        }
      }
    }
    if (rules.joins_results) {
      const auto is_result = [&](std::size_t i) {
        return history->entries_[i]->facts.role == chat::Role::kTool;
      };
      for (std::size_t i = groups.lead(); i < size; ++i) {
        const std::size_t begin = i;
        while (i < size && is_result(i)) ++i;
        if (i - begin > 1 && !counting.Add(begin, i, false)) return nullptr;
      }
    }
    counting.Run(encoding, table);
    return history;
  } catch (const ArgumentError&) {
    return nullptr;
  }
}

}  // namespace ctx::bindings
