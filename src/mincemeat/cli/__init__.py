"""The command line: join a server as a worker, run a job file, run a record that failed again, or print a join token.

Decides: nothing but which command is meant. The package imports this file always, so everything that a command needs
(argparse first of all) is imported when there is a command.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main", "run_client"]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line ``argv`` (default: this process's own); the exit code.

    Exit codes: 0 done; 1 failed or refused, with a sentence on standard error; 2 not understood; 128 + the signal's
    number when ended by a signal, so 130 for Ctrl-C. Of ``replay``: 0 the record does not fail now, 1 it does, 2 it
    cannot be run again.
    Raises: SystemExit for ``--help``, ``--version`` and what is not understood, as argparse does.
    """
    from mincemeat.cli.ending import carry_out
    from mincemeat.cli.parser import parse

    options = parse(argv)

    def command() -> None:
        # The imports are the slow half of a small job: Ctrl-C must find somebody who knows how to end.
        if options.command == "run":
            from mincemeat.cli.run import run_job_file

            run_job_file(options)
        elif options.command == "replay":
            from mincemeat.cli.replay import replay

            replay(options)
        elif options.command == "token":
            from mincemeat.cli.token import print_token

            print_token(options)
        else:
            from mincemeat.cli.worker import join_server

            join_server(options)

    return carry_out(command, loud=options.loud, refused=2 if options.command == "replay" else 1)


def run_client() -> None:
    """Join the server that this process's command line names, and work until its job is done.

    The original's entry point, for scripts that call it.
    Raises: SystemExit with the exit code of ``main``, unless that is 0.
    """
    code = main()
    if code:
        raise SystemExit(code)
