"""Check that every include and import follows the layer rule of docs/architecture.md.

Run as ``python tools/check_layers.py``; prints each violation and exits 1 when there is one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A layer may include itself and the layers named here.
CPP = {
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
PYTHON = {
    "errors": set(),
    "tokenize": _BASE,
    "chat": _BASE | {"tokenize"},
    "budget": _BASE | {"tokenize", "chat"},
    "prefix": _BASE,
    "kv": _BASE | {"prefix"},
    "cuda": _BASE | {"prefix", "kv"},
    "limits": _BASE,
    "pricing": _BASE,
}
_PUBLIC = set(PYTHON) | {"errors"}
PYTHON["engine"] = _PUBLIC | {"_core"}
PYTHON["viz"] = PYTHON["integrations"] = _PUBLIC | {"engine"}
PYTHON["cli"] = _PUBLIC | {"engine", "viz"}
PYTHON["reference"] = {"errors"}


def violations() -> list[str]:
    """Return one line for each include or import that its layer may not make."""
    found = []
    for path in sorted([*ROOT.glob("src/cpp/*/**/*"), *ROOT.glob("src/cuda/**/*")]):
        if path.suffix not in {".h", ".cc", ".cu", ".cuh"}:
            continue
        layer = "cuda" if path.is_relative_to(ROOT / "src/cuda") else path.relative_to(ROOT / "src/cpp").parts[0]
        for used in re.findall(r'^\s*#include "(\w+)/', path.read_text(), re.MULTILINE):
            if used in CPP and used != layer and used not in CPP[layer]:
                found.append(f"{path.relative_to(ROOT)}: {layer} may not include {used}")
    package = ROOT / "python/ctxengine"
    for path in sorted(package.rglob("*.py")):
        layer = path.relative_to(package).parts[0].removesuffix(".py")
        if layer == "__init__":
            continue
        text = path.read_text()
        names = re.findall(r"^\s*from ctxengine\.(\w+)|^\s*import ctxengine\.(\w+)", text, re.MULTILINE)
        grouped = re.findall(r"^\s*from ctxengine import \(?([\w, \n]+)\)?", text, re.MULTILINE)
        used_names = {a or b for a, b in names} | {n.strip() for g in grouped for n in g.split(",")}
        for used in sorted(used_names & (set(PYTHON) | {"_core"})):
            if used != layer and used not in PYTHON.get(layer, set()):
                found.append(f"{path.relative_to(ROOT)}: {layer} may not import {used}")
    return found


if __name__ == "__main__":
    lines = violations()
    print("\n".join(lines) or "layers: every include and import follows the rule")
    sys.exit(1 if lines else 0)
