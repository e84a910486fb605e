"""Which bytes are offered as the file of this version."""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mincemeat.limits import VERSION
from mincemeat.onefile import published
from mincemeat.onefile.published import COPY, NotToBeHad, Release, content_of, own_release

SOURCE = "x = 1\n\n\ndef twice(y):\n    return 2 * y\n"


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    own_release.cache_clear()
    yield
    own_release.cache_clear()


def started_from(path: Path) -> Any:
    """What runs if the file that is there now is started, from a ``.pyc``."""
    return SimpleNamespace(path=str(path), code=marshal.loads(marshal.dumps(compile(path.read_bytes(), "x", "exec"))))


def test_a_checkout_makes_it(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "COPY", "is only in a wheel")
    assert own_release() == Release(VERSION, hashlib.sha256(content).hexdigest(), content)


def test_a_package_offers_its_copy_which_was_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / COPY).write_bytes(b"released")
    monkeypatch.setattr(published, "__file__", str(tmp_path / "published.py"))
    assert own_release() == Release(VERSION, hashlib.sha256(b"released").hexdigest(), b"released")


def test_the_copy_in_an_installed_package_is_the_file_of_its_sources(content: bytes) -> None:
    """The wheel's build had put it there."""
    copy = Path(published.__file__).with_name(COPY)
    built_with = f"and cloudpickle {metadata.version('cloudpickle')}, put together".encode()
    if not copy.exists() or built_with not in copy.read_bytes():
        pytest.skip("this package was not installed from a wheel, or one that was built with another cloudpickle")
    assert copy.read_bytes() == content


def test_the_one_file_offers_itself_while_it_is_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mm.py"
    path.write_text(SOURCE, "utf-8")
    file = started_from(path)
    monkeypatch.setattr(published, "one_file", lambda: file)
    assert own_release().content == SOURCE.encode("utf-8")
    path.write_text(SOURCE.replace("2 * y", "3 * y"), "utf-8")
    assert own_release().content == SOURCE.encode("utf-8")
    own_release.cache_clear()
    with pytest.raises(NotToBeHad, match=r"mm.py has been replaced since"):
        own_release()
    path.write_text("this is (no Python", "utf-8")
    with pytest.raises(NotToBeHad, match="cannot be read"):
        content_of(file)
    path.unlink()
    with pytest.raises(NotToBeHad, match="cannot be read"):
        content_of(file)
