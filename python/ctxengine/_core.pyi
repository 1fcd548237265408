# The native core, as the public modules see it. Held true by `nox -s types` (mypy.stubtest).
# One block per layer, in the order of the layers.

from typing import TypeAlias

__version__: str

# --- tokenize ---

def pretokenize(pattern: str, text: str, /) -> list[int]: ...
def char_classes() -> bytes: ...

# --- chat ---

# --- budget ---

# --- prefix ---

# --- kv ---

# --- limits ---

# --- cuda ---

_Vector: TypeAlias = tuple[int, int, int]  # address, length, stride in elements
_Matrix: TypeAlias = tuple[int, int, int, int, int]  # address, rows, columns, strides

def cuda_build_info() -> tuple[str, tuple[str, ...], int]: ...
def cuda_why_not() -> str: ...
def cuda_devices() -> list[tuple[str, int, int, int]]: ...
def slot_mapping_host(
    block_tables: _Matrix, rows: _Vector, positions: _Vector, block_size: int, slots: _Vector, /
) -> None: ...
def slot_mapping_device(
    block_tables: _Matrix,
    rows: _Vector,
    positions: _Vector,
    block_size: int,
    slots: _Vector,
    stream: int,
    after: list[int],
    /,
) -> None: ...
