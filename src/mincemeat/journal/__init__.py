"""What a coordinator writes down so that one that is started again after its death need not begin anew.

Reading order: ``log.py`` (records as lines in a file, and every kind of damage), ``history.py`` (what the records say),
``identity.py`` and ``fingerprint.py`` (what makes a job this job), ``reading.py`` (whether it can be gone on with),
``journal.py`` with ``password.py`` (one job's journal as it is written). docs/journal.md has the format.
"""

from mincemeat.journal.history import History, MapCommit, ReduceCommit, SplitGroup
from mincemeat.journal.journal import Journal

__all__ = ["History", "Journal", "MapCommit", "ReduceCommit", "SplitGroup"]
