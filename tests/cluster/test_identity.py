"""The identity of a server in its file."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import stat
from pathlib import Path

import pytest

from mincemeat.cluster.identity import make_identity, read_identity
from mincemeat.cluster.tls import server_context
from mincemeat.errors import InvalidJob


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "mincemeat.identity")


def test_it_is_what_it_was_and_a_context_presents_its_certificate(path: str) -> None:
    made = make_identity(path)
    assert read_identity(path) == made
    text = made.pem.decode("ascii")
    der = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])
    assert made.fingerprint == hashlib.sha256(der).digest()
    assert made.token.pin == made.fingerprint[:16]
    assert server_context(made.pem)[1] == made.fingerprint


def test_each_is_another_one(tmp_path: Path) -> None:
    one, other = make_identity(str(tmp_path / "one")), make_identity(str(tmp_path / "other"))
    assert one.fingerprint != other.fingerprint
    assert one.token.secret != other.token.secret


def test_nothing_is_overwritten_and_no_link_followed(path: str, tmp_path: Path) -> None:
    Path(path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidJob, match="cannot be made: File exists"):
        make_identity(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_its_owner_may_read_it(path: str) -> None:
    make_identity(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.chmod(path, 0o640)
    with pytest.raises(InvalidJob, match="others can read .*: chmod 600"):
        read_identity(path)


def test_a_repr_does_not_tell_the_key(path: str) -> None:
    assert "PRIVATE" not in repr(make_identity(path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "no json",
        lambda text: "[]",
        lambda text: json.dumps({**json.loads(text), "mincemeat identity": 2}),
        lambda text: json.dumps({**json.loads(text), "pem": "no certificate"}),
        lambda text: json.dumps({**json.loads(text), "token": "mm2-short"}),
        lambda text: json.dumps({**json.loads(text), "token": 5}),
        lambda text: text + "é",
    ],
)
def test_what_is_no_identity_is_refused_in_one_sentence(damage: object, path: str) -> None:
    make_identity(path)
    text = Path(path).read_text("utf-8")
    Path(path).write_text(damage(text), "utf-8")  # type: ignore[operator]
    with pytest.raises(InvalidJob, match="is no identity of a server; mincemeat token FILE makes one"):
        read_identity(path)


def test_a_token_of_another_certificate_is_refused(path: str, tmp_path: Path) -> None:
    make_identity(path)
    other = make_identity(str(tmp_path / "other"))
    content = {**json.loads(Path(path).read_text("ascii")), "token": other.token.text()}
    Path(path).write_text(json.dumps(content), "ascii")
    with pytest.raises(InvalidJob, match="another certificate"):
        read_identity(path)


def test_one_that_is_not_there_is_told_with_the_way_out(path: str) -> None:
    with pytest.raises(InvalidJob, match=r"cannot be read: No such file or directory \(mincemeat token .* makes one\)"):
        read_identity(path)
