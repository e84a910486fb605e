"""What makes a job this job and no other, as short texts that can be compared.

Decides: which changes to a script make its journal another job's. Does not know: what is done then, nor what of a
function counts (fingerprint.py). Modules beside the script count with their source.
"""

from __future__ import annotations

import hashlib

from mincemeat import usercode
from mincemeat.journal.fingerprint import fingerprint
from mincemeat.model import Job
from mincemeat.sources.base import Source
from mincemeat.usercode.envelope import decode


def describe_job(job: Job, source: Source, split: int | None) -> dict[str, str]:
    """The identity of ``job`` over ``source``: from the words for a part, as a sentence has them, to its digest."""
    functions = job.functions
    modules = decode(usercode.pack(functions._replace(splitters=()))).modules
    texts = hashlib.sha256()
    for module in modules:
        texts.update(f"{module.name}\0{len(module.source or b'')}\0".encode())
        texts.update(module.source or b"")
    return {
        **{
            name: fingerprint(getattr(functions, name))
            for name in ("mapfn", "collectfn", "reducefn", "partitionfn", "sort_values")
        },
        "a module beside the script": texts.hexdigest()[:16],
        "partitions": str(job.partitions),
        "sort": str(functions.sort),
        "split": str(split),
        "the form of the output": functions.output,
        "the kind of datasource": type(source).__name__,
    }
