"""The tests of the kernels can fail: each classic mistake, planted in a copy, is caught.

Each case copies the sources, makes one mistake in the copy, and runs the copy on the CPU through
executor.h, under the sanitizer that must find it. The unchanged copy passes under all of them.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# 300 slots; the last sequence is on a block whose slots lie beyond 2^31; exact-size heap arrays.
MAIN = """
#include <cstdio>
#include <string>
#include <vector>
#include "cuda/slot_mapping.h"
#include "executor.h"
extern "C" void ctxengine_slot_mapping(ctx::cuda::SlotMappingArgs args);
int main(int, char** argv) {
  using namespace executor;
  const bool threads = std::string(argv[1]) == "threads";
  const std::vector<int> tables = {3, 1, 200000000, 5};
  const std::vector<int> rows(290, 1);
  std::vector<long> positions(290);
  for (long i = 0; i < 290; ++i) positions[i] = i % 32;
  std::vector<long> slots(300, 77);
  const ctx::cuda::SlotMappingArgs args = {tables.data(), 2, 2, 2, 1, rows.data(), 1,
      positions.data(), 1, 290, 16, slots.data(), 1, 300};
  Launch({threads ? 4u : 2u}, {threads ? 16u : 64u},
         {.mode = threads ? Mode::kThreads : Mode::kFibers, .overlap_blocks = threads},
         [&] { ctxengine_slot_mapping(args); });
  for (long i = 0; i < 300; ++i) {
    const long expected = i >= 290 ? -1 : i % 32 < 16 ? 3200000000 + i % 32 : 80 + i % 32 - 16;
    if (slots[i] != expected) { std::printf("slot %ld is wrong\\n", i); return 3; }
  }
}
"""

SANITIZERS = {
    "address": (["-fsanitize=address"], "fibres"),
    "undefined": (["-fsanitize=undefined", "-fno-sanitize-recover=all"], "fibres"),
    "thread": (["-fsanitize=thread"], "threads"),
    "none": ([], "fibres"),
}

FAULTS = {
    "no tail check": (
        "address",
        "i < args.num_slots",
        "i <= args.num_slots",
        "heap-buffer-overflow",
    ),
    "tokens read beyond the batch": (
        "address",
        "if (i >= args.num_tokens) return kPaddingSlot;",
        "",
        "heap-buffer-overflow",
    ),
    "a wrong column stride": (
        "address",
        "row * args.row_stride + column * args.column_stride",
        "row * args.row_stride + column * 4",
        "heap-buffer-overflow",
    ),
    "32-bit product": (
        "undefined",
        "return block * args.block_size +",
        "return static_cast<int>(block) * static_cast<int>(args.block_size) +",
        "signed integer overflow",
    ),
    "two threads write one slot": (
        "thread",
        "args.slots[i * args.slots_stride] =",
        "args.slots[i / 2 * 2] = args.slots[i * args.slots_stride] =",
        "data race",
    ),
    "blocks overlap": (
        "thread",
        "static_cast<Int64>(blockIdx.x) * blockDim.x + threadIdx.x;",
        "static_cast<Int64>(blockIdx.x) * (blockDim.x - 1) + threadIdx.x;",
        "data race",
    ),
    "a barrier that the tail skips": (
        "none",
        "args.slots[i * args.slots_stride] =",
        "__syncthreads(); args.slots[i * args.slots_stride] =",
        "the barrier of line",
    ),
    "padding at zero": ("none", "kPaddingSlot = -1", "kPaddingSlot = 0", "slot 290 is wrong"),
}


def compile_cpp(folder: Path, *arguments: str) -> None:
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, "-std=c++20", "-O1", "-pthread", f"-I{folder}", *arguments]
    subprocess.run(command, cwd=folder, check=True)


@pytest.fixture(scope="module")
def main_objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The caller of the kernel, compiled once for each sanitizer."""
    folder = tmp_path_factory.mktemp("main")
    (folder / "main.cc").write_text(MAIN)
    objects = {}
    for sanitizer, (flags, _) in SANITIZERS.items():
        objects[sanitizer] = folder / f"main_{sanitizer}.o"
        includes = (f"-I{ROOT / 'src'}", f"-I{ROOT / 'tests/cuda'}")
        compile_cpp(folder, *includes, *flags, "-c", "main.cc", "-o", str(objects[sanitizer]))
    return objects


def build_and_run(folder: Path, sanitizer: str, main: Path) -> subprocess.CompletedProcess[str]:
    flags, mode = SANITIZERS[sanitizer]
    language = ("-include", str(ROOT / "tests/cuda/cuda_language.h"))
    compile_cpp(folder, *flags, *language, "-xc++", "-c", "cuda/slot_mapping.cu", "-o", "kernel.o")
    compile_cpp(folder, *flags, "kernel.o", str(main), "-o", "program")
    command = ["./program", mode]
    if sanitizer == "thread" and shutil.which("setarch"):
        # TSan's fixed address ranges collide with strongly randomised ones on recent kernels.
        command = ["setarch", platform.machine(), "--addr-no-randomize", *command]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "cuda").mkdir()
    for name in ("slot_mapping.cu", "slot_mapping.h", "types.h"):
        shutil.copy(ROOT / "src/cuda" / name, tmp_path / "cuda")
    return tmp_path


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_the_kernel_as_it_is_passes(
    copy: Path, sanitizer: str, main_objects: dict[str, Path]
) -> None:
    result = build_and_run(copy, sanitizer, main_objects[sanitizer])
    # ASan notes on stderr that fibres may confuse it.
    assert (result.returncode, result.stdout, "ERROR" in result.stderr) == (0, "", False)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(copy: Path, fault: str, main_objects: dict[str, Path]) -> None:
    sanitizer, right, wrong, symptom = FAULTS[fault]
    num_changes = 0
    for path in (copy / "cuda").iterdir():
        text = path.read_text()
        num_changes += text.count(right)
        path.write_text(text.replace(right, wrong))
    assert num_changes == 1
    result = build_and_run(copy, sanitizer, main_objects[sanitizer])
    assert result.returncode != 0
    assert symptom in result.stdout + result.stderr
