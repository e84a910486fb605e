"""Chaos: real processes, real TLS, and everything that can go wrong at once; the answer must be that of a plain loop.

A seed makes a scenario (scenario.py): a job, some workers, and faults with their moments. It is played (play.py) by
real processes (stage.py) whose connections pass through a proxy that cuts, holds and garbles them (proxy.py), or
through network namespaces (namespaces.py). What is left afterwards is looked for (leftovers.py). docs/chaos.md tells
how to use it.

The scenario of a seed is always the same; what comes of it depends on the machine's mood, so a failure may need the
seed several times. tests/simulation has no such moods, and no real kernel either.
"""
