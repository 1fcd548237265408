// The wire format of protocol buffers, read field by field. Strict: truncated fields, varints of
// more than 10 bytes, field numbers 0 or above 2^29 - 1 and the group wire types (3, 4) are errors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ctx::tokenize::load {

/// One field of a message.
struct ProtobufField {
  enum class WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  std::uint32_t number = 0;
  WireType wire_type = WireType::kVarint;
  std::uint64_t integer = 0;  ///< of a varint or fixed field
  std::string_view bytes;     ///< of kBytes
};

/// Walks over the fields of one message. Errors are LoadErrors "FILE: MESSAGE: ...".
class ProtobufReader {
 public:
  /// `bytes` and `file_name` must outlive the reader; `message` is what errors call it.
  ProtobufReader(std::string_view bytes, const std::string& file_name, std::string message);

  /// Reads the next field; false at the end.
  bool Next(ProtobufField& field);

  /// The field's value as a type of the schema; throws when its wire type is another.
  bool Boolean(const ProtobufField& field) const;
  std::int32_t Int32(const ProtobufField& field) const;
  float Float(const ProtobufField& field) const;
  std::string_view Bytes(const ProtobufField& field) const;

 private:
  std::uint64_t Varint();
  std::uint64_t Fixed(std::size_t size_bytes);
  void Require(const ProtobufField& field, ProtobufField::WireType wire_type) const;
  [[noreturn]] void FailTruncated() const;

  std::string_view rest_;
  const std::string& file_name_;
  std::string message_;
};

}  // namespace ctx::tokenize::load
