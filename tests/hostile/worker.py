"""Runs cases in a process of its own: reads their names, prints one line of JSON for each."""

from __future__ import annotations

import json
import resource
import sys
import traceback

import api_cases  # noqa: F401 - each registers its cases
import cut_cases  # noqa: F401
import file_cases  # noqa: F401
import text_cases  # noqa: F401
import thread_cases  # noqa: F401
from cases import CASES

LIMIT_BYTES = 4 << 30  # of address space: eight threads' stacks and arenas are in it


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = sys.stdout
    sys.stdout = sys.stderr
    for name in map(str.strip, sys.stdin):
        try:
            CASES[name]()
            answer = ""
        except BaseException:
            answer = traceback.format_exc()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
