#include "tokenize/bpe/vocabulary.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"

namespace ctx::tokenize {
namespace {

constexpr std::string_view kMagic = "CTXVOC01";
constexpr std::size_t kHeaderBytes = 16;

class FileDescriptor {
 public:
  explicit FileDescriptor(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

/// A whole file, read-only, for as long as the object lives.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const FileDescriptor file(path);
    struct stat status;
    if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
      throw LoadError(StrCat(path, ": ", std::strerror(errno)));
    }
    if (!S_ISREG(status.st_mode)) throw LoadError(StrCat(path, ": not a regular file"));
    if (status.st_size == 0) return;  // mmap refuses an empty range; the reader reports it
    const auto size = static_cast<std::size_t>(status.st_size);
    void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) throw LoadError(StrCat(path, ": ", std::strerror(errno)));
    bytes_ = {static_cast<const char*>(data), size};
  }
  ~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view bytes() const noexcept { return bytes_; }

 private:
  std::string_view bytes_;
};

std::uint32_t ReadU32(std::string_view bytes, std::size_t at) noexcept {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// One row of a packed table, and where it is for error messages.
struct Row {
  std::string_view token;
  TokenId id;
};

/// Calls visit(Row) for each token of a packed table; throws LoadError when the frame is broken.
template <typename Visit>
void ForEachRow(const std::string& path, std::string_view bytes, Visit visit) {
  if (bytes.size() < kHeaderBytes) {
    throw LoadError(StrCat(path, ": ", bytes.size(), " bytes, shorter than the 16-byte header"));
  }
  if (bytes.substr(0, kMagic.size()) != kMagic) {
    throw LoadError(StrCat(path, ": does not begin with ", kMagic));
  }
  const std::uint32_t num_rows = ReadU32(bytes, 8);
  const std::uint32_t first_id = ReadU32(bytes, 12);
  std::size_t at = kHeaderBytes;
  for (std::uint32_t row = 0; row < num_rows; ++row) {
    const std::size_t length = at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0;
    if (at >= bytes.size() || length > bytes.size() - at - 1) {
      throw LoadError(StrCat(path, ": truncated in row ", row, " of ", num_rows));
    }
    // 64 bits: a first id near 2^32 must not wrap around into the valid ids.
    const std::uint64_t id = std::uint64_t{first_id} + row;
    if (id >= Vocabulary::kMaxTokens) {
      throw LoadError(StrCat(path, ": row ", row, " has rank ", id, ", the limit is ",
                             Vocabulary::kMaxTokens - 1));
    }
    if (length != 0) visit(Row{bytes.substr(at + 1, length), static_cast<TokenId>(id)});
    at += 1 + length;
  }
  if (at != bytes.size()) {
    throw LoadError(StrCat(path, ": ", bytes.size() - at, " bytes follow the last row"));
  }
}

/// Token bytes in a message: printable ASCII as it is, the rest as \xNN.
std::string Quote(std::string_view token) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string quoted = "'";
  for (const char c : token.substr(0, 64)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '\\') {
      quoted += c;
    } else {
      quoted += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return quoted + (token.size() > 64 ? "...'" : "'");
}

}  // namespace

/// Collects tokens whose bytes stay where they are, then checks them as a whole.
class Vocabulary::Builder {
 public:
  Builder(std::size_t max_tokens, std::size_t max_id) : table_(std::make_shared<Table>()) {
    table_->byte_table = ByteTable(max_tokens);
    table_->bytes_of.resize(max_tokens == 0 ? 0 : max_id + 1);
  }

  void Keep(std::shared_ptr<const void> backing) { table_->backing.push_back(std::move(backing)); }

  /// `where` begins the error message.
  void Add(const std::string& where, std::string_view token, TokenId id) {
    if (!table_->bytes_of[id].empty()) {
      throw LoadError(StrCat(where, "rank ", id, " is given twice"));
    }
    if (!table_->byte_table.Insert(token, id)) {
      throw LoadError(
          StrCat(where, "token ", Quote(token), " has two ranks, ",
                 table_->byte_table.Find(token.data(), token.size(), token.data() + token.size()),
                 " and ", id));
    }
    table_->bytes_of[id] = token;
    table_->num_tokens += 1;
    table_->max_token_bytes = std::max(table_->max_token_bytes, token.size());
  }

  std::shared_ptr<const Table> Finish(const std::string& where) && {
    table_->single_bytes.resize(256);
    table_->byte_pairs.resize(256 * 256);
    for (std::size_t i = 0; i < 256; ++i) {
      const char byte = static_cast<char>(i);
      const TokenId id = table_->byte_table.Find(&byte, 1, &byte + 1);
      if (id == kNoToken) {
        throw LoadError(StrCat(where, "no token for the single byte ", i,
                               "; a byte-level vocabulary needs all 256"));
      }
      table_->single_bytes[i] = id;
    }
    for (std::size_t i = 0; i < table_->byte_pairs.size(); ++i) {
      const char pair[] = {static_cast<char>(i >> 8), static_cast<char>(i & 255)};
      table_->byte_pairs[i] = table_->byte_table.Find(pair, 2, pair + 2);
    }
    return std::move(table_);
  }

 private:
  std::shared_ptr<Table> table_;
};

Vocabulary Vocabulary::FromPackedFiles(std::span<const std::string> paths) {
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::size_t num_tokens = 0;
  TokenId max_id = 0;
  for (const std::string& path : paths) {
    files.push_back(std::make_shared<const MappedFile>(path));
    ForEachRow(path, files.back()->bytes(), [&](const Row& row) {
      num_tokens += 1;
      max_id = std::max(max_id, row.id);
    });
  }
  Builder builder(num_tokens, max_id);
  for (std::size_t i = 0; i < files.size(); ++i) {
    builder.Keep(files[i]);
    const std::string where = paths[i] + ": ";
    ForEachRow(paths[i], files[i]->bytes(),
               [&](const Row& row) { builder.Add(where, row.token, row.id); });
  }
  return Vocabulary(std::move(builder).Finish(paths.empty() ? "" : paths.back() + ": "));
}

Vocabulary Vocabulary::FromRanks(std::span<const std::pair<std::string_view, TokenId>> ranks) {
  std::size_t size_bytes = 0;
  TokenId max_id = 0;
  for (const auto& [token, id] : ranks) {
    if (token.empty()) throw LoadError(StrCat("rank ", id, " is an empty token"));
    if (token.size() > ByteTable::kMaxKeyBytes) {
      throw LoadError(StrCat("the token of rank ", id, " has ", token.size(),
                             " bytes, the limit is ", ByteTable::kMaxKeyBytes));
    }
    if (id >= kMaxTokens) {
      throw LoadError(StrCat("rank ", id, " is too large, the limit is ", kMaxTokens - 1));
    }
    size_bytes += token.size();
    max_id = std::max(max_id, id);
  }
  const auto copy = std::make_shared<std::string>();
  copy->reserve(size_bytes);
  Builder builder(ranks.size(), max_id);
  builder.Keep(copy);
  for (const auto& [token, id] : ranks) {
    const std::size_t at = copy->size();
    copy->append(token);
    builder.Add("", std::string_view(*copy).substr(at), id);
  }
  return Vocabulary(std::move(builder).Finish(""));
}

}  // namespace ctx::tokenize
