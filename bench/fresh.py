"""One measurement in a process of its own: what a library costs that has seen nothing yet.

`measure` starts the process, which runs this file: it reads a request from standard input and
prints the answer, both JSON. Only what is measured is imported: not ctxengine for its rivals, nor
pathlib, for it would count as memory.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SEPARATOR = "\0"  # between the documents of a file


def measure(library: str, encoding_name: str, work: str, path: str = "", **options: Any) -> Any:
    """Do the work with the library in a new process and return what it answers.

    Parameters
    ----------
    library, encoding_name : str
    work : str
        "load": import, load, first ids. "encode": one pass over the documents of the file at
        `path`, after loading; seconds of each document. "threads": ctxengine's memory for each
        thread more that encodes them.
    path : str
        Documents with `SEPARATOR` between them.
    options
        ``digests=True``: also a digest of each document's ids, from a second pass.

    Returns
    -------
    dict
        ``seconds`` (a list for "encode"), ``rss_mb`` after loading, ``grown_mb`` after the work.
    """
    import subprocess

    import rivals
    from ctxengine.cli import contenders

    request = {
        "contenders": contenders.__file__,
        "library": library,
        "tables": vars(rivals.tables(encoding_name)),
        "work": work,
        "path": path,
        **options,
    }
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        env={**os.environ, **contenders.ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{library}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def write_documents(name: str, documents: list[str]) -> str:
    """Write documents to a file for `measure` and return its path."""
    import rivals

    assert not any(SEPARATOR in document for document in documents)
    path = rivals.folder() / f"{name}.txt"
    path.write_text(SEPARATOR.join(documents), encoding="utf-8", newline="")
    return str(path)


# --- in the new process ---


def _rss_mb() -> float:
    """Return the resident memory, without what malloc could give back at once."""
    import ctypes

    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _keep_utf8(text: str) -> None:
    """Let CPython convert a str to UTF-8 once: its memory is the text's, not a tokenizer's."""
    import ctypes

    convert = ctypes.pythonapi.PyUnicode_AsUTF8
    convert.argtypes, convert.restype = [ctypes.py_object], ctypes.c_void_p
    convert(text)


def _documents(path: str) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:  # noqa: PTH123
        return file.read().split(SEPARATOR)


def _digest(ids: list[int]) -> str:
    import array
    import hashlib

    return hashlib.sha256(array.array("I", ids).tobytes()).hexdigest()


def _encode(module: Any, contender: Any, request: dict[str, Any]) -> dict[str, Any]:
    documents = _documents(request["path"])
    encode = contender.to_buffer or contender.to_list
    encode("a word to begin with")
    for document in documents:
        _keep_utf8(document)
    before = _rss_mb()
    seconds: list[float | None] = []
    clock = time.process_time
    for document in documents:
        begin = clock()
        try:
            encode(document)
        except BaseException:  # a panic of Rust is no Exception
            seconds.append(None)
        else:
            seconds.append(clock() - begin)
    answer = {"seconds": seconds, "grown_mb": _rss_mb() - before}
    if request.get("digests"):
        answer["digests"] = [
            None if took is None else _digest(module.ids_of(encode(document)))
            for document, took in zip(documents, seconds)  # noqa: B905
        ]
    return answer


def _threads(contender: Any, request: dict[str, Any]) -> dict[str, Any]:
    import threading

    count = 4
    documents = _documents(request["path"])
    share = len(documents) // (count + 1)

    def encode(number: int) -> None:
        for document in documents[number * share : (number + 1) * share]:
            contender.to_buffer(document)

    encode(count)
    before = _rss_mb()
    barrier = threading.Barrier(count + 1)

    def work(number: int) -> None:
        encode(number)
        barrier.wait()  # all have encoded
        barrier.wait()  # and end only after the look at the memory

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    grown = _rss_mb() - before
    barrier.wait()
    for thread in threads:
        thread.join()
    return {"grown_mb": grown / count}


def _main() -> None:
    import importlib.util

    request = json.loads(sys.stdin.read())
    spec = importlib.util.spec_from_file_location("contenders", request["contenders"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tables = module.Tables(**request["tables"])
    begin = time.process_time()
    try:
        contender = module.load(request["library"], tables)
    except module.Absent as absent:
        print(json.dumps({"absent": str(absent)}))
        return
    contender.to_list("hello world")
    answer = {"seconds": time.process_time() - begin, "rss_mb": _rss_mb()}
    if request["work"] == "encode":
        answer |= _encode(module, contender, request)
    elif request["work"] == "threads":
        answer |= _threads(contender, request)
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
