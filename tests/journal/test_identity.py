"""Which changes to a script make it another job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = (
    """
import collections, datetime, enum, functools, operator, re
from mincemeat.journal.identity import describe_job
from mincemeat.model import Job, UserFunctions
from mincemeat.sources.base import as_source

LIMIT = 10
WORD = re.compile("[a-z]+")
STOP = {"the", "a", "of"}
PAIRS = {("new", "york"), ("san", "jose"), ("los", "angeles")}
SINCE = datetime.date(2026, 1, 1)
WEIGHTS = collections.Counter(spam=1)

FIND = re.compile("[x-z]+").findall
LOOKUP = {"one": 1}.get
HALF = operator.methodcaller("split", "-", maxsplit=1)
FIRST = operator.itemgetter(0, 2)

class Counter:
    step = 1
    def count(self, values):
        return sum(values) * self.step

class Meta(type):
    def limit(cls):
        return 17

class Tens:
    def __get__(self, instance, owner):
        return 10

class Kept:
    def __init__(self, function, most):
        functools.update_wrapper(self, function)
        self.most = most
    def __call__(self, *arguments):
        return min(self.__wrapped__(*arguments), self.most)

class Weights(metaclass=Meta):
    __slots__ = ("_factor",)
    tens = Tens()
    def __init__(self):
        self._factor = 3
    @property
    def factor(self):
        return self._factor + 100
    @factor.setter
    def factor(self, value):
        self._factor = value + 200
    @factor.deleter
    def factor(self):
        self._factor = 300
    @staticmethod
    def shifted(value):
        return value + 400

class Lazy:
    @functools.cached_property
    def table(self):
        return {"lazy": 500}
    @functools.singledispatchmethod
    def sized(self, value):
        return 600
    @sized.register
    def _(self, value: str):
        return 700

@functools.lru_cache(maxsize=7)
def remembered(value):
    return value * 800

@functools.singledispatch
def as_number(value):
    return 900

@as_number.register
def _(value: str):
    return 1000

class Color(enum.Enum):
    RED = 1100
    @property
    def shade(self):
        return self.value + 1200

def capped(value):
    return value
capped.most = 1300
kept = Kept(lambda value: value + 1400, 1500)

def deep0(value):
    return value + 1600
"""
    + "".join(f"def deep{n}(value):\n    return deep{n - 1}(value)\n" for n in range(1, 120))
    + """
def surroundings(word):
    weights, lazy = Weights(), Lazy()
    weights.factor = 1
    del weights.factor
    return (
        FIND(word), LOOKUP(word), HALF(word), FIRST(word), weights.factor, weights.tens, weights.shifted(1),
        type(weights).limit(), lazy.table, lazy.sized(word), remembered(1), as_number(word), Color.RED.shade,
        capped.most, kept(1), deep119(1),
    )

def helper(word):
    return word.lower()

def mapfn(key, value):
    for word in WORD.findall(value):
        if word not in STOP and (key, word) not in PAIRS and len(word) < LIMIT:
            surroundings(word)
            yield helper(word), 1 + WEIGHTS[word] * SINCE.year

def reducefn(key, values):
    return Counter().count(values)

if __name__ == "__main__":
    job = Job("j", UserFunctions(mapfn, reducefn, collectfn=functools.partial(lambda a, b, c: sum(c), 1)))
    for name, digest in describe_job(job, as_source({}), None).items():
        print(name, digest, sep="=")
"""
)


def described(directory: Path, script: str, seed: str = "0") -> dict[str, str]:
    path = directory / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
    )
    return as_dict(done.stdout)


def as_dict(said: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in said.splitlines())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return described(tmp_path_factory.mktemp("original"), SCRIPT)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_script_is_the_same_job_in_every_process(tmp_path: Path, original: dict[str, str], seed: str) -> None:
    assert described(tmp_path, SCRIPT, seed) == original


def test_comments_and_lines_do_not_count(tmp_path: Path, original: dict[str, str]) -> None:
    assert (
        described(tmp_path, "# a comment\n\n" + SCRIPT.replace("yield helper", "# here\n            yield helper"))
        == original
    )


CHANGES: list[tuple[str, str, str]] = [
    ("(word), 1", "(word), 2", "mapfn"),
    ("helper(word), 1", "helper(word)[:3], 1", "mapfn"),
    ("return word.lower()", "return word.upper()", "mapfn"),
    ("LIMIT = 10", "LIMIT = 11", "mapfn"),
    ('"the", "a"', '"the", "an"', "mapfn"),
    ('"san", "jose"', '"san", "diego"', "mapfn"),
    ("[a-z]+", "[a-z]{2,}", "mapfn"),
    ("2026, 1", "2026, 2", "mapfn"),
    ("spam=1", "spam=2", "mapfn"),
    ("[x-z]", "[w-z]", "mapfn"),
    ('"one": 1', '"one": 2', "mapfn"),
    ('"split", "-"', '"split", "+"', "mapfn"),
    ("maxsplit=1", "maxsplit=2", "mapfn"),
    ("itemgetter(0, 2)", "itemgetter(0, 1)", "mapfn"),
    *((f"{number}", f"{number}9", "mapfn") for number in ("17", *(f"{place}00" for place in range(1, 17)))),
    ("return 10\n", "return 11\n", "mapfn"),
    ("self._factor = 3\n", "self._factor = 4\n", "mapfn"),
    ("@staticmethod\n    def shifted(value)", "@classmethod\n    def shifted(value)", "mapfn"),
    ("step = 1", "step = 2", "reducefn"),
    ("sum(values) *", "sum(values) +", "reducefn"),
    ("sum(c), 1)", "sum(c), 2)", "collectfn"),
    ("sum(c)", "max(c)", "collectfn"),
    ("reducefn, collectfn", "reducefn, sort=True, collectfn", "sort"),
    ('Job("j",', 'Job("j", partitions=7, functions=', "partitions"),
    ("as_source({}), None", "as_source({}), 5", "split"),
]


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], dict[str, str]]:
    """What ``describe_job`` says after each of ``CHANGES``: in a process each, with imports from one."""
    directory = tmp_path_factory.mktemp("variants")
    paths = [directory / f"{number}.py" for number in range(len(CHANGES))]
    for path, (old, new, _) in zip(paths, CHANGES, strict=True):
        assert old in SCRIPT
        path.write_text(SCRIPT.replace(old, new))
    program = """
import os, runpy, sys
import cloudpickle, mincemeat.journal.identity
for path in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        with open(path + ".said", "w") as sys.stdout:
            runpy.run_path(path, run_name="__main__")
        sys.stdout = sys.__stdout__
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        sys.exit(path)
"""
    subprocess.run([sys.executable, "-c", program, *map(str, paths)], check=True, env={"PYTHONHASHSEED": "0"})
    said = [Path(f"{path}.said").read_text() for path in paths]
    return dict(zip(CHANGES, map(as_dict, said), strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_is_named(
    variants: dict[tuple[str, str, str], dict[str, str]], original: dict[str, str], change: tuple[str, str, str]
) -> None:
    now = variants[change]
    assert {name for name in original if now[name] != original[name]} == {change[2]}


def test_modules_beside_the_script_count(tmp_path: Path) -> None:
    script = SCRIPT.replace("LIMIT = 10", "import beside\nLIMIT = 10").replace("word.lower()", "beside.lower(word)")
    (tmp_path / "beside.py").write_text("def lower(word):\n    return word.lower()\n")
    before = described(tmp_path, script)
    (tmp_path / "beside.py").write_text("def lower(word):\n    return word.upper()\n")
    now = described(tmp_path, script)
    assert {name for name in before if now[name] != before[name]} == {"a module beside the script"}


def test_a_closure_that_a_module_beside_the_script_made_counts(tmp_path: Path) -> None:
    """It counted with its name, because its module is not the script's; but it travels with all that is in it."""
    script = SCRIPT.replace("def mapfn(key, value):", "import beside\nmapfn = beside.made(3)\ndef unused(key, value):")
    (tmp_path / "beside.py").write_text(
        "def made(n):\n    def inner(key, value):\n        yield n, 1\n    return inner\n"
    )
    before = described(tmp_path, script)
    assert described(tmp_path, script) == before  # its module is loaded from a cache now
    now = described(tmp_path, script.replace("made(3)", "made(4)"))
    assert {name for name in before if now[name] != before[name]} == {"mapfn"}
    (tmp_path / "beside.py").write_text(
        "def made(n):\n    def inner(key, value):\n        yield n, 2000\n    return inner\n"
    )
    now = described(tmp_path, script)
    assert "mapfn" in {name for name in before if now[name] != before[name]}


def test_a_package_that_is_registered_to_travel_by_value_counts_with_all_that_is_below_it(tmp_path: Path) -> None:
    package = tmp_path / "registered"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "below.py").write_text("def lower(word):\n    return word.lower()\n")
    script = SCRIPT.replace(
        "LIMIT = 10",
        "import cloudpickle, registered.below\ncloudpickle.register_pickle_by_value(registered)\nLIMIT = 10",
    ).replace("word.lower()", "registered.below.lower(word)")
    before = described(tmp_path, script)
    # Of another size: Python may not notice the change of a module by its time alone.
    (package / "below.py").write_text("def lower(word):\n    return word.upper() + '!'\n")
    now = described(tmp_path, script)
    assert "mapfn" in {name for name in before if now[name] != before[name]}


def test_objects_that_refer_to_each_other_in_circles_are_described(tmp_path: Path) -> None:
    circle = """LIMIT = 10
class Node:
    def __init__(self, name):
        self.name, self.others = name, set()
one, two = Node("one"), Node("two")
one.others.add(two)
two.others.add(one)
STOPS = {one, two}
HUGE = 10**5000
"""
    script = SCRIPT.replace("LIMIT = 10", circle).replace("len(word) < LIMIT", "len(word) < LIMIT + len(STOPS) + HUGE")
    before = described(tmp_path, script)
    assert described(tmp_path, script, "3") == before
    now = described(tmp_path, script.replace('Node("two")', 'Node("three")'))
    assert {name for name in before if now[name] != before[name]} == {"mapfn"}
