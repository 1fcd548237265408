#include "tokenize/pretokenize/block_scan.h"

namespace ctx::tokenize {

BlockScanner BlockScannerFor(Pattern pattern, Isa isa) noexcept {
  switch (isa) {
    case Isa::kAvx512:
      return internal::Avx512BlockScanner(pattern);
    case Isa::kAvx2:
      return internal::Avx2BlockScanner(pattern);
    case Isa::kNeon:
      return internal::NeonBlockScanner(pattern);
    case Isa::kPortable:
      break;
  }
  return nullptr;
}

}  // namespace ctx::tokenize
