"""The ``ctxengine`` command line: one module per command, each small.

Exit codes, for scripts:

    0     done, and the answer is yes
    1     done, and the answer is no: over the limit, or what must be kept does not fit
    2     the command line itself is wrong
    3     a file cannot be read or written, or holds something else than it must
    130   interrupted from the keyboard
    141   the reader of our output went away
"""

from __future__ import annotations

from ctxengine.cli.app import main

__all__ = ["main"]
