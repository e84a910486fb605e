"""What decides between the package and plain Python: anything that keeps the package from working, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from mincemeat.wire import primitives
from mincemeat.wire import x25519 as plain

VECTOR = (primitives._SCALAR, primitives._POINT)


@pytest.fixture(autouse=True)
def undecided() -> Iterator[None]:
    primitives.obstacle.cache_clear()
    yield
    primitives.obstacle.cache_clear()


def fail_with(error: BaseException, patch: pytest.MonkeyPatch) -> None:
    def fail(scalar: bytes, point: bytes) -> bytes:
        raise error

    patch.setattr(primitives, "packaged_x25519", fail)


def panic() -> BaseException:
    """As PyO3 makes of a panic in Rust: no Exception, and its class can be imported from nowhere."""
    kind: type[BaseException] = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    return kind("Python API call failed")


def test_the_package_is_taken_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "x25519", None)
    assert primitives.obstacle() is None
    assert primitives.x25519(*VECTOR) == primitives._PRODUCT


def test_where_it_is_not_installed_plain_python_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "cryptography.x509", raising=False)
    obstacle = primitives.obstacle()
    assert obstacle is not None
    assert not obstacle.is_broken
    assert primitives.x25519(*VECTOR) == primitives._PRODUCT


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("libssl.so.1.1: cannot open shared object file"), "ImportError: libssl.so.1.1"),
        (
            ModuleNotFoundError("No module named '_cffi_backend'", name="_cffi_backend"),
            "No module named '_cffi_backend'",
        ),
        (AttributeError("no attribute 'exchange'"), "AttributeError: no attribute"),
        (panic(), "PanicException: Python API call failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_installation_that_is_broken_is_not_taken_and_is_told(
    error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(error, monkeypatch)
    obstacle = primitives.obstacle()
    assert obstacle is not None
    assert obstacle.is_broken
    assert obstacle.reason.startswith(reason)
    assert primitives.x25519(*VECTOR) == primitives._PRODUCT


def test_a_package_that_computes_wrong_products_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primitives, "packaged_x25519", lambda scalar, point: bytes(32))
    obstacle = primitives.obstacle()
    assert obstacle is not None
    assert obstacle.is_broken
    assert "wrong product" in obstacle.reason


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=lambda value: type(value).__name__)
def test_an_interruption_while_it_is_imported_is_not_its_fault(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(error, monkeypatch)
    with pytest.raises(type(error)):
        primitives.obstacle()


def test_it_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers in one process would make it a matter of luck which of them signs and multiplies."""
    assert primitives.obstacle() is None
    monkeypatch.setattr(primitives, "packaged_x25519", lambda scalar, point: bytes(32))
    assert primitives.obstacle() is None
