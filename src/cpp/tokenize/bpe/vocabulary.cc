#include "tokenize/bpe/vocabulary.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/error.h"
#include "common/str_cat.h"
#include "tokenize/bpe/merge.h"

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
  Builder(std::size_t max_tokens, std::size_t num_ranks) : table_(std::make_shared<Table>()) {
    table_->byte_table = ByteTable(max_tokens);
    table_->bytes_of = ZeroedArray<std::string_view>(num_ranks);
    table_->num_merged = num_ranks;
    table_->num_findable = num_ranks;
  }

  Table& table() noexcept { return *table_; }
  void Keep(std::shared_ptr<const void> backing) { table_->backing.push_back(std::move(backing)); }

  /// Makes an Add that comes soon faster.
  void Prefetch(std::string_view token, const char* readable_end) const noexcept {
    table_->byte_table.PrefetchInsert(token, readable_end);
  }

  /// A merged or whole token. `where` begins the error message; bytes up to `readable_end` may be
  /// read.
  void Add(const std::string& where, std::string_view token, Rank rank, const char* readable_end) {
    AddUnused(where, token, rank);
    if (!table_->byte_table.Insert(token, rank, readable_end)) {
      throw LoadError(
          StrCat(where, "token ", Quote(token), " has two ranks, ",
                 table_->byte_table.Find(token.data(), token.size(), token.data() + token.size()),
                 " and ", rank));
    }
    table_->max_token_bytes = std::max(table_->max_token_bytes, token.size());
  }

  void AddUnused(const std::string& where, std::string_view token, Rank rank) {
    if (!table_->bytes_of[rank].empty()) {
      throw LoadError(StrCat(where, "rank ", rank, " is given twice"));
    }
    table_->bytes_of[rank] = token;
    table_->num_tokens += 1;
  }

  std::shared_ptr<Table> FinishBytes(const std::string& where) && {
    table_->single_bytes.resize(256);
    table_->byte_pairs.assign(256 * 256, kNoToken);
    for (std::size_t i = 0; i < 256; ++i) {
      const char byte = static_cast<char>(i);
      const Rank rank = table_->byte_table.Find(&byte, 1, &byte + 1);
      if (rank == kNoToken) {
        throw LoadError(StrCat(where, "no token for the single byte ", i,
                               "; a byte-level vocabulary needs all 256"));
      }
      table_->single_bytes[i] = rank;
    }
    for (Rank rank = 0; rank < table_->num_merged; ++rank) {
      const std::string_view token = table_->bytes_of[rank];
      if (token.size() != 2) continue;
      const auto first = static_cast<unsigned char>(token[0]);
      const auto second = static_cast<unsigned char>(token[1]);
      table_->byte_pairs[std::size_t{first} * 256 + second] = rank;
    }
    table_->pre_token_table = MakePreTokenTable();
    table_->bridges = MakeBridges();
    return std::move(table_);
  }

  std::shared_ptr<const Table> FinishCharacters(Rank first_byte_rank) && {
    table_->single_bytes.resize(256);
    for (Rank i = 0; i < 256; ++i) table_->single_bytes[i] = first_byte_rank + i;
    return std::move(table_);
  }

 private:
  PreTokenTable MakePreTokenTable() const {
    std::array<std::size_t, 2> counts = {};  // short and long ones
    const auto findable = std::span(table_->bytes_of).first(table_->num_findable);
    for (const std::string_view token : findable) {
      if (!token.empty() && token.size() <= PreTokenTable::kMaxBytes) {
        ++counts[token.size() > PreTokenTable::kShortBytes];
      }
    }
    PreTokenTable table(counts[0], counts[1]);
    for (Rank rank = 0; rank < findable.size(); ++rank) {
      const std::string_view token = findable[rank];
      if (token.empty() || token.size() > PreTokenTable::kMaxBytes) continue;
      table.Insert(token, table_->id_of.empty() ? rank : table_->id_of[rank]);
    }
    return table;
  }

  Bridges MakeBridges() const {
    std::size_t num_pairs = 0;
    const auto findable = std::span(table_->bytes_of).first(table_->num_findable);
    for (const std::string_view token : findable) num_pairs += Bridges::NumPairs(token);
    Bridges bridges(num_pairs);
    for (const std::string_view token : findable) bridges.Insert(token);
    return bridges;
  }

  std::shared_ptr<Table> table_;
};

Vocabulary Vocabulary::FromPackedFiles(std::span<const std::string> paths) {
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::size_t num_tokens = 0;
  std::size_t num_ranks = 0;
  for (const std::string& path : paths) {
    files.push_back(std::make_shared<const MappedFile>(path));
    ForEachRow(path, files.back()->bytes(), [&](const Row& row) {
      num_tokens += 1;
      num_ranks = std::max<std::size_t>(num_ranks, row.id + 1);
    });
  }
  Builder builder(num_tokens, num_ranks);
  for (std::size_t i = 0; i < files.size(); ++i) {
    builder.Keep(files[i]);
    // Rows wait a little, until what they touch has come near.
    const std::string where = paths[i] + ": ";
    const char* const end = files[i]->bytes().data() + files[i]->bytes().size();
    std::array<Row, 8> waiting;
    std::size_t num_seen = 0;
    std::size_t num_added = 0;
    const auto add_next = [&] {
      const Row& row = waiting[num_added++ % waiting.size()];
      builder.Add(where, row.token, row.id, end);
    };
    ForEachRow(paths[i], files[i]->bytes(), [&](const Row& row) {
      builder.Prefetch(row.token, end);
      if (num_seen - num_added == waiting.size()) add_next();
      waiting[num_seen++ % waiting.size()] = row;
    });
    while (num_added < num_seen) add_next();
  }
  auto table = std::move(builder).FinishBytes(paths.empty() ? "" : paths.back() + ": ");
  table->has_bridges = true;  // what MergesToEachWideToken says of the shipped tables
  return Vocabulary(std::move(table));
}

Vocabulary Vocabulary::FromRanks(std::span<const std::pair<std::string_view, TokenId>> ranks) {
  ModelDefinition model;
  model.tokens.reserve(ranks.size());
  for (const auto& [token, id] : ranks) model.tokens.push_back({std::string(token), id});
  std::sort(model.tokens.begin(), model.tokens.end(),
            [](const TokenDefinition& a, const TokenDefinition& b) { return a.id < b.id; });
  return FromModel(model);
}

Vocabulary Vocabulary::FromModel(const ModelDefinition& model) {
  // Ids that rise with the rank serve as ranks themselves, holes and all.
  std::size_t num_tokens = 0;
  std::size_t size_bytes = 0;
  std::size_t num_ids = 0;
  bool rising = model.byte_ids.empty();
  const auto check = [&](const TokenDefinition& token) {
    if (token.bytes.empty()) throw LoadError(StrCat("token ", token.id, " is empty"));
    if (token.bytes.size() > ByteTable::kMaxKeyBytes) {
      throw LoadError(StrCat("token ", token.id, " has ", token.bytes.size(),
                             " bytes, the limit is ", ByteTable::kMaxKeyBytes));
    }
    if (token.id >= kMaxTokens) {
      throw LoadError(
          StrCat("token id ", token.id, " is too large, the limit is ", kMaxTokens - 1));
    }
    num_tokens += 1;
    size_bytes += token.bytes.size();
    rising = rising && token.id >= num_ids;
    num_ids = std::max<std::size_t>(num_ids, token.id + 1);
  };
  for (const auto* const tokens :
       {&model.tokens, &model.whole_tokens, &model.unused_tokens, &model.user_defined}) {
    for (const TokenDefinition& token : *tokens) check(token);
  }
  for (const TokenId id : model.byte_ids) {
    if (id >= kMaxTokens) {
      throw LoadError(StrCat("token id ", id, " is too large, the limit is ", kMaxTokens - 1));
    }
    num_ids = std::max<std::size_t>(num_ids, id + 1);
  }
  const bool has_fallback = model.symbols == Symbols::kCharacters;
  if (model.byte_ids.size() != (has_fallback ? 256 : 0)) {
    throw LoadError(StrCat("there are ", model.byte_ids.size(), " fallback bytes instead of ",
                           has_fallback ? 256 : 0));
  }

  if (num_ids > 4 * (num_tokens + model.byte_ids.size()) + (std::size_t{1} << 16)) {
    throw LoadError(StrCat("ids reach ", num_ids - 1, " though there are only ", num_tokens,
                           " tokens: too many holes"));
  }
  if (!model.ranks.empty()) {
    if (!has_fallback) throw LoadError("tokens of equal rank need characters for symbols");
    if (model.ranks.size() != model.tokens.size()) throw LoadError("a token is without a rank");
    if (!std::is_sorted(model.ranks.begin(), model.ranks.end()) ||
        model.ranks.back() >= kMaxTokens) {
      throw LoadError("ranks of tokens do not ascend");
    }
  }

  const std::size_t num_ranks = rising ? num_ids : num_tokens + model.byte_ids.size();
  const auto copy = std::make_shared<std::string>();
  copy->reserve(size_bytes + model.byte_ids.size());
  Builder builder(num_tokens, num_ranks);
  builder.Keep(copy);
  Table& table = builder.table();
  table.symbols = model.symbols;
  if (!rising) {
    table.id_of.reserve(num_ranks);
    table.rank_of.assign(num_ids, kNoToken);
  }
  Rank next_rank = 0;
  const auto place = [&](std::string_view bytes, TokenId id) {
    const std::size_t at = copy->size();
    copy->append(bytes);
    if (rising) {
      next_rank = id;
    } else {
      if (table.rank_of[id] != kNoToken)
        throw LoadError(StrCat("token id ", id, " is given twice"));
      table.rank_of[id] = next_rank;
      table.id_of.push_back(id);
    }
    return std::string_view(*copy).substr(at);
  };
  for (const TokenDefinition& token : model.tokens) {
    const std::string_view bytes = place(token.bytes, token.id);
    builder.Add("", bytes, next_rank++, bytes.data() + bytes.size());
  }
  table.num_merged = next_rank;
  table.priority_of = model.ranks;
  for (const TokenDefinition& token : model.whole_tokens) {
    const std::string_view bytes = place(token.bytes, token.id);
    builder.Add("", bytes, next_rank++, bytes.data() + bytes.size());
  }
  table.num_findable = next_rank;
  for (const auto* const tokens : {&model.unused_tokens, &model.user_defined}) {
    for (const TokenDefinition& token : *tokens) {
      const std::string_view bytes = place(token.bytes, token.id);
      builder.AddUnused("", bytes, next_rank++);
    }
  }
  if (!has_fallback) {
    auto finished = std::move(builder).FinishBytes("");
    const Vocabulary vocabulary(finished);
    finished->has_bridges = vocabulary.MergesToEachWideToken();
    return vocabulary;
  }
  const Rank first_byte_rank = next_rank;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    const std::string_view bytes = place({&value, 1}, model.byte_ids[byte]);
    builder.AddUnused("", bytes, next_rank++);
  }
  return Vocabulary(std::move(builder).FinishCharacters(first_byte_rank));
}

/// Whether the bytes of each token with a character of three bytes merge to that token. (Some
/// published vocabularies have tokens that are only ever found as whole pre-tokens.)
bool Vocabulary::MergesToEachWideToken() const {
  std::vector<Rank> merged;
  for (Rank rank = 0; rank < table_->num_findable; ++rank) {
    const std::string_view token = Bytes(rank);
    const bool is_wide = std::any_of(token.begin(), token.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xF0) == 0xE0;
    });
    if (!is_wide) continue;
    merged.clear();
    Merge(*this, token, merged);
    if (merged.size() != 1 || merged[0] != rank) return false;
  }
  return true;
}

}  // namespace ctx::tokenize
