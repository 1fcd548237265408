#include "tokenize/load/protobuf.h"

#include <bit>
#include <utility>

#include "tokenize/load/messages.h"

namespace ctx::tokenize::load {

ProtobufReader::ProtobufReader(std::string_view bytes, const std::string& file_name,
                               std::string message)
    : rest_(bytes), file_name_(file_name), message_(std::move(message)) {}

bool ProtobufReader::Next(ProtobufField& field) {
  using WireType = ProtobufField::WireType;
  if (rest_.empty()) return false;
  const std::uint64_t tag = Varint();
  const std::uint64_t number = tag >> 3;
  if (number == 0 || number >= (1U << 29)) Fail(file_name_, message_, ": bad field number");
  field = ProtobufField();
  field.number = static_cast<std::uint32_t>(number);
  field.wire_type = static_cast<WireType>(tag & 7);
  switch (field.wire_type) {
    case WireType::kVarint:
      field.integer = Varint();
      return true;
    case WireType::kFixed64:
      field.integer = Fixed(8);
      return true;
    case WireType::kFixed32:
      field.integer = Fixed(4);
      return true;
    case WireType::kBytes: {
      const std::uint64_t size = Varint();
      if (size > rest_.size()) FailTruncated();
      field.bytes = rest_.substr(0, static_cast<std::size_t>(size));
      rest_.remove_prefix(field.bytes.size());
      return true;
    }
  }
  Fail(file_name_, message_, ": field ", field.number, " has wire type ", tag & 7,
       ", which is not supported");
}

std::uint64_t ProtobufReader::Varint() {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 10; ++i) {
    if (i == rest_.size()) FailTruncated();
    const auto byte = static_cast<unsigned char>(rest_[i]);
    if (i == 9 && byte > 1) break;
    value |= std::uint64_t{byte & 0x7FU} << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  Fail(file_name_, message_, ": a varint of more than 64 bits");
}

std::uint64_t ProtobufReader::Fixed(std::size_t size_bytes) {
  if (rest_.size() < size_bytes) FailTruncated();
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size_bytes; ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(rest_[i])} << (8 * i);
  }
  rest_.remove_prefix(size_bytes);
  return value;
}

bool ProtobufReader::Boolean(const ProtobufField& field) const {
  Require(field, ProtobufField::WireType::kVarint);
  return field.integer != 0;
}

std::int32_t ProtobufReader::Int32(const ProtobufField& field) const {
  Require(field, ProtobufField::WireType::kVarint);
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(field.integer));
}

float ProtobufReader::Float(const ProtobufField& field) const {
  Require(field, ProtobufField::WireType::kFixed32);
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.integer));
}

std::string_view ProtobufReader::Bytes(const ProtobufField& field) const {
  Require(field, ProtobufField::WireType::kBytes);
  return field.bytes;
}

void ProtobufReader::Require(const ProtobufField& field, ProtobufField::WireType wire_type) const {
  if (field.wire_type != wire_type) {
    Fail(file_name_, message_, ": field ", field.number, " has wire type ",
         static_cast<int>(field.wire_type), ", expected ", static_cast<int>(wire_type));
  }
}

void ProtobufReader::FailTruncated() const { Fail(file_name_, message_, ": the file is cut"); }

}  // namespace ctx::tokenize::load
