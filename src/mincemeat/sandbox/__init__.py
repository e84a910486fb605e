"""What a job's code may reach and use up on a worker: files, network, other processes, memory, processor time.

    plan.py       values: what was asked for, what a slot is told, what came of it
    rules.py      pure: which paths a slot may read and write, as Landlock's rights
    filters.py    pure: which system calls it may not make, as a seccomp program
    sentences.py  pure: what a person reads about it, and whether `strict` is satisfied
    kernel.py     the system calls, and nothing else
    enforce.py    the steps, in their order, in the slot's own process
    resources.py  limits of memory and processor time, which are there without a sandbox, too

Import from those files: a slot without a sandbox should not load them.
"""
