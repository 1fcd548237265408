"""Parsing, dispatch, and the one place where errors become exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from ctxengine.cli import bench, count, decode, demo, encode, models, plan
from ctxengine.cli.io import EXIT_BAD_INPUT, EXIT_NO, InputError
from ctxengine.errors import BudgetExceeded, CtxEngineError

_DESCRIPTION = """\
Tokenize, budget, hash and place LLM prompts once, natively. Works offline."""

_EPILOG = """\
first steps:
  ctxengine demo                               a support chat, planned and played on this machine
  echo 'How many tokens?' | ctxengine count    exact, for the default encoding o200k_base
  ctxengine plan request.json                  what goes into the window, and what is left out
  ctxengine COMMAND --help                     every command explains itself with examples

exit codes:
  0 done     1 the answer is no (over a limit, does not fit)     2 wrong command line
  3 bad or unreadable input     130 interrupted     141 the reader of the output went away"""

_COMMANDS = (demo, plan, count, encode, decode, models, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; those of the process when absent.

    Returns
    -------
    int
        The exit code; see :mod:`ctxengine.cli`. Wrong usage raises ``SystemExit(2)``.
    """
    if argv is None and isinstance(sys.stdout, TextIOWrapper):
        # A file's name may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help()
        return 0
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except BudgetExceeded as error:
        _complain(f"does not fit: {error}")
        return EXIT_NO
    except (InputError, CtxEngineError) as error:
        _complain(str(error))
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit; that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        _complain(f"{name}{error.strerror or error}")
        return EXIT_BAD_INPUT
    except MemoryError:
        _complain("out of memory")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctxengine",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


class _Version(argparse.Action):
    """Print the version and how the native core was built."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print version and build, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import platform

        from ctxengine import __version__

        python = f"{platform.python_implementation()} {platform.python_version()}"
        machine = f"{platform.system()} {platform.machine()}"
        print(f"ctxengine {__version__}\n{python}, {machine}\n{_cuda_line()}")
        parser.exit()


def _cuda_line() -> str:
    from ctxengine import cuda

    return "CUDA: available" if cuda.is_available() else f"CUDA: no ({cuda.why_not()})"


def _complain(message: str) -> None:
    print(f"ctxengine: {message}", file=sys.stderr)
