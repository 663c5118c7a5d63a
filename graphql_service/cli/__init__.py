"""The command line, `imagesets`: data goes to standard output, everything else to standard error.

Exit status: 0 done, 1 the search or load failed, 2 the query or the arguments are wrong. Output whose reader has left
(`| head`) is done. What fails is said in one sentence, never as a traceback.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command that the program's arguments name, and ends the process with its exit status."""
    try:
        # Long enough to be interrupted.
        from graphql_service.cli.commands import main as run
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    run()
