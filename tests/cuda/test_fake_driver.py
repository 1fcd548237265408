"""The whole device path of ctxengine.cuda, from Python arrays to the kernel, on a stand-in driver.

A build without a CUDA compiler carries no kernels; there the same script must end in the sentence
that says so. The C++ test ``cuda.runtime`` covers the launch in both cases.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ctxengine import cuda

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import ctypes, os
import numpy as np
from ctxengine import cuda
from ctxengine.errors import ArgumentError, DeviceError
from ctxengine.reference import slot_mapping as reference

fake = ctypes.CDLL(os.environ["CTXENGINE_LIBCUDA"])
fake.fake_cuda_log.restype = ctypes.c_char_p
log = lambda: fake.fake_cuda_log().decode()
assert log() == "", "import touched the driver"

class DeviceArray:
    def __init__(self, array, stream=None, ordinal=1):
        self.array = array
        changes = {"version": 3, "stream": stream}
        self.__cuda_array_interface__ = array.__array_interface__ | changes
        base = array if array.base is None else array.base
        fake.fake_cuda_add_memory(
            ctypes.c_void_p(base.ctypes.data), ctypes.c_size_t(base.nbytes), ordinal)

if cuda.build_info().compiler_version is None:
    print(cuda.why_not())
    raise SystemExit

assert cuda.is_available() and cuda.why_not() is None
assert cuda.device_info()[1] == ("Imaginary GPU 1", (9, 0), 141_000_000_001)

random = np.random.default_rng(5)
for block_size in (1, 16, 65536):
    tables = random.integers(0, 2**31, (50, 30), dtype=np.int32)[::2, ::3]
    rows = random.integers(-1, 25, 2000, dtype=np.int32)
    positions = random.integers(-1, 10 * block_size, 2000)
    out = np.full(2100, 77, np.int64)
    device = DeviceArray(out)
    result = cuda.slot_mapping(DeviceArray(tables), DeviceArray(rows, stream=7),
                               DeviceArray(positions, stream=2), block_size, out=device, stream=2)
    assert result is device
    lists = tables.tolist(), rows.tolist(), positions.tolist()
    expected = reference.slot_mapping(*lists, block_size, 2100)
    assert out.tolist() == expected
    host = cuda.slot_mapping(tables, rows, positions, block_size, out=np.empty(2100, np.int64))
    assert host.tolist() == expected
assert "cuEventRecord 7\\ncuStreamWaitEvent 2\\n" in log() and "cuEventRecord 2" not in log()
assert "cuLaunchKernel ctxengine_slot_mapping device 1 grid 9 block 256 stream 2" in log()

# On the device a token without a block is marked, not raised.
out = np.zeros(2, np.int64)
one = DeviceArray(np.zeros((1, 1), np.int32))
rows, positions = DeviceArray(np.array([0, 1], np.int32)), DeviceArray(np.array([16, 0]))
cuda.slot_mapping(one, rows, positions, 16, out=DeviceArray(out))
assert out.tolist() == [cuda.INVALID_SLOT] * 2

zero = DeviceArray(np.zeros(1, np.int32)), DeviceArray(np.zeros(1, np.int64))
try:
    cuda.slot_mapping(one, *zero, 16, out=DeviceArray(out, ordinal=0))
    raise SystemExit("arrays on two devices were accepted")
except ArgumentError as error:
    assert "block_tables is on CUDA device 1, out on device 0" in str(error), error
fake.fake_cuda_fail(b"cuLaunchKernel", 719)
try:
    cuda.slot_mapping(one, *zero, 16, out=DeviceArray(out))
    raise SystemExit("a failed launch was accepted")
except DeviceError as error:
    assert str(error) == (
        "cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure")
fake.fake_cuda_fail(b"cuLaunchKernel", 0)

# Block copies: the kernel and the host move the same bytes; blocks outside are skipped and counted.
sizes = dict(num_layers=3, num_blocks=9, block_size=4, num_heads=2)
for name, entry_bytes, width in (("nhd", 128, 16), ("hnd", 40, 8), ("page_head", 20, 4), ("fused", 3, 1)):
    layout = getattr(cuda.KVLayout, name)(**sizes, entry_bytes=entry_bytes)
    size = layout.span_bytes
    memory = [random.integers(0, 256, size + 16, dtype=np.uint8) for _ in range(2)]
    memory = [m[-m.ctypes.data % 16:][:size] for m in memory]
    host_memory = [m.copy() for m in memory]
    other = getattr(cuda.KVLayout, "nhd" if name == "hnd" else "hnd")(**sizes, entry_bytes=entry_bytes)
    pool, target = (cuda.DevicePool(x, DeviceArray(m)) for x, m in zip((layout, other), memory))
    host_pool, host_target = (cuda.DevicePool(x, m) for x, m in zip((layout, other), host_memory))
    pairs = np.array([[0, 3], [-1, 2], [9, 4], [1, 5], [6, -7]], np.int32)
    skipped = np.zeros(1, np.int32)
    cuda.copy_blocks(pool, DeviceArray(pairs, stream=7), skipped=DeviceArray(skipped), stream=2)
    assert skipped.tolist() == [2]
    cuda.copy_blocks(host_pool, pairs[[0, 1, 3]])
    blocks = np.array([8, -1, 2], np.int32)
    staging, host_staging = (np.full(3 * layout.block_bytes, 77, np.uint8) for _ in range(2))
    cuda.gather_blocks(pool, DeviceArray(blocks), DeviceArray(staging))
    cuda.gather_blocks(host_pool, blocks, host_staging)
    assert (staging == host_staging).all()
    cuda.scatter_blocks(pool, DeviceArray(blocks[::-1].copy()), DeviceArray(staging))
    cuda.scatter_blocks(host_pool, blocks[::-1], host_staging)
    cuda.relayout(pool, target, source_blocks=DeviceArray(np.arange(9, dtype=np.int32)[::-1]))
    assert "cuLaunchKernel ctxengine_copy_blocks_%d device 1 grid" % width in log()
    cuda.relayout(host_pool, host_target, source_blocks=np.arange(9, dtype=np.int32)[::-1])
    assert all((m == h).all() for m, h in zip(memory, host_memory))
    count = log().count("cuLaunchKernel")
    cuda.copy_blocks(pool, DeviceArray(np.zeros((0, 2), np.int32)))
    assert log().count("cuLaunchKernel") == count

# kv_write: the kernels and the host write the same bytes, in every format.
one = np.array([0.3], np.float32)
slots = np.array([3, -1, 40, 17, 8], np.int64)
for name, head_size, width in (("nhd", 64, 8), ("hnd", 20, 1)):
    halves = [random.integers(0, 2**16, (5, 2, head_size), dtype=np.uint16) & 0xBFFF for _ in "kv"]
    for entry_bytes, scales in ((2 * head_size, {}), (head_size, {"k_scale": one, "v_scale": one}), (head_size, None)):
        layout = getattr(cuda.KVLayout, name)(**sizes, entry_bytes=entry_bytes)
        results = []
        for wrap, used in ((DeviceArray, slots), (lambda array: array, np.where(slots < 36, slots, -1))):
            memory = np.zeros((layout.span_bytes + 1) // 2, np.uint16)
            outs = [np.zeros((9, 4, 2), np.float32) for _ in "kv"]
            given = scales
            if scales is None:
                given = dict(zip(("k_scale_out", "v_scale_out"), outs))
            given = {key: wrap(array) for key, array in given.items()}
            if wrap is DeviceArray:
                skipped = np.zeros(1, np.int32)
                given["skipped"] = DeviceArray(skipped)
            cuda.kv_write(cuda.DevicePool(layout, wrap(memory)), 1, *map(wrap, halves), wrap(used), **given)
            results.append((memory, *outs))
        assert skipped.tolist() == [1]
        assert all((a == b).all() for a, b in zip(*results)), (name, entry_bytes, scales)
        assert results[0][0].any()
    assert "cuLaunchKernel ctxengine_kv_write_%d device 1" % width in log()
layout = cuda.KVLayout.mla(num_layers=2, num_blocks=9, block_size=4, entry_bytes=656)
latent, rope = (random.integers(0, 2**14, (5, n), dtype=np.uint16) for n in (512, 64))
results = []
for wrap, used in ((DeviceArray, slots), (lambda array: array, np.where(slots < 36, slots, -1))):
    memory = np.zeros(layout.span_bytes, np.uint8)
    cuda.kv_write_mla(cuda.DevicePool(layout, wrap(memory)), 1, wrap(latent), wrap(rope), wrap(used))
    results.append(memory)
assert (results[0] == results[1]).all() and results[0].any()

# Device block tables and their mirror.
mirror = cuda.DeviceBlockTables.on_host(num_groups=2, max_rows=40, num_columns=6, ring_size=200, block_size=3)
arrays = [a.copy() for a in (mirror.tables, mirror.lengths, mirror.ring, mirror.counters)]
tables = cuda.DeviceBlockTables(*map(DeviceArray, arrays), block_size=3)
assert tables.is_device and not mirror.is_device
oom = np.zeros(1, np.int32)
for step in range(12):
    blocks = np.arange(100 * step, 100 * step + 60, dtype=np.int32)[: 200 - int(mirror.counters[1] - mirror.counters[0])]
    if step % 3 != 2:
        tables.push(DeviceArray(blocks), stream=4)
        mirror.push(blocks)
    rows = random.permutation(40).astype(np.int32)
    slots = np.zeros((2, 40), np.int64)
    device_slots = DeviceArray(slots)
    assert tables.decode_append(DeviceArray(rows), slots=device_slots, oom_row=DeviceArray(oom), stream=4) is device_slots
    assert (mirror.decode_append(rows) == slots).all()
    assert oom[0] == (-1 if mirror.oom_row is None else mirror.oom_row)
    entries = np.array([[3, 5, step, 1], [-1, 0, 0, 0], [40, 0, 0, 0]], np.int32)
    skipped = np.zeros(1, np.int32)
    tables.patch(DeviceArray(entries), skipped=DeviceArray(skipped))
    mirror.patch(entries[:2])
    assert skipped[0] == 1
    host = (mirror.tables, mirror.lengths, mirror.ring, mirror.counters)
    assert all((a == b).all() for a, b in zip(arrays, host))
assert "cuLaunchKernel ctxengine_decode_append device 1 grid 1 block 1024 stream 4" in log()
print("launched")
"""


@pytest.fixture(scope="module")
def fake_libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("fake") / "libfake_cuda.so"
    subprocess.run(
        [
            os.environ.get("CXX", "g++"),
            *("-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", f"-I{ROOT / 'src'}"),
            *("-include", str(ROOT / "tests/cuda/cuda_language.h"), "-xc++"),
            *(str(path) for path in sorted((ROOT / "src/cuda").glob("*.cu"))),
            str(ROOT / "tests/cuda/fake_libcuda.cc"),
            *("-o", str(library)),
        ],
        check=True,
    )
    return library


def test_from_arrays_to_the_kernel(fake_libcuda: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"CTXENGINE_LIBCUDA": str(fake_libcuda)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = (
        "this build of ctxengine was made without a CUDA compiler"
        if cuda.build_info().compiler_version is None
        else "launched"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == expected
