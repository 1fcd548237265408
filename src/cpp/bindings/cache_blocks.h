// The blocks of a request as a provider's prompt cache sees them: its tools, the parts of its
// system prompt and of its messages, in the order of the prompt. Read from the live objects without
// a copy; no Python code runs while a dict is walked: what is not plain JSON data is refused with
// its path.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/live_json.h"

namespace ctx::bindings {

class CacheBlocks {
 public:
  enum Section : std::uint8_t { kTools, kSystem, kMessages };
  /// What a block is of its item; the path is made from it.
  enum Part : std::uint8_t { kWhole, kText, kContent, kParts, kCall };
  /// What a run of such blocks counts as one position for; kNone: each counts.
  enum class Run : std::uint8_t { kNone, kUse, kResult };
  enum class Role : std::uint8_t { kOther, kSystem, kUser, kAssistant, kTool };
  static constexpr std::int32_t kNotSet = -1;

  struct Block {
    std::uint64_t digest = 0;  // of the prompt up to this block
    std::int64_t size = 0;     // what tokens of an item are shared by
    std::int64_t tokens_after = 0;
    std::int64_t position = 0;
    std::int64_t item = 0;
    std::int64_t index = 0;
    std::int32_t marker_seconds = kNotSet;  // 0: the default lifetime
    Section section = kTools;
    Part part = kWhole;
    bool markable = true;
  };

  /// Throws ArgumentError.
  CacheBlocks(const py::object& tools, const py::object& system, const py::object& messages,
              const py::object& head, const py::object& middle);
  /// Blocks of which only the tokens are known: equal counts are taken for equal blocks.
  static CacheBlocks FromCounts(const std::vector<std::int64_t>& counts);

  const std::vector<Block>& blocks() const { return blocks_; }
  std::size_t size() const { return blocks_.size(); }
  std::int64_t total_tokens() const { return total_tokens_; }
  /// Throws ArgumentError when there is no such block.
  const Block& At(std::size_t block) const;

  py::bytes Digests() const;
  /// How many blocks are equal from the beginning on.
  std::size_t Common(const py::bytes& digests) const;
  /// Ends of the tools and of the head, begin of the last user turn, begin of the last reply: as
  /// numbers of blocks before them.
  std::tuple<std::size_t, std::size_t, std::size_t, std::size_t> Landmarks() const {
    return {tools_end_, head_end_, last_turn_, reply_};
  }
  /// The blocks that carry a marker.
  std::vector<std::size_t> Marked() const;

  /// Sets the tokens of each section: a number, or a sequence with a number, or numbers by block,
  /// per item. Throws ArgumentError.
  void Allot(const py::object& tools, const py::object& system, const py::object& messages,
             std::int64_t tail_tokens);

 private:
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

  CacheBlocks() = default;

  void ReadTools(const py::object& tools);
  void ReadSystem(const py::object& system);
  void ReadMessages(const py::object& messages);
  Role ReadMessage(Py_ssize_t item, PyObject* message, Role before, const Where& path);
  bool IsCachePoint(const py::object& element, const Where& path);
  /// `joined` is the digest of what stands before the first part of a message; 0: nothing does.
  void AddPart(Block block, const py::object& element, std::uint64_t joined, bool continues,
               const Where& path, Run run = Run::kNone, std::int64_t frame_size = 0);
  void Add(Block block, JsonValue value, Run run, bool continues);

  void Share(std::int64_t total, std::size_t from, std::size_t to,
             std::vector<std::int64_t>& tokens) const;
  void AllotSection(const char* name, const py::object& given, Section section, std::size_t from,
                    std::size_t to, std::vector<std::int64_t>& tokens) const;
  void AllotItem(const std::string& path, py::handle given, std::size_t from, std::size_t to,
                 std::vector<std::int64_t>& tokens) const;

  std::vector<Block> blocks_;
  std::array<std::size_t, 3> num_items_{};
  std::uint64_t chain_ = 0;
  std::int64_t position_ = -1;
  std::int64_t total_tokens_ = 0;
  Run run_ = Run::kNone;
  std::size_t tools_end_ = 0;
  std::size_t head_end_ = 0;
  std::size_t last_turn_ = kNowhere;
  std::size_t reply_ = kNowhere;
};

}  // namespace ctx::bindings
