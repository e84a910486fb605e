"""``mincemeat worker`` and ``python -m mincemeat HOST``: join a server.

Decides: defaults that need a look at this machine. Does not know: what a worker does once it has joined.
"""

from __future__ import annotations

import signal
from argparse import Namespace

from mincemeat.cli.ending import say, start_logging
from mincemeat.cli.password import ask_password, given_password
from mincemeat.engines.processes import available_cores


def join_server(options: Namespace) -> None:
    """Work for the server at ``options.host`` until its job is done, or for ever.

    Raises: InvalidJob when there is no password; what ``cluster.worker.serve`` raises.
    """
    start_logging(options)
    password = given_password(options)
    if password is None:
        password = ask_password(options.host)
    # Only now: a mistake in the command line should not wait for the network's modules.
    from mincemeat.cluster.worker import serve

    serve(
        options.host,
        options.port,
        password,
        slots=options.slots or available_cores(),
        wait_seconds=options.wait,
        forever=options.forever,
        tell=say,
        drain_signal=signal.SIGTERM,
    )
