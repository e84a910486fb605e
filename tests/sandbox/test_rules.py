from __future__ import annotations

import pytest

from mincemeat.sandbox import rules
from mincemeat.sandbox.rules import Python, Right, Rule, handled, is_above, python_paths, rights_of

HOME = "/home/ada"
PYTHON = Python(
    ("/home/ada/project", "/usr"), ("/usr/lib/python3.11",), "/home/ada/project/lib/site-packages/mincemeat"
)


def all_rules(read: tuple[str, ...] = (), python: Python = PYTHON) -> dict[str, Right]:
    found = rules.rules(
        python,
        process=77,
        scratch="/tmp/mincemeat-x",
        outputs=("/tmp/mincemeat-x/blocks",),
        temporary="/tmp/mincemeat-x/tmp",
        read=read,
        home=HOME,
    )
    return {rule.path: rule.rights for rule in found}


def opened(path: str, read: tuple[str, ...] = (), python: Python = PYTHON) -> Right:
    """What may be done at ``path``: the rights of all rules above it."""
    rights = Right(0)
    for place, allowed in all_rules(read, python).items():
        if f"{path}/".startswith(f"{place.rstrip('/')}/"):
            rights |= allowed
    return rights


@pytest.mark.parametrize(
    "secret",
    ["/home/ada/.ssh/id_ed25519", "/home/ada/project/password.txt", "/etc/passwd", "/etc/shadow", "/root",
     "/proc/1/environ", "/proc/76/mem", "/dev/shm", "/dev/tty", "/run/user/1000/bus", "/var/run/docker.sock",
     "/tmp/other", "/data"],
)  # fmt: skip
def test_what_nobody_lists_is_closed(secret: str) -> None:
    assert not opened(secret)


def test_only_three_places_can_be_written_besides_devices() -> None:
    writable = {path for path, rights in all_rules(("/data",)).items() if rights & ~(Right.READ_FILE | Right.READ_DIR)}
    writable = {path for path in writable if all_rules()[path] & Right.WRITE_FILE}
    assert {path for path in writable if not path.startswith("/dev/")} == {
        "/tmp/mincemeat-x/blocks",
        "/tmp/mincemeat-x/tmp",
    }


def test_what_a_user_lists_can_be_read_and_not_executed() -> None:
    assert opened("/data/logs/2026.log", read=("/data/logs",)) == Right.READ_FILE | Right.READ_DIR


def test_no_link_or_pipe_can_be_laid_where_the_worker_reads() -> None:
    outputs = all_rules()["/tmp/mincemeat-x/blocks"]
    assert not outputs & (Right.MAKE_SYM | Right.MAKE_FIFO | Right.MAKE_SOCK | Right.MAKE_CHAR | Right.MAKE_BLOCK)
    assert not outputs & Right.REFER, "a link could be moved there"


def test_where_the_worker_writes_slots_only_read() -> None:
    assert opened("/tmp/mincemeat-x/code") == Right.READ_FILE | Right.READ_DIR


def test_nothing_is_executed_from_where_a_slot_writes() -> None:
    for place in ("/tmp/mincemeat-x/blocks", "/tmp/mincemeat-x/tmp"):
        assert not opened(f"{place}/program") & Right.EXECUTE


def test_an_environment_in_a_projects_directory_does_not_open_the_project() -> None:
    assert opened("/home/ada/project/lib/python3.11/site-packages/numpy") & Right.READ_FILE
    assert not opened("/home/ada/project/data.csv")


def test_a_package_beside_private_files_opens_itself_only() -> None:
    one_file = Python(("/usr",), ("/home/ada",), "/home/ada/mincemeat")
    assert opened("/home/ada/mincemeat/api.py", python=one_file)
    assert not opened("/home/ada/taxes.ods", python=one_file)


def test_a_checkout_on_the_search_path_opens_its_package_only() -> None:
    checkout = Python(("/usr",), ("/srv/mincemeat/src",), "/srv/mincemeat/src/mincemeat")
    assert opened("/srv/mincemeat/src/mincemeat/api.py", python=checkout)
    assert not opened("/srv/mincemeat/src/secret", python=checkout)


@pytest.mark.parametrize("entry", ["/home/ada", "/home", "/", "/home/ada/"])
def test_a_search_path_that_would_open_the_home_is_left_out(entry: str) -> None:
    python = Python(("/usr",), (entry, "/srv/libraries"), "/srv/site-packages/mincemeat")
    assert entry not in python_paths(python, HOME)
    assert "/srv/libraries" in python_paths(python, HOME)


def test_relative_search_paths_are_left_out() -> None:
    python = Python((), ("lib", ""), "/srv/site-packages/mincemeat")
    assert python_paths(python, HOME) == ["/srv/site-packages", "/srv/site-packages/mincemeat"]


@pytest.mark.parametrize(
    ("path", "is_so"),
    [("/", True), ("/home", True), ("/home/ada", True), ("/home/ada/x", False), ("/home/ad", False), ("/usr", False)],
)
def test_above_home(path: str, is_so: bool) -> None:
    assert is_above(path, HOME) is is_so


@pytest.mark.parametrize(("abi", "bits"), [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (6, 16), (7, 16), (99, 16)])
def test_a_kernel_is_told_no_right_that_it_does_not_know(abi: int, bits: int) -> None:
    assert int(handled(abi)) == 2**bits - 1
    for rule in rules.rules(
        PYTHON, process=1, scratch="/s", outputs=("/s/o",), temporary="/s/t", read=("/r",), home=HOME
    ):
        for is_directory in (False, True):
            rights = rights_of(rule, abi, is_directory=is_directory)
            assert rights
            assert rights & ~handled(abi) == 0


def test_of_a_file_only_what_is_said_of_files() -> None:
    rule = Rule("/data/input.csv", Right.READ_FILE | Right.READ_DIR)
    assert rights_of(rule, 7, is_directory=False) == Right.READ_FILE
