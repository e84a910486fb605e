"""The script of the person whose job it is: ``python -m tests.chaos.server DIRECTORY``. Started again, it goes on.

``DIRECTORY/job.json`` says what the job is; the answer is laid down in DIRECTORY, whole or not at all.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import mincemeat
from mincemeat import limits
from tests.chaos.jobs import KINDS, SERVER_PID, JobPlan, functions
from tests.chaos.planted import PLANT, plant

# A kill of a slot looks like a record that crashes, and a full disk like a failure: neither may use up a task here.
MAX_ATTEMPTS = 200


def main(directory: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S")
    told: dict[str, Any] = json.loads((directory / "job.json").read_text("utf-8"))
    for name, value in told["limits"].items():
        setattr(limits, name, value)
    os.environ[SERVER_PID] = str(os.getpid())
    plant(os.environ.get(PLANT, ""))
    plan = JobPlan(**told["plan"])
    options = dict(KINDS[plan.kind])
    if "output" in options:
        options["output"] = f"{directory}/{options['output']}"  # a slash at its end means something
    if told["journal"]:
        options["journal"] = str(directory / "job.journal")
    job = functions(plan, directory / "notes", directory / "gate")
    server = mincemeat.Server(
        plan.datasource(),
        job["mapfn"],
        job["reducefn"],
        job.get("collectfn"),
        split=plan.split,
        partitions=plan.partitions,
        max_attempts=MAX_ATTEMPTS,
        progress=False,
        **options,
    )
    results = server.run_server(
        os.environ["MINCEMEAT_PASSWORD"], told["port"], host=told["host"], workers=told["local_workers"]
    )
    if "output" not in options:
        unfinished = directory / "answer.unfinished"
        unfinished.write_bytes(pickle.dumps(list(results.items())))
        unfinished.rename(directory / "answer")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
