# One command each. `just --list` shows them; each line also works typed by hand.

# all tests
test:
    python -m pytest

# formatter and linter
lint:
    ruff format --check . && ruff check .

# strict types
types:
    mypy

# what lands: everything, in a fresh environment
ci:
    bash .ci/run

# a cluster in one thread, broken in every way: seeds until one fails, or so many are played
simulate seeds="2000":
    python -m tests.simulation --seeds {{seeds}}

# real processes under faults, for so many minutes; see docs/chaos.md
chaos minutes="5":
    python -m tests.chaos --minutes {{minutes}}

# events per second and bytes per task of the scheduler
bench-scheduler:
    python bench/scheduler.py

# one workload (W1 to W5) with mincemeat and its peers; see bench/README.md
bench workload="W5":
    python -m bench {{workload}}
