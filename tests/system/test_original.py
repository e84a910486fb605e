"""The compatibility contract: what scripts written for the original mincemeat.py rely on, one test each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mincemeat
from tests.kit import jobs
from tests.kit.clusters import LOOPBACK, ROOT, ClientThread, run_server, worker_process

pytestmark = pytest.mark.slow


def test_the_original_example_runs_unchanged_but_for_its_port(tmp_path: Path) -> None:
    source = (ROOT / "examples" / "example.py").read_text("utf-8")
    free = 's.run_server(password="changeme", port=0, host="127.0.0.1")'
    assert 's.run_server(password="changeme")' in source
    announce = "s.on_listening = lambda port: print('PORT', port, flush=True)\n"
    source = source.replace('results = s.run_server(password="changeme")', f"{announce}results = {free}")
    script = tmp_path / "example.py"
    script.write_text(source, "utf-8")
    server = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().split()[1])
        command = [sys.executable, "-m", "mincemeat", "-p", "changeme", "-P", str(port), LOOPBACK]
        worker = subprocess.run(command, timeout=60, check=False)
        output, _ = server.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert worker.returncode == 0
    assert eval(output) == jobs.count_words(jobs.RHYME)  # noqa: S307 - the printed dict of our own example


def test_attributes_may_be_set_one_by_one() -> None:
    server = mincemeat.Server()
    server.datasource = jobs.RHYME
    server.mapfn = jobs.words
    server.reducefn = jobs.total
    assert run_server(server) == jobs.count_words(jobs.RHYME)


def test_attributes_may_be_given_by_keyword() -> None:
    server = mincemeat.Server(datasource=jobs.RHYME, mapfn=jobs.words, reducefn=jobs.total, collectfn=jobs.total)
    assert run_server(server) == jobs.count_words(jobs.RHYME)


class OnlyIterAndGetitem:
    """The least that a datasource may be; anything else that is called on it raises AttributeError."""

    def __init__(self, data: dict[Any, Any]) -> None:
        self.__data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__data)

    def __getitem__(self, key: Any) -> Any:
        return self.__data[key]


def test_a_datasource_needs_only_iter_and_getitem() -> None:
    server = mincemeat.Server(OnlyIterAndGetitem(jobs.RHYME), jobs.words, jobs.total)
    assert run_server(server) == jobs.count_words(jobs.RHYME)


class EndlessNumbers:
    """A datasource without an end, which counts how far it was read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    def __getitem__(self, key: int) -> int:
        self.read += 1
        return key


def test_a_datasource_is_not_read_ahead_without_bound() -> None:
    endless = EndlessNumbers()
    with pytest.raises(KeyError, match="no use for"):
        run_server(mincemeat.Server(endless, jobs.raises_from_third, jobs.total))
    assert endless.read < 100_000


class Files:
    """A datasource whose values are read from disk when they are asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.name for path in self.directory.iterdir()))

    def __getitem__(self, name: str) -> str:
        with open(self.directory / name, encoding="utf-8") as file:
            return file.read()


def test_getitem_may_open_a_file(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("x" * number, "utf-8")
    results = run_server(mincemeat.Server(Files(tmp_path), jobs.read_value_file, jobs.total))
    assert results == {f"{number}.txt": number for number in range(5)}


@pytest.mark.parametrize("mapfn", [jobs.as_list, jobs.as_tuple, jobs.as_items, jobs.as_map], ids=lambda f: f.__name__)
def test_mapfn_may_return_any_iterable_of_pairs(mapfn: Callable[[Any, int], Any]) -> None:
    results = mincemeat.run({1: 1, 2: 2}, mapfn, jobs.values_as_given)
    assert results == {"n": [1, 2]}


def test_the_single_result_of_collectfn_is_one_value() -> None:
    data = {number: number for number in range(9)}
    server = mincemeat.Server(data, jobs.remainder, jobs.values_as_given, jobs.wrapped_sum, split=9)
    assert run_server(server) == {0: [[9]], 1: [[12]], 2: [[15]]}


def test_reducefn_gets_a_real_list_and_is_called_for_one_value_too() -> None:
    results = run_server(mincemeat.Server({1: 0, 2: 1, 3: 3}, jobs.remainder, jobs.type_and_count))
    assert results == {0: ("list", 2), 1: ("list", 1)}


def test_none_falsy_and_tuple_keys_and_values_are_kept() -> None:
    data: dict[str, Any] = {"a": None, "b": 0, "c": "", "d": (), "e": []}
    results = run_server(mincemeat.Server(data, jobs.odd_keys, jobs.values_as_given))
    values: list[Any] = [None, 0, "", (), []]
    # False is equal to 0, so the two are one key, as in any dict.
    twice = [value for value in values for _ in range(2)]
    assert results == {
        None: values,
        0: twice,
        "": values,
        (): values,
        (1, "two", None): values,
        b"": values,
        frozenset({1, 2}): values,
    }


def test_results_of_none_are_kept() -> None:
    assert run_server(mincemeat.Server({1: 1, 2: 2}, jobs.remainder, jobs.nothing)) == {1: None, 2: None}


@pytest.mark.parametrize(
    ("server_side", "client_side"), [("pä", "pä".encode()), (b"pw", "pw"), (b"\xff\x00", b"\xff\x00")]
)
def test_passwords_may_be_str_or_bytes(server_side: str | bytes, client_side: str | bytes) -> None:
    server = mincemeat.Server(jobs.RHYME, jobs.words, jobs.total)
    results = run_server(server, password=server_side, client_password=client_side)
    assert results == jobs.count_words(jobs.RHYME)


def test_client_takes_its_password_as_an_attribute_and_conn_returns_when_the_job_is_done() -> None:
    clients: list[ClientThread] = []

    def join(port: int) -> None:
        thread = ClientThread(port, b"")
        thread.client = mincemeat.Client()
        thread.client.password = "changeme"
        thread.start()
        clients.append(thread)

    results = run_server(mincemeat.Server(jobs.RHYME, jobs.words, jobs.total), clients=0, on_listening=join)
    clients[0].join(timeout=20)
    assert results == jobs.count_words(jobs.RHYME)
    assert not clients[0].is_alive()
    assert clients[0].error is None


def test_run_client_joins_as_the_original_command_line_did() -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def join(port: int) -> None:
        code = f"import sys, mincemeat; sys.argv = ['mincemeat.py', '-p', 'changeme', '-P', '{port}', '{LOOPBACK}']"
        processes.append(subprocess.Popen([sys.executable, "-c", f"{code}; mincemeat.run_client()"]))

    results = run_server(mincemeat.Server(jobs.RHYME, jobs.words, jobs.total), clients=0, on_listening=join)
    assert processes[0].wait(timeout=20) == 0
    assert results == jobs.count_words(jobs.RHYME)


def test_version_is_a_string_and_the_default_port_the_original_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", mincemeat.VERSION)
    assert mincemeat.DEFAULT_PORT == 11235


def test_a_server_may_be_run_again_while_workers_serve_forever() -> None:
    server = mincemeat.Server(mapfn=jobs.words, reducefn=jobs.total)
    server.datasource = jobs.RHYME
    ports: list[int] = []
    run_server(server, on_listening=ports.append)
    with worker_process(ports[0], "-l") as worker:
        for number in range(3):
            server.datasource = {number: "round and round"}
            server.on_listening = None
            results = server.run_server(password="changeme", port=ports[0], host=LOOPBACK)
            assert results == {"round": 2, "and": 1}
        assert worker.poll() is None


def test_servers_may_be_nested_on_another_port() -> None:
    results = run_server(mincemeat.Server({"a": [1, 2], "b": [3]}, jobs.nested, jobs.total))
    assert results == {"sum": 6}


def test_results_are_a_dict_that_prints_and_compares_as_one() -> None:
    results = run_server(mincemeat.Server(jobs.RHYME, jobs.words, jobs.total))
    plain = dict(results)
    assert isinstance(results, dict)
    assert results == plain
    assert repr(results) == repr(plain)
    assert json.dumps(results) == json.dumps(plain)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_are_identical_for_any_number_of_workers(workers: int) -> None:
    data = {number: number * 7 % 101 for number in range(200)}
    expected: dict[int, list[int]] = {}
    for value in data.values():
        expected.setdefault(value % 3, []).append(value)
    server = mincemeat.Server(data, jobs.remainder, jobs.values_as_given, split=5)
    results = run_server(server, clients=workers)
    assert results == expected
    assert list(results.items()) == list(mincemeat.run(data, jobs.remainder, jobs.values_as_given).items())


def test_results_do_not_depend_on_the_order_of_joining() -> None:
    data = {number: number for number in range(60)}
    late: list[ClientThread] = []

    def join_later(port: int) -> None:
        for slots in (2, 1):
            thread = ClientThread(port, "changeme", slots)
            thread.start()
            late.append(thread)

    server = mincemeat.Server(data, jobs.remainder, jobs.values_as_given, split=2)
    results = run_server(server, clients=1, on_listening=join_later)
    for thread in late:
        thread.join(timeout=40)
    assert results == {rest: [value for value in range(60) if value % 3 == rest] for rest in range(3)}


def test_a_missing_mapfn_is_the_identity_and_a_missing_reducefn_gives_the_list() -> None:
    assert run_server(mincemeat.Server({"a": 1, "b": 2})) == {"a": [1], "b": [2]}


@pytest.mark.parametrize("module", ["os", "sys", "random", "math", "re", "hashlib"])
def test_a_module_used_without_import_is_a_name_error_that_says_what_to_add(module: str) -> None:
    mapfn = getattr(jobs, f"uses_{module}_without_import")
    with pytest.raises(NameError, match=f"add 'import {module}' at the top of"):
        mincemeat.run({1: 1}, mapfn, jobs.total, max_attempts=1)
