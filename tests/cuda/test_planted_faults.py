"""The tests of the kernels can fail: each classic mistake, planted in a copy, is caught.

Each case copies the sources, makes one mistake in the copy, and runs the copy on the CPU through
executor.h, under the sanitizer that must find it. The unchanged copy passes under all of them.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Every program is called with "fibres" or "threads" and says what is wrong, with exit status 3.
PROLOGUE = """
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>
#include "executor.h"
#include "kernel_list.h"
using namespace ctx::cuda;
using executor::Mode;
static bool threads;
template <typename Args>
void Run(const char* name, Args args, unsigned num_blocks, unsigned num_threads, bool shared) {
  void* parameters[] = {&args};
  executor::Launch({num_blocks}, {num_threads},
      {.mode = threads ? Mode::kThreads : Mode::kFibers, .overlap_blocks = threads && !shared},
      AllKernels().at(name)(parameters));
}
"""

# 300 slots; the last sequence is on a block whose slots lie beyond 2^31; exact-size heap arrays.
SLOT_MAPPING = """
int main(int, char** argv) {
  threads = std::string(argv[1]) == "threads";
  const std::vector<int> tables = {3, 1, 200000000, 5};
  const std::vector<int> rows(290, 1);
  std::vector<long> positions(290);
  for (long i = 0; i < 290; ++i) positions[i] = i % 32;
  std::vector<long> slots(300, 77);
  const SlotMappingArgs args = {tables.data(), 2, 2, 2, 1, rows.data(), 1,
      positions.data(), 1, 290, 16, slots.data(), 1, 300};
  Run("ctxengine_slot_mapping", args, threads ? 4 : 2, threads ? 16 : 64, false);
  for (long i = 0; i < 300; ++i) {
    const long expected = i >= 290 ? -1 : i % 32 < 16 ? 3200000000 + i % 32 : 80 + i % 32 - 16;
    if (slots[i] != expected) { std::printf("slot %ld is wrong\\n", i); return 3; }
  }
}
"""

# Blocks of 3 tokens with 2 heads of 24 bytes: the heads change places with the tokens. Block 1 goes
# to block 0 and block 2 to block 1; pairs of each kind are outside. The source block lies beyond
# 2^31 bytes in the large case, which only the arithmetic sees.
BLOCK_COPY = """
int main(int, char** argv) {
  threads = std::string(argv[1]) == "threads";
  std::vector<unsigned long> source(3 * 18), target(2 * 18, 7);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = 1000 + i;
  const std::vector<int> from = {1, 3, 2, -1, 0, 9, 9, 9, 9}, to = {0, 0, 1, 1, 2, 0, 0, 0, 0};
  int skipped = 0;
  BlockCopyArgs args{};
  args.source = {reinterpret_cast<unsigned char*>(source.data()), from.data(), 1, 3, 144, 144, -1};
  args.target = {reinterpret_cast<unsigned char*>(target.data()), to.data(), 1, 2, 144, 144, -1};
  args.num_items = 9;
  args.num_skipped = &skipped;
  const unsigned num_threads = threads ? 2 : 4;
  args.vectors_per_item = 18;
  const long tiles = (18 + num_threads * 4 - 1) / (num_threads * 4);
  args.num_tiles = static_cast<unsigned>(9 * tiles);
  args.tiles_per_item = Divisor::Of(tiles);
  args.vectors_per_run = Divisor::Of(3);
  args.extents[0] = Divisor::Of(3);
  args.extents[1] = Divisor::Of(2);
  args.source_strides[0] = 48; args.source_strides[1] = 24;
  args.target_strides[0] = 24; args.target_strides[1] = 72;
  args.num_dimensions = 2;
  Run("ctxengine_copy_blocks_8", args, 4, num_threads, false);
  if (skipped != 6) { std::printf("%d were skipped\\n", skipped); return 3; }
  for (unsigned long b = 0; b < 2; ++b)
    for (unsigned long t = 0; t < 3; ++t)
      for (unsigned long h = 0; h < 2; ++h)
        for (unsigned long i = 0; i < 3; ++i)
          if (target[b * 18 + h * 9 + t * 3 + i] != 1000 + (b + 1) * 18 + t * 6 + h * 3 + i) {
            std::printf("block %lu is wrong\\n", b);
            return 3;
          }
  // Strides of 2^31 bytes and a vector far in: offsets are exact in 64 bits.
  args.source_strides[0] = 1L << 31;
  args.source.tensor_stride = 1L << 40;
  const Offsets offsets = OffsetsOf<8>(args, 2 * 18 + 2 * 6 + 3 + 1);
  if (offsets.source != (2L << 40) + (2L << 31) + 24 + 8) { std::printf("far\\n"); return 3; }
}
"""

KERNELS = sorted(path.name for path in (ROOT / "src/cuda").glob("*.cu"))
# Two heads of 20 elements in int8, with the scale of each found first; 5 tokens, two of them outside,
# one padding. At the end blocks are 2^31 bytes apart, which only the arithmetic sees.
KV_WRITE = """
int main(int, char** argv) {
  threads = std::string(argv[1]) == "threads";
  std::vector<unsigned short> source(5 * 40);  // bfloat16 of 0, 1, 2, ... in each head
  for (std::size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<unsigned short>(BitsOf(static_cast<float>(i % 20)) >> 16);
  const std::vector<long> slots = {6, -1, 9, 2, 0};
  std::vector<unsigned char> target(6 * 40, 99);
  std::vector<float> scales(6 * 2, -1.0f);
  int skipped = 0;
  KVWriteArgs args{};
  KVPart& part = args.parts[0];
  part.kind = EntryKind::kInt8;
  part.source = reinterpret_cast<const unsigned char*>(source.data());
  part.source_token_stride = 80;
  part.source_head_stride = 40;
  part.target = target.data();
  part.tile_size = 20;
  part.num_tiles = Divisor::Of(1);
  part.scales_out = reinterpret_cast<unsigned char*>(scales.data());
  part.scale_block_stride = 16;
  part.scale_token_stride = 8;
  part.scale_head_stride = 4;
  args.tiles_per_token = Divisor::Of(2);
  args.tiles_of_first_part = 2;
  args.num_tiles = 10;
  args.is_bfloat16 = 1;
  args.finds_maximum = 1;
  args.slots = slots.data();
  args.slots_stride = 1;
  args.num_tokens = 5;
  args.num_slots = 6;
  args.block_size = 2;
  args.block_stride = 80;
  args.token_stride = 40;
  args.head_stride = 20;
  args.num_skipped = &skipped;
  Run("ctxengine_kv_write_1", args, 1, threads ? 32 : 64, true);
  if (skipped != 2) { std::printf("%d were skipped\\n", skipped); return 3; }
  for (long slot = 0; slot < 6; ++slot)
    for (long i = 0; i < 40; ++i) {
      const bool written = slot == 0 || slot == 2;
      const long expected = written ? static_cast<long>(i % 20 * 127 / 19.0 + 0.5) : 99;
      if (target[slot * 40 + i] != expected) { std::printf("slot %ld is wrong\\n", slot); return 3; }
      if (scales[slot * 2 + i / 20] != (written ? 19.0f / 127.0f : -1.0f)) {
        std::printf("scale %ld is wrong\\n", slot);
        return 3;
      }
    }
  args.num_slots = 1L << 40;
  args.block_stride = 1L << 31;
  args.slots = slots.data();
  if (PlaceOf(args, 0).target - target.data() != (3L << 31)) { std::printf("far\\n"); return 3; }
}
"""

# A decode step of 6 rows: one at the end of a block, one padding, one outside, two that need blocks
# (the ring wraps between them), one whose slot lies beyond 2^31.
TABLES = """
int main(int, char** argv) {
  threads = std::string(argv[1]) == "threads";
  std::vector<int> tables(2 * 6 * 2, -1), lengths = {16, 3, 0, 0, 31, 0}, ring(8);
  for (int i = 0; i < 8; ++i) ring[i] = 100 + i;
  for (int group : {0, 1}) {
    tables[(group * 6 + 4) * 2 + 1] = 7;
    tables[(group * 6 + 1) * 2] = 200000000;
  }
  std::vector<long> counters = {5, 13}, slots(12, 77);
  const std::vector<int> rows = {4, -1, 9, 0, 2, 1};
  std::vector<int> oom_row = {5};
  const DecodeAppendArgs args = {
      {tables.data(), lengths.data(), ring.data(), counters.data(), 2, 6, 2, 8, 16},
      rows.data(), 1, 6, slots.data(), 6, 1, oom_row.data()};
  Run("ctxengine_decode_append", args, 1, threads ? 4 : 8, true);
  const std::vector<long> expected = {127, -1, -2, 1680, 1712, 3200000003,
                                      127, -1, -2, 1696, 1600, 3200000003};
  if (slots != expected) { std::printf("slots are wrong\\n"); return 3; }
  if (lengths != std::vector<int>{17, 4, 1, 0, 32, 0} || counters[0] != 9 || oom_row[0] != -1) {
    std::printf("state is wrong\\n");
    return 3;
  }
}
"""

PROGRAMS = {
    "slot_mapping": SLOT_MAPPING,
    "block_copy": BLOCK_COPY,
    "kv_write": KV_WRITE,
    "tables": TABLES,
}

SANITIZERS = {
    "address": (["-fsanitize=address"], "fibres"),
    "undefined": (["-fsanitize=undefined", "-fno-sanitize-recover=all"], "fibres"),
    "thread": (["-fsanitize=thread"], "threads"),
    "none": ([], "fibres"),
}

# program, sanitizer, what stands in the sources exactly once, what the fault makes of it, symptom
FAULTS = {
    "no tail check": (
        "slot_mapping",
        "address",
        "i < args.num_slots",
        "i <= args.num_slots",
        "heap-buffer-overflow",
    ),
    "tokens read beyond the batch": (
        "slot_mapping",
        "address",
        "if (i >= args.num_tokens) return kPaddingSlot;",
        "",
        "heap-buffer-overflow",
    ),
    "a wrong column stride": (
        "slot_mapping",
        "address",
        "row * args.row_stride + column * args.column_stride",
        "row * args.row_stride + column * 4",
        "heap-buffer-overflow",
    ),
    "32-bit product": (
        "slot_mapping",
        "undefined",
        "return block * args.block_size +",
        "return static_cast<int>(block) * static_cast<int>(args.block_size) +",
        "signed integer overflow",
    ),
    "two threads write one slot": (
        "slot_mapping",
        "thread",
        "args.slots[i * args.slots_stride] =",
        "args.slots[i / 2 * 2] = args.slots[i * args.slots_stride] =",
        "data race",
    ),
    "blocks overlap": (
        "slot_mapping",
        "thread",
        "static_cast<Int64>(blockIdx.x) * blockDim.x + threadIdx.x;",
        "static_cast<Int64>(blockIdx.x) * (blockDim.x - 1) + threadIdx.x;",
        "data race",
    ),
    "a barrier that the tail skips": (
        "slot_mapping",
        "none",
        "args.slots[i * args.slots_stride] =",
        "__syncthreads(); args.slots[i * args.slots_stride] =",
        "the barrier of line",
    ),
    "padding at zero": (
        "slot_mapping",
        "none",
        "kPaddingSlot = -1",
        "kPaddingSlot = 0",
        "slot 290 is wrong",
    ),
    "block ids are not checked": (
        "block_copy",
        "address",
        "block >= -1 && block < side.num_blocks ? block : -2",
        "block",
        "heap-buffer-overflow",
    ),
    "vectors beyond the item": (
        "block_copy",
        "address",
        "if (vector < args.vectors_per_item)",
        "if (vector < args.vectors_per_item + 19)",
        "heap-buffer-overflow",
    ),
    "a 32-bit offset": (
        "block_copy",
        "undefined",
        "index * args.source_strides[d]",
        "static_cast<Int32>(index) * static_cast<Int32>(args.source_strides[d])",
        "signed integer overflow",
    ),
    "a tensor stride in 32 bits": (
        "block_copy",
        "none",
        "tensor * side.tensor_stride",
        "static_cast<Int32>(tensor) * static_cast<Int32>(side.tensor_stride)",
        "far",
    ),
    "tiles overlap": (
        "block_copy",
        "thread",
        "tile_vectors = blockDim.x * kVectorsPerThread",
        "tile_vectors = blockDim.x * (kVectorsPerThread - 1)",
        "data race",
    ),
    "skipped is counted without an atomic": (
        "block_copy",
        "thread",
        "if (outside && first == 0 && args.num_skipped != nullptr) atomicAdd(args.num_skipped, 1)",
        "if (outside && first == 0) *args.num_skipped += 1",
        "data race",
    ),
    "a barrier that the last tile skips": (
        "block_copy",
        "none",
        "to[k] = offsets.target;",
        "to[k] = offsets.target; __syncthreads();",
        "the barrier of line",
    ),
    "each thread counts a skipped item": (
        "block_copy",
        "none",
        "if (outside && first == 0 &&",
        "if (outside &&",
        "were skipped",
    ),
    "slots are not checked": (
        "kv_write",
        "address",
        "slot < 0 || slot >= args.num_slots",
        "slot < 0",
        "heap-buffer-overflow",
    ),
    "a tile is read beyond its end": (
        "kv_write",
        "address",
        "i < place.part->tile_size / kElements",
        "i <= place.part->tile_size / kElements + 5",
        "heap-buffer-overflow",
    ),
    "a block offset in 32 bits": (
        "kv_write",
        "undefined",
        "part.target + block * args.block_stride",
        "part.target + static_cast<Int32>(block) * static_cast<Int32>(args.block_stride)",
        "signed integer overflow",
    ),
    "no barrier before the maxima are read": (
        "kv_write",
        "thread",
        """      __syncthreads();
      if (place.scale_out""",
        """      if (place.scale_out""",
        "data race",
    ),
    "no barrier before the maxima are overwritten": (
        "kv_write",
        "thread",
        """      __syncthreads();
    }
    if (place.target""",
        """    }
    if (place.target""",
        "data race",
    ),
    "a barrier that padding skips": (
        "kv_write",
        "none",
        "maxima[threadIdx.x] = MaximumOf<kElements>(args, place, lane);",
        "maxima[threadIdx.x] = MaximumOf<kElements>(args, place, lane); __syncthreads();",
        "threads of one block wait at line",
    ),
    "the scale of one lane only": (
        "kv_write",
        "none",
        "i < kLanesPerTile; ++i",
        "i < 1; ++i",
        "is wrong",
    ),
    "rows are not checked": (
        "tables",
        "address",
        "if (row >= state.max_rows) return Append::kInvalid;",
        "",
        "heap-buffer-overflow",
    ),
    "the ring does not wrap": (
        "tables",
        "address",
        "rank * state.num_groups + group) % state.ring_size",
        "rank * state.num_groups + group)",
        "heap-buffer-overflow",
    ),
    "a slot in 32 bits": (
        "tables",
        "undefined",
        "slot = *cell * state.block_size +",
        "slot = *cell * static_cast<Int32>(state.block_size) +",
        "signed integer overflow",
    ),
    "a scan without its barrier": (
        "tables",
        "thread",
        """    __syncthreads();
    const Int64 before""",
        """    const Int64 before""",
        "data race",
    ),
    "a barrier for some threads of the scan": (
        "tables",
        "none",
        """    __syncthreads();
    const Int64 before""",
        """    if (thread >= distance) __syncthreads();
    const Int64 before""",
        "threads of one block wait at line",
    ),
    "two rows take the same blocks": (
        "tables",
        "none",
        "Int64 rank = counts[from][thread] - count;",
        "Int64 rank = 0;",
        "slots are wrong",
    ),
    "source and target strides exchanged": (
        "block_copy",
        "none",
        "offsets.target += index * args.target_strides[d];",
        "offsets.target += index * args.source_strides[d];",
        "is wrong",
    ),
}


def compiler(*arguments: str) -> None:
    command = [os.environ.get("CXX", "g++"), "-std=c++20", "-O1", "-pthread", *arguments]
    subprocess.run(command, check=True)


def compile_to(target: Path, source: Path, sanitizer: str, sources: Path) -> Path:
    """Compile a caller or a kernel against the headers of `sources`."""
    language = ("-include", str(ROOT / "tests/cuda/cuda_language.h"), "-xc++")
    includes = (f"-I{sources}", f"-I{ROOT / 'src/cpp'}", f"-I{ROOT / 'tests/cuda'}")
    compiler(*SANITIZERS[sanitizer][0], *includes, *language, "-c", str(source), "-o", str(target))
    return target


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return what gives the object of a caller (by its name) or kernel without a fault."""
    folder = tmp_path_factory.mktemp("right")

    @functools.cache
    def compiled(name: str, sanitizer: str) -> Path:
        source = ROOT / "src/cuda" / name
        if name in PROGRAMS:
            source = folder / f"{name}.cc"
            source.write_text(PROLOGUE + PROGRAMS[name])
        return compile_to(folder / f"{name}_{sanitizer}.o", source, sanitizer, ROOT / "src")

    return compiled


def link_and_run(
    folder: Path, sanitizer: str, objects: list[Path], *, most_runs: int = 1
) -> subprocess.CompletedProcess[str]:
    """Run a program until it fails, at most so many times."""
    flags, mode = SANITIZERS[sanitizer]
    compiler(*flags, *map(str, objects), "-o", str(folder / "program"))
    command = [str(folder / "program"), mode]
    if sanitizer == "thread" and shutil.which("setarch"):
        # TSan's fixed address ranges collide with strongly randomised ones on recent kernels.
        command = ["setarch", platform.machine(), "--addr-no-randomize", *command]
    for _ in range(most_runs):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            break
    return result


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_kernel_as_it_is_passes(
    tmp_path: Path, program: str, sanitizer: str, right: Callable[[str, str], Path]
) -> None:
    objects = [right(name, sanitizer) for name in (program, *KERNELS)]
    result = link_and_run(tmp_path, sanitizer, objects)
    # ASan notes on stderr that fibres may confuse it.
    assert (result.returncode, result.stdout, "ERROR" in result.stderr) == (0, "", False)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(
    tmp_path: Path, fault: str, right: Callable[[str, str], Path]
) -> None:
    program, sanitizer, text, wrong, symptom = FAULTS[fault]
    (tmp_path / "cuda").mkdir()
    changed = []
    for path in sorted((ROOT / "src/cuda").iterdir()):
        if path.suffix not in {".h", ".cu"}:
            continue
        source = path.read_text()
        if path.stem == program or path.stem not in PROGRAMS:  # not another program's own
            changed += [path.name] * source.count(text)
            source = source.replace(text, wrong)
        (tmp_path / "cuda" / path.name).write_text(source)
    assert len(changed) == 1
    kernel = tmp_path / "cuda" / f"{program}.cu"
    objects = [compile_to(tmp_path / "kernel.o", kernel, sanitizer, tmp_path)]
    objects += [right(name, sanitizer) for name in KERNELS if name != kernel.name]
    if changed[0].endswith(".h"):  # the caller looks at headers too
        (tmp_path / "caller.cc").write_text(PROLOGUE + PROGRAMS[program])
        objects.append(
            compile_to(tmp_path / "caller.o", tmp_path / "caller.cc", sanitizer, tmp_path)
        )
    else:
        objects.append(right(program, sanitizer))
    # A race shows when two threads come close to each other, which the system decides.
    most_runs = 50 if sanitizer == "thread" else 1
    result = link_and_run(tmp_path, sanitizer, objects, most_runs=most_runs)
    assert result.returncode != 0
    assert symptom in result.stdout + result.stderr
