"""The command line, `imagesets`: data goes to standard output, everything else to standard error.

Exit status: 0 done, 1 the search or load failed, 2 the query or the arguments are wrong. What fails is said in one
sentence, never as a traceback.
"""

from graphql_service.cli.commands import main

__all__ = ["main"]
