// Counting a whole request, by message, role and section.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/count_table.h"
#include "chat/message.h"
#include "chat/template.h"
#include "tokenize/encoding.h"

namespace ctx::chat {

/// The messages of a request, and which of the caller's items each of them is.
struct RequestView {
  std::span<const Message> messages;
  std::span<const std::size_t> items;  ///< as long as the messages; one not below num_items is none
  std::size_t num_items = 0;
  std::span<const std::string_view> tools_json;
  bool add_generation_prompt = true;
  std::string_view path;  ///< of the items, for errors
};

struct RequestCounts {
  std::vector<std::int64_t> per_item;
  std::array<std::int64_t, 5> roles{};
  std::array<bool, 5> has_role{};
  std::int64_t template_tokens = 0;
  std::int64_t system_tokens = 0;   ///< of the leading system and developer messages
  std::int64_t tools_tokens = 0;    ///< what the tools add
  std::int64_t message_tokens = 0;  ///< of all other messages
  std::int64_t total = 0;
};

/// The chunks of the last rendering and their tokens. A chunk of the next one that consists of the
/// same views need not be looked at again. That holds only for as long as what the views point to
/// stays as it is and where it is, also what is not rendered any more: the caller's text is for the
/// caller to keep, and the options are the memo's own.
struct RenderMemo {
  std::string fingerprint;  ///< of the encoding
  TemplateOptions options;
  Rendered rendered;
  std::vector<std::int64_t> tokens;  ///< of each chunk, without its extra tokens
};

struct RequestMemo {
  RenderMemo with_tools;
  RenderMemo without_tools;
  std::size_t size_bytes() const noexcept;
};

/// Throws ArgumentError as Validate, ValidateRequest and ValidateEncoding do. `memo` may be null;
/// after an exception it is as good as empty. O(text), and O(messages) where the memo knows them.
RequestCounts CountRequest(const Template& family, const TemplateOptions& options,
                           const RequestView& request, const tokenize::Encoding& encoding,
                           CountTable* table, RequestMemo* memo);

}  // namespace ctx::chat
