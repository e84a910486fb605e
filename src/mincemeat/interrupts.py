"""Whose a KeyboardInterrupt is: a person's at the terminal, who wants all of this to end, or a function's of the job.

Decides: what an ``except BaseException`` around user code lets through. Does not know: what raises, or who catches.

In the process that a person started it is Ctrl-C, and passes through everything. A slot ignores Ctrl-C and has no
terminal, so there only a function can have raised it, and it is a record's failure like any other exception. So is
GeneratorExit everywhere: it comes from outside only to a ``yield``, and around none of ours does user code run.
"""

from __future__ import annotations

_ctrl_c: tuple[type[BaseException], ...] = (KeyboardInterrupt,)


def passing(*others: type[BaseException]) -> tuple[type[BaseException], ...]:
    """Ctrl-C where there may be one, and ``others``: for an ``except`` clause, which asks when something was raised."""
    return _ctrl_c + others


def never_reach_this_process() -> None:
    """From now on a KeyboardInterrupt is nobody's Ctrl-C. Said once, by a slot, whose process ignores SIGINT."""
    global _ctrl_c
    _ctrl_c = ()
