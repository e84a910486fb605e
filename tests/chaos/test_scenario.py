"""Scenarios are a matter of their seeds, cover everything, and ask for nothing that cannot end well."""

from __future__ import annotations

from tests.chaos.jobs import KINDS
from tests.chaos.scenario import ALL_KINDS, GROUNDS, PACES, SERVER, Means, scenario

SEEDS = range(400)


def test_a_seed_is_a_scenario() -> None:
    assert scenario(17) == scenario(17)
    assert str(scenario(17)) == str(scenario(17))
    assert len({str(scenario(seed)) for seed in SEEDS}) == len(SEEDS)


def test_every_kind_of_fault_job_ground_and_pace_comes_up() -> None:
    scenarios = [scenario(seed) for seed in SEEDS]
    assert set().union(*(each.kinds for each in scenarios)) == ALL_KINDS
    assert {each.job.kind for each in scenarios} == set(KINDS)
    assert {each.ground for each in scenarios} == set(GROUNDS)
    assert {each.pace for each in scenarios} == set(PACES)


def test_the_server_is_killed_only_where_it_keeps_a_journal() -> None:
    for seed in SEEDS:
        each = scenario(seed)
        assert each.journal or "kill the server" not in each.kinds


def test_who_cannot_work_is_never_left_alone() -> None:
    for seed in SEEDS:
        each = scenario(seed)
        sick = [worker for worker in each.workers if worker.is_sick]
        assert len(sick) <= 1
        assert all(worker.number and worker.joins for worker in sick)
        if sick:
            touched = {fault.kind for fault in each.faults if fault.target in (0, SERVER)}
            assert touched <= {"delay", "odd pieces", "kill a slot", "freeze a slot"}


def test_a_machine_that_allows_little_does_without() -> None:
    scenarios = [scenario(seed, means=Means(("proxy",), small_disks=False, memory_groups=False)) for seed in SEEDS]
    assert {each.ground for each in scenarios} == {"proxy"}
    assert not any(worker.disk or worker.memory == "group" for each in scenarios for worker in each.workers)
    assert not set().union(*(each.kinds for each in scenarios)) & {"link down", "slow link", "fill the disk"}


def test_what_is_printed_names_every_fault() -> None:
    each = scenario(3)
    assert all(str(fault) in str(each) for fault in each.faults)
