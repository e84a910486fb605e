"""Bytes of a worker that lies: whatever they say, nothing runs and nothing is changed, and the job is told why."""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from mincemeat.attempt import run_reduce
from mincemeat.decoding import mentions
from mincemeat.decoding.coding import PLAIN, DataCoding
from mincemeat.engines.blame import job_error
from mincemeat.errors import InvalidEmission, JobFailed, RefusedAsData
from mincemeat.model import AttemptId, Failure, FailureKind, UserFunctions
from mincemeat.result_file import iter_results
from mincemeat.set_aside import Report, SetAside
from mincemeat.shuffle.block import CODEC_PICKLE, Payload
from mincemeat.shuffle.store import JobStore
from tests.kit import classes
from tests.kit.gadgets import JOB, Gadget, gadgets, old_pickles

MAP, REDUCE = AttemptId.parse("m-00000.0"), AttemptId.parse("r-00000.0")
# Their names are those of data; what they are told is refused by the function itself, which plain pickle finds, too.
REFUSED_AS_THEY_ARE_MADE = {
    "an own dtype of another language",
    "an array of pointers",
    "an array larger than its bytes",
    "a zone that is a path",
    "errors.rebuild of a class of others",
}
NAMES = [gadget.name for gadget in gadgets("/nowhere")]


@pytest.fixture(autouse=True, scope="module", params=["compiled", "plain"])
def _each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "compiled" and mentions.compiled is None:
        pytest.skip("the compiled module is not there")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(mentions, "compiled", None)
        copyreg.add_extension(JOB, "helper", 0xF0)
        pickle.loads(b"\x80\x05\x82\xf0.")  # as a pickle of the process's own may have done: now it is in a cache
        yield
        copyreg.remove_extension(JOB, "helper", 0xF0)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def gadget_called(name: str, canary: Path) -> Gadget:
    return next(gadget for gadget in gadgets(str(canary)) if gadget.name == name)


def check_quiet(canary: Path) -> None:
    assert not canary.exists()
    assert classes.Color.RED.value == 1
    assert classes.Point(1).moved(2) == classes.Point(3)
    assert "__setstate__" not in vars(classes.Point)


def write_block(store: JobStore, attempt: AttemptId, data: bytes) -> None:
    with store.writing(attempt) as writer:
        writer.append(0, Payload(data, CODEC_PICKLE), keys=1, pairs=1, single=True)
    store.commit(attempt)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_bytes_run_nothing(name: str, canary: Path, tmp_path: Path) -> None:
    """As map output in another worker's slot, as a result, an exception and a report in the caller's process."""
    gadget = gadget_called(name, canary)
    coding = DataCoding([JOB])
    with pytest.raises(RefusedAsData):
        coding.loads(gadget.as_value())
    assert coding.is_data(gadget.as_value()) is (name in REFUSED_AS_THEY_ARE_MADE)

    store = JobStore(tmp_path / "store")
    write_block(store, MAP, gadget.as_columns())
    with pytest.raises(InvalidEmission, match="is refused"):
        run_reduce(
            UserFunctions(as_data=True),
            store.spans(MAP, range(1)),
            range(1),
            store,
            REDUCE,
            memory_bytes=2**20,
            coding=coding,
        )
    with pytest.raises(InvalidEmission, match="is refused"):
        list(iter_results(store.path(MAP), coding=coding))

    failure = Failure(
        FailureKind.USER, "no good", exception_type="Odd", exception=gadget.as_value(), data=gadget.as_value()
    )
    error = job_error(failure, coding=coding)
    assert isinstance(error, JobFailed)
    left = gadget.as_value() if name in REFUSED_AS_THEY_ARE_MADE else b""
    assert (error.exception_type, error.reason, error.data) == ("Odd", "no good", left)
    report = Report()
    report.add(failure)
    reports = SetAside(coding)
    reports.committed(MAP, report.encode())
    (told,) = reports.failures()
    assert (told.exception, told.exception_type, told.message, told.data) == (None, "Odd", "no good", left)
    check_quiet(canary)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", [gadget.name for gadget in gadgets("/nowhere") if gadget.fires])
def test_control_plain_pickle_is_taken_in(name: str, canary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the canary not created here, the tests above would show nothing."""
    monkeypatch.chdir(canary.parent)
    try:
        PLAIN.loads(gadget_called(name, canary).as_value())
    except Exception:  # noqa: BLE001 - what comes after it does not matter
        pass
    assert any(path.name.startswith("canary") for path in canary.parent.iterdir())


def test_control_a_worker_that_is_trusted_can_run_code_in_a_slot(canary: Path, tmp_path: Path) -> None:
    store = JobStore(tmp_path / "store")
    write_block(store, MAP, gadget_called("os.mkdir", canary).as_columns())
    run_reduce(UserFunctions(), store.spans(MAP, range(1)), range(1), store, REDUCE, memory_bytes=2**20)
    assert canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_older_protocols_are_refused(protocol: int, canary: Path) -> None:
    coding = DataCoding([JOB])
    with pytest.raises(RefusedAsData):
        coding.loads(old_pickles(str(canary))[protocol][1])
    if protocol < 4:
        with pytest.raises(RefusedAsData, match="begins no pickle of protocol 4 or 5"):
            coding.loads(pickle.dumps(([1], [2]), protocol))
    check_quiet(canary)


def test_names_are_no_names_of_another_job() -> None:
    data = pickle.dumps(classes.Point(1), 5)
    assert DataCoding([JOB]).loads(data) == classes.Point(1)
    for modules in ([], ["tests.kit"], ["tests.kit.classes.Point"], ["tests"]):
        with pytest.raises(RefusedAsData, match="tests.kit.classes.Point is neither plain data nor"):
            DataCoding(modules).loads(data)


def test_a_module_that_is_meant_to_be_run_is_not_imported() -> None:
    coding = DataCoding(["tests.chaos.__main__"])
    data = b"\x80\x05\x8c\x14tests.chaos.__main__\x8c\x01X\x93)\x81."
    with pytest.raises(RefusedAsData, match="is not imported here"):
        coding.loads(data)


def test_names_that_were_judged_are_the_only_ones_the_unpickler_finds() -> None:
    """The second barrier, should the two readings ever disagree."""
    import io

    from mincemeat.decoding.coding import _Unpickler

    for data in (b"\x80\x05cos\nsystem\n.", b"\x80\x05\x8c\x02os\x8c\x06system\x93.", b"\x80\x05Pid\n."):
        with pytest.raises(RefusedAsData):
            _Unpickler(io.BytesIO(data), {}).load()
