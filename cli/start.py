"""The `chainette` program before anything is imported. A Ctrl-C meanwhile is an interruption, no traceback."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from chainette.cli.main import main as program
    except KeyboardInterrupt:
        sys.exit(130)
    program()
