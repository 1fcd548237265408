"""Check that every include and import follows the layer rule of docs/architecture.md.

Run as ``python tools/check_layers.py``; prints each violation and exits 1 when there is one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A layer may use itself and the layers named here, nothing else of ours.
CPP: dict[str, set[str]] = {
    "common": set(),
    "tokenize": {"common"},
    "chat": {"common", "tokenize"},
    "budget": {"common", "tokenize", "chat"},
    "prefix": {"common"},
    "kv": {"common", "prefix"},
    "cuda": {"common", "prefix", "kv"},
    "limits": {"common"},
    "bindings": {"common", "tokenize", "chat", "budget", "prefix", "kv", "cuda", "limits"},
}
_BASE = {"errors", "_core"}
PYTHON: dict[str, set[str]] = {
    "errors": set(),
    "models": {"errors"},
    "tokenize": _BASE | {"models"},
    "chat": _BASE | {"models", "tokenize"},
    "budget": _BASE | {"models", "tokenize", "chat", "pricing"},
    "prefix": _BASE,
    "kv": _BASE | {"prefix"},
    "cuda": _BASE | {"prefix", "kv"},
    "limits": _BASE,
    "pricing": {"errors"},
    "reference": {"errors"},
}
PYTHON["engine"] = set(PYTHON) - {"reference"} | {"_core"}
PYTHON["viz"] = PYTHON["engine"] - {"_core"} | {"engine"}
PYTHON["cli"] = PYTHON["viz"] | {"viz"}
PYTHON["__main__"] = {"cli"}


def cpp_uses() -> Iterator[tuple[Path, str, str]]:
    """Yield (file, its layer, a layer that it includes)."""
    for path in sorted([*ROOT.glob("src/cpp/*/**/*"), *ROOT.glob("src/cuda/**/*")]):
        if path.suffix in {".h", ".cc", ".cu"}:
            parts = path.relative_to(ROOT / "src").parts
            layer = parts[1] if parts[0] == "cpp" else parts[0]
            for used in re.findall(r'^\s*#include "(\w+)/', path.read_text(), re.MULTILINE):
                yield path, layer, used


def python_uses() -> Iterator[tuple[Path, str, str]]:
    """Yield (file, its module, a module of ours that it imports)."""
    package = ROOT / "python/ctxengine"
    for path in sorted(package.rglob("*.py")):
        layer = path.relative_to(package).parts[0].removesuffix(".py")
        if layer == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.startswith("ctxengine."):
                    yield path, layer, name.split(".")[1]


def violations() -> list[str]:
    """Return one line for each include or import that its layer may not make."""
    return [
        f"{path.relative_to(ROOT)}: {layer} may not use {used}"
        for rule, uses in ((CPP, cpp_uses()), (PYTHON, python_uses()))
        for path, layer, used in uses
        if used != layer and used in rule.keys() | {"_core"} and used not in rule.get(layer, set())
    ]


if __name__ == "__main__":
    lines = violations()
    print("\n".join(lines) or "layers: every include and import follows the rule")
    sys.exit(1 if lines else 0)
