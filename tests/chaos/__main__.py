"""``python -m tests.chaos``: one seed, some, or as many as there is time for; stops at the first finding."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests.chaos.means import means_here
from tests.chaos.planted import PATIENCE_SECONDS, PLANTS
from tests.chaos.play import KILLED_BY_KERNEL, ChaosFound, Outcome, play
from tests.chaos.scenario import ALL_KINDS, GROUNDS, PACES, Means, Scenario, scenario


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one; without it: a new one for each moment")
    parser.add_argument("--count", type=int, default=1, help="so many seeds, one after the other")
    parser.add_argument("--minutes", type=float, help="go on for so long instead")
    parser.add_argument("--pace", choices=list(PACES), help="limits for all scenarios, instead of the seed's own")
    parser.add_argument("--ground", choices=GROUNDS, help="only scenarios on this ground")
    parser.add_argument("--planted", action="store_true", help="play the faults of planted.py, which must be found")
    parser.add_argument("--story", action="store_true", help="print what happened and was said, also if all is well")
    parser.add_argument("--show", action="store_true", help="print the scenarios and do not play them")
    options = parser.parse_args(words)
    if options.planted:
        return play_planted()
    seed = int(time.time()) if options.seed is None else options.seed
    means, reasons = means_here()
    for reason in reasons:
        print(reason)
    table = Table()
    for each in _scenarios(seed, options, means):
        if options.show:
            print(each)
            continue
        print(each if options.count == 1 and options.minutes is None else str(each).splitlines()[0], flush=True)
        try:
            outcome = play(each)
        except ChaosFound as error:
            print(f"FOUND with seed {each.seed}:\n{error}")
            print(table)
            return 1
        table.add(outcome)
        if options.story:
            print(outcome.story)
        print(f"  {outcome.seconds:.1f} s, of which {outcome.recovery_seconds:.1f} s after the last fault: "
              f"{dict(outcome.happened)}", flush=True)  # fmt: skip
    if not options.show:
        print(table)
    return 0


def play_planted() -> int:
    found = 0
    for name, each in PLANTS.items():
        try:
            play(each.scenario, plant=name, patience_seconds=PATIENCE_SECONDS)
        except ChaosFound as error:
            is_it = each.found in str(error)
            print(f"{'found' if is_it else 'SOMETHING ELSE FOUND'}: {name}\n{'' if is_it else error}", flush=True)
            found += is_it
        else:
            print(f"NOT FOUND: {name}", flush=True)
    print(f"found {found} of {len(PLANTS)}")
    return 0 if found == len(PLANTS) else 1


def _scenarios(seed: int, options: argparse.Namespace, means: Means) -> Iterator[Scenario]:
    give_up_at = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    played = 0
    for number in itertools.count(seed):
        if played >= options.count if give_up_at is None else time.monotonic() > give_up_at:
            return
        each = scenario(number, means=means, pace=options.pace)
        if options.ground in (None, each.ground):
            played += 1
            yield each


class Table:
    """What was done to how many jobs."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    def __str__(self) -> str:
        happened: Counter[str] = Counter()
        for outcome in self._outcomes:
            happened.update(outcome.happened)
        lines = [f"{kind:40} {happened[kind]:6}" for kind in sorted(ALL_KINDS | {KILLED_BY_KERNEL})]
        lines.append(f"{'faults':40} {happened.total():6}")
        lines.append(f"{'... whose moment did not come':40} {sum(each.missed for each in self._outcomes):6}")
        lines.append(f"{'jobs, all of them right':40} {len(self._outcomes):6}")
        if self._outcomes:
            slowest = max(each.recovery_seconds for each in self._outcomes)
            lines.append(f"{'slowest end after the last fault, s':40} {slowest:6.1f}")
        return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
