# The native core, as the public modules see it. Held true by `nox -s types` (mypy.stubtest).
# One block per layer, in the order of the layers.

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
