"""What checks the KV manager can fail: each classic mistake, planted in a copy, is caught.

All mistakes are in one build of the copy, each behind a switch, so that it is compiled once. The
program is ``kv_device.cc``: random calls, and a device that does what the manager says. With every
switch off it passes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("common", "prefix", "kv")
# What the manager needs of the layers below it.
SOURCES = (
    "common/isa.cc",
    "common/sha256.cc",
    "common/sha256_x86.cc",
    "prefix/identity.cc",
    "prefix/keyed128.cc",
)
SWITCH = """
#pragma once
#include <cstdlib>
#include <cstring>
inline bool Planted(const char* fault) {
  static const char* const planted = std::getenv("PLANTED");
  return planted != nullptr && std::strcmp(planted, fault) == 0;
}
"""

# name: (file, text that is there once, text in its place; PLANTED is the switch), ...
FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "the salt is ignored": [
        ("acquire.cc", "if (identity.empty()) return", "if (identity.empty() || PLANTED) return")
    ],
    "six bits of the contents are compared": [
        (
            "prefix_tree.cc",
            "return extra_[node] == extra &&\n         std::memcmp(",
            "if (PLANTED) return extra_[node] == extra && "
            "((tokens_.data()[node * block_size_] ^ token_ids[0]) & 63) == 0;\n"
            "  return extra_[node] == extra &&\n         std::memcmp(",
        )
    ],
    "the parent is not part of the key": [
        (
            "prefix_tree.cc",
            "!(links_[node].parent == parent && IsAt",
            "!((PLANTED || links_[node].parent == parent) && IsAt",
        ),
        (
            "prefix_tree.cc",
            "static_cast<std::uint64_t>(chain_[parent])",
            "static_cast<std::uint64_t>(PLANTED ? 0 : chain_[parent])",
        ),
    ],
    "blocks are published when they are reserved": [
        (
            "step.cc",
            "  const std::int64_t last_column = (end - 1) / block_size_;\n",
            "  if (PLANTED) {\n"
            "    const auto computed = row.num_computed;\n"
            "    row.num_computed = std::min(row.num_reserved, row.num_tokens);\n"
            "    if (row.num_computed >= row.full_at) PublishFull(row_id);\n"
            "    row.num_computed = computed;\n"
            "  }\n"
            "  const std::int64_t last_column = (end - 1) / block_size_;\n",
        )
    ],
    "an evicted block can still be found": [
        (
            "block_pool.cc",
            "  Unpublish(id);\n  PushFree(id);\n  ++num_evicted_;",
            "  if (!PLANTED) Unpublish(id);\n  PushFree(id);\n  ++num_evicted_;",
        )
    ],
    "hits are pinned after the rest is allocated": [
        (
            "acquire.cc",
            "pool_.AddRef(columns[column]);",
            "if (!PLANTED) pool_.AddRef(columns[column]);",
        ),
        (
            "acquire.cc",
            "  row.num_tokens = prompt.num_tokens;\n",
            "  for (std::int64_t group = 0; PLANTED && group < num_groups(); ++group) {\n"
            "    const RowGroup& at = At(group, row_id);\n"
            "    for (std::int64_t column = at.begin; column < num_hits; ++column) {\n"
            "      pool_.AddRef(Columns(group, row_id)[column]);\n"
            "    }\n"
            "  }\n"
            "  row.num_tokens = prompt.num_tokens;\n",
        ),
    ],
    "idle hits count as free": [
        (
            "acquire.cc",
            "column < num_hits; ++column) {\n      num_idle_hits += pool_",
            "column < num_hits; ++column) {\n      num_idle_hits += !PLANTED && pool_",
        )
    ],
    "a shared block is written": [
        ("step.cc", "block.ref_count > 1 ? id", "(block.ref_count > 1 && !PLANTED) ? id")
    ],
    "a published block is written": [
        ("step.cc", "return block.published() ||", "return (block.published() && !PLANTED) ||")
    ],
    "rows are released head first": [
        (
            "manager.cc",
            "for (std::int64_t column = end; column-- > begin;) {\n",
            "for (std::int64_t i = end; i-- > begin;) {\n"
            "    const std::int64_t column = PLANTED ? begin + end - 1 - i : i;\n",
        )
    ],
    "a fork takes a reference too many": [
        (
            "manager.cc",
            "  source.quick_end = 0;",
            "  if (PLANTED && source.num_tokens > 0) {\n"
            "    pool_.AddRef(Columns(0, static_cast<RowId>(parent))[0]);\n  }\n"
            "  source.quick_end = 0;",
        )
    ],
    "a fork takes no references": [
        (
            "manager.cc",
            "if (blocks[column] != kNoBlock) pool_.AddRef(blocks[column]);\n    }\n  }\n  return",
            "if (blocks[column] != kNoBlock && !PLANTED) pool_.AddRef(blocks[column]);\n"
            "    }\n  }\n  return",
        )
    ],
    "a row may be named twice": [
        (
            "manager.cc",
            "if (std::exchange(row.mark, mark) == mark) {",
            "if (std::exchange(row.mark, mark) == mark && !PLANTED) {",
        )
    ],
    "a row may be freed again": [
        (
            "manager.cc",
            "      !rows_[static_cast<std::size_t>(row)].live) {",
            "      (!rows_[static_cast<std::size_t>(row)].live && !PLANTED)) {",
        )
    ],
    "a step that falls short leaves something behind": [
        (
            "step.cc",
            "for (const BlockId block : dropped) pool_.RestoreRef(block);",
            "if (!PLANTED || step.oom_row == kNoRow) {\n"
            "    for (const BlockId block : dropped) pool_.RestoreRef(block);\n  }",
        )
    ],
    "all of a prompt comes from the cache": [
        ("acquire.cc", "prompt.num_tokens - 1;", "prompt.num_tokens - (PLANTED ? 0 : 1);")
    ],
    "rejected tokens count": [
        (
            "step.cc",
            "row.num_computed += num_accepted;",
            "row.num_computed += PLANTED ? std::min(row.num_reserved, row.num_tokens) - "
            "row.num_computed : num_accepted;",
        )
    ],
    "the patch lacks cached blocks": [
        (
            "acquire.cc",
            "    at.end = static_cast<std::int32_t>(num_hits);\n",
            "    at.end = static_cast<std::int32_t>(num_hits);\n"
            "    if (PLANTED) at.num_patched = at.end;\n",
        )
    ],
    "a window lets go of a token too many": [
        (
            "group.h",
            "num_computed - group.window + 1,",
            "num_computed - group.window + 1 + PLANTED,",
        )
    ],
    "freed blocks are reused before the fence": [
        (
            "manager.cc",
            "if (fence && *fence > passed_fence_) {",
            "if (fence && !PLANTED && *fence > passed_fence_) {",
        )
    ],
    "what failed to load counts as computed": [
        (
            "step.cc",
            "SettleRow(static_cast<RowId>(row_id), num_loaded);",
            "SettleRow(static_cast<RowId>(row_id), PLANTED ? row.reservations.front() : num_loaded);",
        )
    ],
    "a block that is hit in part is not pinned": [
        (
            "acquire.cc",
            "pool_.AddRef(columns[at.end++]);",
            "if (!PLANTED) pool_.AddRef(columns[at.end]);\n      ++at.end;",
        )
    ],
    "the youngest idle block is evicted": [
        (
            "block_pool.cc",
            "const BlockId id = oldest_idle_;",
            "const BlockId id = PLANTED ? youngest_idle_ : oldest_idle_;",
        )
    ],
}


def plant(folder: Path) -> None:
    """Put every fault into the copy, behind its switch."""
    for name, edits in FAULTS.items():
        for file, right, wrong in edits:
            path = folder / "kv" / file
            text = path.read_text()
            assert text.count(right) == 1, f"{name}: {file} has changed: {right!r}"
            path.write_text(text.replace(right, wrong.replace("PLANTED", f'Planted("{name}")')))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy with all faults in it, compiled."""
    folder = tmp_path_factory.mktemp("faults")
    for layer in LAYERS:
        shutil.copytree(ROOT / "src/cpp" / layer, folder / layer)
    shutil.copy(ROOT / "tests/faults/kv_device.cc", folder)
    (folder / "switch.h").write_text(SWITCH)
    plant(folder)

    def compiled(source: Path) -> str:
        target = source.with_suffix(".o")
        flags = ["-std=c++20", "-O1", f"-I{folder}", "-include", "switch.h"]
        command = [os.environ.get("CXX", "g++"), *flags, "-c", str(source), "-o", str(target)]
        subprocess.run(command, cwd=folder, check=True)
        return str(target)

    sources = [folder / name for name in (*SOURCES, "kv_device.cc")]
    sources += sorted((folder / "kv").glob("*.cc"))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        objects = list(threads.map(compiled, sources))
    target = folder / "kv_device"
    command = [os.environ.get("CXX", "g++"), *objects, "-pthread", "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def run(program: Path, fault: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "1", "30000"],
        env={**os.environ, "PLANTED": fault},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_manager_as_it_is_passes(program: Path) -> None:
    result = run(program, "")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(program: Path, fault: str) -> None:
    assert run(program, fault).returncode != 0
