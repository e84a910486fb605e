"""Map outputs that are made again and differ: who has read the first one, and what becomes of that."""

from __future__ import annotations

import pytest

from mincemeat.model import FailureKind, Phase, TaskId
from mincemeat.scheduler import AttemptDone, CancelAttempt, DropOutput, DropResult, Instruction, JobState, WorkerJoined
from mincemeat.scheduler.digests import Digests, differing, overlap, parse_digests
from tests.scheduler.kit import Stage, attempt, is_finished, of_kind, starts, verdict


def digests(*numbers: int, additive: bool = True) -> Digests:
    return Digests(additive, b"".join([number.to_bytes(8, "big") for number in numbers]))


SAME = digests(1, 2, 3, 4)


class Scene(Stage):
    """Four partitions, a reduce task for each; map outputs have digests."""

    def __init__(self, on_nondeterminism: str = "raise") -> None:
        super().__init__(reduce_task_bytes=1, on_nondeterminism=on_nondeterminism)

    def mapped(self, worker: str, name: str, known: Digests | None = SAME) -> list[Instruction]:
        return self.send(AttemptDone(worker, attempt(name), (1, 1, 1, 1), digests=known))

    def reducing(self) -> None:
        """m-0 lies on a, m-1 on b, r-0 runs on a and r-1 on b; c runs r-2."""
        self.join("a", "b")
        self.split(2)
        self.exhaust()
        self.mapped("a", "m-00000.0")
        self.mapped("b", "m-00001.0")
        self.join("c")
        assert [name for _, name in self.running()] == ["r-00000.0", "r-00001.0", "r-00002.0"]


def committed_then_lost(on_nondeterminism: str) -> Scene:
    """r-1 is committed, r-0 went with a and its output, m-0; b makes that again, c runs r-2."""
    scene = Scene(on_nondeterminism)
    scene.reducing()
    scene.leave("a")
    assert starts(scene.done("b", "r-00001.0")) == [("b", "m-00000.1")]
    assert scene.running() == [("b", "m-00000.1"), ("c", "r-00002.0")]
    return scene


@pytest.mark.parametrize("on_nondeterminism", ["raise", "restart", "ignore"])
def test_an_output_that_is_the_same_again_changes_nothing(on_nondeterminism: str) -> None:
    scene = committed_then_lost(on_nondeterminism)
    said = scene.mapped("b", "m-00000.1")
    assert said == [said[0]]
    assert starts(said) == [("b", "r-00000.1")]


def test_another_output_fails_the_job_and_says_what_differs_where() -> None:
    scene = committed_then_lost("raise")
    end = verdict(scene.mapped("b", "m-00000.1", digests(1, 99, 3, 4)))
    assert (end.task, end.attempt) == (TaskId(Phase.MAP, 0), attempt("m-00000.1"))
    assert end.failure.kind is FailureKind.NONDETERMINISM
    for words in (
        "map task m-00000 gave other pairs when it was carried out again",
        "m-00000.0 on worker a (its output was lost, worker left: gone)",
        "m-00000.1 on worker b differ in partition 1 (of 4)",
        "r-00001 has reduced",
        "a mixture of two runs",
        "on_nondeterminism=",
    ):
        assert words in end.failure.message
    assert scene.state is JobState.FAILED


def test_another_output_has_those_who_read_the_first_start_again() -> None:
    scene = committed_then_lost("restart")
    said = scene.mapped("b", "m-00000.1", digests(1, 99, 3, 4))
    assert of_kind(said, DropResult) == [DropResult(attempt("r-00001.0"))]
    assert of_kind(said, CancelAttempt) == []  # r-2 has read what is there still
    assert scene.machine.counts().reduce_committed == 0
    assert starts(said) == [("b", "r-00000.1")]
    assert starts(scene.done("b", "r-00000.1")) == [("b", "r-00001.1")]


def test_what_differs_only_where_nobody_has_read_is_as_good() -> None:
    """Those partitions were not reduced: what is reduced later is of the second run, and so is what was before."""
    scene = committed_then_lost("raise")
    said = scene.mapped("b", "m-00000.1", digests(99, 2, 3, 99))
    assert starts(said) == [("b", "r-00000.1")]
    assert len(said) == 1


@pytest.mark.parametrize("on_nondeterminism", ["raise", "restart"])
def test_attempts_that_only_run_start_again_without_ado(on_nondeterminism: str) -> None:
    scene = committed_then_lost(on_nondeterminism)
    said = scene.mapped("b", "m-00000.1", digests(1, 2, 99, 4))
    assert of_kind(said, CancelAttempt) == [CancelAttempt("c", attempt("r-00002.0"))]
    assert scene.state is JobState.REDUCE
    assert scene.machine.counts().failed_attempts == 0
    assert [name for _, name in starts(said)] == ["r-00000.1", "r-00002.1"]


def test_ignored_it_is_not_even_looked_at() -> None:
    scene = committed_then_lost("ignore")
    said = scene.mapped("b", "m-00000.1", digests(9, 9, 9, 9))
    assert starts(said) == [("b", "r-00000.1")]
    assert len(said) == 1


@pytest.mark.parametrize("known", [None, digests(9, 9)])
def test_without_digests_nothing_can_be_said(known: Digests | None) -> None:
    scene = committed_then_lost("raise")
    assert starts(scene.mapped("b", "m-00000.1", known)) == [("b", "r-00000.1")]


def test_attempts_that_read_the_second_output_have_nothing_to_do_with_it() -> None:
    scene = committed_then_lost("restart")
    said = scene.mapped("b", "m-00000.1", digests(1, 2, 3, 99))
    assert starts(said) == [("b", "r-00000.1")]
    assert starts(scene.done("b", "r-00000.1")) == [("b", "r-00003.0")]  # reads the second output of m-0, and b's m-1
    scene.join("d")
    scene.unreachable("c", "r-00002.0", 0)  # that is lost, too
    said = []
    while maps := [(worker, name) for worker, name in scene.running() if name.startswith("m")]:
        for worker, name in maps:
            said = scene.mapped(worker, name, digests(1, 2, 99, 99))
    # r-3 has read what is there again, in its partition; and r-2, which has not, had not committed.
    assert of_kind(said, CancelAttempt) == []
    assert of_kind(said, DropResult) == []
    assert ("b", "r-00003.0") in scene.running()


def test_losses_of_the_map_phase_were_read_by_nobody() -> None:
    scene = Scene()
    scene.join("a", "b")
    scene.split(2)
    scene.mapped("a", "m-00000.0")
    scene.leave("a")
    scene.exhaust()
    scene.mapped("b", "m-00001.0")
    scene.mapped("b", "m-00000.1", digests(9, 9, 9, 9))
    assert scene.state is JobState.REDUCE
    assert scene.machine.ledger.lost_outputs == {}


def test_a_job_whose_results_are_all_there_does_not_wait_for_the_comparison() -> None:
    """All of them have read the first output."""
    scene = Scene("raise")
    scene.reducing()
    scene.done("a", "r-00000.0")
    scene.done("b", "r-00001.0")
    scene.leave("c")
    while [name for _, name in scene.running() if name.startswith("r")] and not scene.machine.is_over:
        for worker, name in scene.running():
            scene.done(worker, name) if name.startswith("r") else None
    assert scene.state is JobState.DONE


def group_lost(on_nondeterminism: str = "raise") -> Scene:
    """m-0 and m-1 were one attempt on a, and are made again on b; r-0 is committed."""
    scene = Scene(on_nondeterminism)
    scene.join("a", "b")
    scene.group(2)
    scene.exhaust()
    scene.mapped("a", "m-00000.0", digests(10, 20, 30, 40))
    assert scene.running() == [("a", "r-00001.0"), ("b", "r-00000.0")]
    scene.leave("a")
    said = scene.done("b", "r-00000.0")
    assert starts(said) == [("b", "m-00000.1")]
    assert list(scene.machine.splits_of(attempt("m-00000.1"))) == [0, 1]
    return scene


def test_several_splits_are_made_again_together_and_compared() -> None:
    scene = group_lost()
    assert starts(scene.mapped("b", "m-00000.1", digests(10, 20, 30, 40))) == [("b", "r-00001.1")]
    assert verdict(group_lost().mapped("b", "m-00000.1", digests(11, 20, 30, 40)))


@pytest.mark.parametrize(("additive", "second", "fails"), [(True, 7, False), (True, 8, True), (False, 8, False)])
def test_made_again_one_by_one_their_digests_are_added_up_if_they_can_be(
    additive: bool, second: int, fails: bool
) -> None:
    scene = group_lost()
    scene.lose("b", "m-00000.1")
    assert scene.running() == [("b", "m-00000.2")]
    said = scene.mapped("b", "m-00000.2", digests(3, 5, 3, 4, additive=additive))
    assert starts(said) == [("b", "m-00001.2")]
    scene.mapped("b", "m-00001.2", digests(second, 15, 27, 36))
    assert scene.machine.is_over is fails


def test_lost_a_second_time_while_others_are_missing_the_first_is_what_counts() -> None:
    """Nobody can have read what was there only in between."""
    scene = group_lost()
    scene.join("d")
    scene.lose("b", "m-00000.1")
    running = {name: worker for worker, name in scene.running()}
    scene.mapped(running["m-00000.2"], "m-00000.2", digests(77, 77, 77, 77))
    scene.leave(running["m-00000.2"])
    while maps := [(worker, name) for worker, name in scene.running() if name.startswith("m")]:
        for worker, name in maps:
            scene.mapped(worker, name, digests(5, 10, 15, 20))
    assert not scene.machine.is_over


def test_nothing_is_said_of_further_outputs_when_the_first_that_comes_back_fails_the_job() -> None:
    """The worker was told to drop the next one, behind the end of the job."""
    scene = Scene()
    scene.join("a", "b")
    scene.split(2)
    scene.mapped("a", "m-00000.0")
    scene.mapped("b", "m-00001.0")
    scene.leave("a")
    scene.mapped("b", "m-00000.1", digests(9, 9, 9, 9))
    scene.exhaust()
    scene.done("b", "r-00000.0")
    scene.leave("b")
    said = scene.send(WorkerJoined("c", 1, (attempt("m-00000.0"), attempt("m-00009.0")), host="a"))
    assert verdict(said).failure.kind is FailureKind.NONDETERMINISM
    assert of_kind(said, DropOutput) == []


def test_a_restarted_job_ends_when_everything_was_reduced_from_one_run() -> None:
    scene = committed_then_lost("restart")
    said = scene.mapped("b", "m-00000.1", digests(9, 9, 9, 9))
    while not scene.machine.is_over:
        for worker, name in scene.running():
            said = scene.done(worker, name)
    assert is_finished(said)
    committed = [task.committed.id for task in scene.machine.ledger.reduce.tasks if task.committed is not None]
    assert [str(name) for name in committed] == ["r-00000.1", "r-00001.1", "r-00002.1", "r-00003.0"]


# -- digests -------------------------------------------------------------------------------------------------


def test_text_of_digests_is_read_as_it_was_written() -> None:
    found = parse_digests("+" + "00000000000000ff" * 4, 4)
    assert found == digests(255, 255, 255, 255)
    assert parse_digests("", 4) is None
    assert parse_digests("=" + "0" * 16 * 32, 65_536) == Digests(False, bytes(256))


@pytest.mark.parametrize("text", ["+", "+00", "!" + "0" * 64, "+" + "g" * 64, "+" + "0" * 80, "0" * 64, "+" + " " * 64])
def test_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_digests(text, 4)


def test_ranges_cover_all_partitions_and_neighbours_are_one() -> None:
    for partitions in (1, 2, 31, 32, 33, 64, 100, 65_536):
        ranges = min(partitions, 32)
        first, again = Digests(True, bytes(8 * ranges)), Digests(True, b"\1" * 8 * ranges)
        assert differing(first, [again], partitions) == [range(partitions)]
        for place in range(ranges):
            changed = bytearray(8 * ranges)
            changed[8 * place] = 1
            [found] = differing(first, [Digests(True, bytes(changed))], partitions)
            assert {partition * ranges // partitions for partition in found} == {place}
            assert overlap(range(found.start, found.start + 1), [found])
            assert not overlap(range(found.stop, found.stop + 5), [found])


def test_sums_of_digests_wrap_around() -> None:
    assert differing(digests(1), [digests(2**64 - 1), digests(2)], 1) == []
