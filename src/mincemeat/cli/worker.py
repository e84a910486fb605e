"""``mincemeat worker`` and ``python -m mincemeat HOST``: join a server.

Decides: defaults that need a look at this machine. Does not know: what a worker does once it has joined.
"""

from __future__ import annotations

import signal
import sys
from argparse import Namespace

from mincemeat.arguments import check_limits_are_kept, checked_sandbox, checked_slot_limits
from mincemeat.cli.again import password_handed_on, start_again
from mincemeat.cli.ending import say, start_logging
from mincemeat.cli.password import ask_password, given_password, hide_arguments
from mincemeat.engines.processes import available_cores
from mincemeat.errors import MincemeatError


def join_server(options: Namespace) -> None:
    """Work for the server at ``options.host`` until its job is done, or for ever.

    With ``--update`` it may go on as another version, in the same process.
    Raises: InvalidJob when there is no password; what ``cluster.worker.serve`` raises.
    """
    start_logging(options)
    sandbox = checked_sandbox({None: False, "yes": True}.get(options.sandbox, options.sandbox), options.sandbox_read)
    slot_limits = checked_slot_limits(options.slot_memory, options.slot_cpu)
    check_limits_are_kept(slot_limits)
    handed_on = password_handed_on()
    if handed_on is None:
        password = given_password(options) or ask_password(options.host)
    else:  # where it once came from, there may be nothing any more
        hide_arguments(options)
        password = handed_on
    # Only now: a mistake in the command line should not wait for the network's modules.
    from mincemeat.cluster.updating import Updated, Updater
    from mincemeat.cluster.worker import serve

    try:
        serve(
            options.host,
            options.port,
            password,
            slots=options.slots or available_cores(),
            wait_seconds=options.wait,
            forever=options.forever,
            tell=say,
            drain_signal=signal.SIGTERM,
            updater=Updater(is_updated=handed_on is not None) if options.update else None,
            sandbox=sandbox,
            slot_limits=slot_limits,
        )
    except Updated as updated:
        if sys.platform == "win32":  # what exec does there, nobody expects: the terminal is given back to the shell
            raise MincemeatError(f"{updated}; start it again") from updated
        say(f"{updated}; starting again")
        start_again(password)
