"""``mincemeat token``: the join token of a server's identity, which is made if there is none.

Decides: what a person is told to do with it. Does not know: the form of either.
"""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace

from mincemeat.cli.ending import say, start_logging


def print_token(options: Namespace) -> None:
    """On standard output the token alone, on standard error what it is for. Raises: InvalidJob."""
    from mincemeat.cluster.identity import load_identity, make_identity, read_identity

    start_logging(options)
    path: str = options.identity
    if options.new and os.path.lexists(path):
        load_identity(path)  # it replaces identities, and no other file
        os.unlink(path)
    is_new = not os.path.lexists(path)
    identity = make_identity(path) if is_new else read_identity(path)
    if is_new:
        say(f"{path} is a new identity; it stays on the server's machine, for its owner to read")
    say(f"the server: mincemeat run JOBFILE --serve :PORT --identity {shlex.quote(path)}")
    say("workers: mincemeat worker --token TOKEN HOST, with this token:")
    if sys.stdout is not None:
        sys.stdout.write(identity.token.text() + "\n")
