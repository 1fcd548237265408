"""``python -m ctxengine`` is ``ctxengine``."""

from __future__ import annotations

import sys

from ctxengine.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
