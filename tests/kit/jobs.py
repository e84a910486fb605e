"""Functions of jobs that tests run. They travel to slots as this file, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

RHYME = {
    0: "Humpty Dumpty sat on a wall",
    1: "Humpty Dumpty had a great fall",
    2: "All the King's horses and all the King's men",
    3: "Couldn't put Humpty together again",
}


def words(key: Any, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def total(key: Any, counts: Iterable[int]) -> int:
    return sum(counts)


def count_words(datasource: dict[Any, str]) -> dict[str, int]:
    """The plain answer, in the order in which the words appear."""
    counts: dict[str, int] = {}
    for line in datasource.values():
        for word in line.split():
            counts[word] = counts.get(word, 0) + 1
    return counts


def remainder(key: int, value: int) -> list[tuple[int, int]]:
    return [(value % 3, value)]


def values_as_given(key: Any, values: list[Any]) -> list[Any]:
    return values


def type_and_count(key: Any, values: Any) -> tuple[str, int]:
    return type(values).__name__, len(values)


def nothing(key: Any, values: Any) -> None:
    return None


def read_value_file(key: str, text: str) -> Iterator[tuple[str, int]]:
    yield key, len(text)


def read_if_allowed(key: int, path: str) -> Iterator[tuple[str, int]]:
    try:
        with open(path, encoding="utf-8") as file:
            yield file.read(), key
    except PermissionError:
        yield "refused", key


def wrapped_sum(key: Any, values: list[int]) -> list[int]:
    """A combiner whose single result is itself a list."""
    return [sum(values)]


def odd_keys(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    for odd in (None, 0, "", (), (1, "two", None), False, b"", frozenset({1, 2})):
        yield odd, value


def as_list(key: Any, value: int) -> list[tuple[str, int]]:
    return [("n", value)]


def as_tuple(key: Any, value: int) -> tuple[tuple[str, int], ...]:
    return (("n", value),)


def as_items(key: Any, value: int) -> Any:
    return {"n": value}.items()


def as_map(key: Any, value: int) -> Any:
    return map(lambda number: ("n", number), [value])  # noqa: C417 - a map object is what is tested


def raises_from_third(key: int, value: int) -> Iterator[tuple[int, int]]:
    if key >= 3:
        raise KeyError(f"no use for {key}")
    yield key, value


def nested(key: Any, value: list[int]) -> Iterator[tuple[str, int]]:
    """A job inside a job, served on another port."""
    import mincemeat

    server = mincemeat.Server(dict(enumerate(value)), as_list, total)
    yield "sum", server.run_server(password="inner", port=0, host="127.0.0.1", workers=1)["n"]


def uses_os_without_import(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield os.getpid(), value  # type: ignore[name-defined]  # noqa: F821


def uses_sys_without_import(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield sys.platform, value  # type: ignore[name-defined]  # noqa: F821


def uses_random_without_import(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield random.random(), value  # type: ignore[name-defined]  # noqa: F821


def uses_math_without_import(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield math.pi, value  # type: ignore[name-defined]  # noqa: F821


def uses_re_without_import(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield re.escape("x"), value  # type: ignore[name-defined]  # noqa: F821


def uses_hashlib_without_import(key: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    yield hashlib.md5(b"").hexdigest(), value  # type: ignore[name-defined]  # noqa: F821


def touches(key: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Says by a file that it was here."""
    with open(path, "w", encoding="ascii"):
        yield "touched", key


def one_and_the_rest(key: Any, values: list[Any]) -> tuple[int, list[Any]]:
    return len(values), values
