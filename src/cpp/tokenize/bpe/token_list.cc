#include "tokenize/bpe/token_list.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {
namespace {

constexpr std::string_view kMagic = "CTXVOC01";
constexpr std::size_t kHeaderBytes = 16;

/// Fills `to` from the file; returns how many bytes there were.
std::size_t ReadAt(int descriptor, std::span<char> to, std::size_t at, const std::string& path) {
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t count =
        ::pread(descriptor, to.data() + done, to.size() - done, static_cast<off_t>(at + done));
    if (count == 0) break;
    if (count > 0) {
      done += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      throw LoadError(StrCat(path, ": ", std::strerror(errno)));
    }
  }
  return done;
}

std::uint32_t ReadU32(std::span<const char> bytes, std::size_t at) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// One byte before each token, and what may be read behind the last.
std::size_t BufferBytes(std::size_t num_ranks, std::size_t num_bytes) noexcept {
  return num_bytes + num_ranks + 1 + TokenList::kReadableBytes;
}

}  // namespace

TokenList::TokenList(std::size_t num_ranks, std::size_t num_bytes, LargePages& memory) {
  if (BufferBytes(num_ranks, num_bytes) > UINT32_MAX) {
    throw LoadError(StrCat("the tokens have ", num_bytes, " bytes in all, which is too many"));
  }
  bytes_ = memory.Take<char>(BufferBytes(num_ranks, num_bytes));
  begins_ = memory.Take<std::uint32_t>(num_ranks + 1);
  begins_[0] = 1;
}

std::size_t TokenList::SizeBytes(std::size_t num_ranks, std::size_t num_bytes) noexcept {
  return BufferBytes(num_ranks, num_bytes) + sizeof(std::uint32_t) * (num_ranks + 1);
}

void TokenList::Append(std::string_view token) noexcept {
  std::copy(token.begin(), token.end(), bytes_.begin() + begins_[size_]);
  Advance(static_cast<std::uint32_t>(token.size()));
}

// Of two constructors the destructor closes what is open when the second throws.
PackedFiles::PackedFiles(std::span<const std::string> paths) : PackedFiles() {
  constexpr std::size_t kMax = TokenList::kMaxTokens;
  files_.reserve(paths.size());
  for (const std::string& path : paths) {
    files_.push_back({path, ::open(path.c_str(), O_RDONLY | O_CLOEXEC), 0, 0});
    File& file = files_.back();
    struct stat status;
    if (file.descriptor < 0 || ::fstat(file.descriptor, &status) != 0) {
      throw LoadError(StrCat(path, ": ", std::strerror(errno)));
    }
    if (!S_ISREG(status.st_mode)) throw LoadError(StrCat(path, ": not a regular file"));
    std::array<char, kHeaderBytes> header;
    const std::size_t size = std::min(ReadAt(file.descriptor, header, 0, path),
                                      static_cast<std::size_t>(status.st_size));
    if (size < kHeaderBytes) {
      throw LoadError(StrCat(path, ": ", size, " bytes, shorter than the 16-byte header"));
    }
    if (std::string_view(header.data(), kMagic.size()) != kMagic) {
      throw LoadError(StrCat(path, ": does not begin with ", kMagic));
    }
    file.num_rows = ReadU32(header, 8);
    file.num_bytes = static_cast<std::size_t>(status.st_size) - kHeaderBytes;
    const std::size_t first_rank = ReadU32(header, 12);
    if (first_rank + file.num_rows > kMax) {
      const std::size_t row = kMax - std::min<std::size_t>(first_rank, kMax);
      throw LoadError(
          StrCat(path, ": row ", row, " has rank ", first_rank + row, ", the limit is ", kMax - 1));
    }
    if (first_rank != num_ranks_) {
      throw LoadError(
          StrCat(path, ": begins with rank ", first_rank, ", but ", num_ranks_, " is next"));
    }
    num_ranks_ += file.num_rows;
    num_bytes_ += file.num_bytes - std::min(file.num_bytes, file.num_rows);
  }
}

PackedFiles::~PackedFiles() {
  for (const File& file : files_) {
    if (file.descriptor >= 0) ::close(file.descriptor);
  }
}

TokenList PackedFiles::Read(LargePages& memory) const {
  TokenList tokens(num_ranks_, num_bytes_, memory);
  for (const File& file : files_) ReadRows(file, tokens);
  return tokens;
}

void PackedFiles::ReadRows(const File& file, TokenList& tokens) {
  std::uint32_t begin = tokens.begins_[tokens.size_];
  const std::span<char> bytes = tokens.bytes_.subspan(begin - 1, file.num_bytes);
  const std::size_t end = begin - 1 + ReadAt(file.descriptor, bytes, kHeaderBytes, file.path);
  for (std::size_t row = 0; row < file.num_rows; ++row) {
    const std::uint32_t length = static_cast<unsigned char>(tokens.bytes_[begin - 1]);
    // The length byte, then that many.
    if (begin > end || length > end - begin) {
      throw LoadError(StrCat(file.path, ": truncated in row ", row, " of ", file.num_rows));
    }
    begin += length + 1;
    tokens.Advance(length);
  }
  if (begin - 1 != end) {
    throw LoadError(StrCat(file.path, ": ", end - (begin - 1), " bytes follow the last row"));
  }
}

}  // namespace ctx::tokenize
