"""The second implementation of the key exchange agrees with the vectors that the program is tested with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.second import peer

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cpace_x25519_sha512.json").read_text("utf-8"))
RUN = {name: bytes.fromhex(value) for name, value in VECTORS["run"].items()}


def test_it_makes_the_run_of_the_draft() -> None:
    generator = peer.calculate_generator(RUN["PRS"], RUN["CI"], RUN["sid"])
    assert generator == RUN["g"]
    assert (peer.x25519(RUN["ya"], generator), peer.x25519(RUN["yb"], generator)) == (RUN["Ya"], RUN["Yb"])
    k = peer.x25519(RUN["ya"], RUN["Yb"])
    assert k == RUN["K"]
    isk = peer.intermediate_key(RUN["sid"], k, RUN["Ya"], RUN["Yb"], RUN["ADa"], RUN["ADb"])
    assert isk == RUN["ISK_IR"]


@pytest.mark.parametrize("point", VECTORS["invalid_points"].values(), ids=VECTORS["invalid_points"])
def test_it_refuses_points_that_must_be_refused(point: str) -> None:
    with pytest.raises(peer.Refused):
        peer.x25519(RUN["ya"], bytes.fromhex(point))


def test_keys_go_to_the_partitions_that_the_vectors_say() -> None:
    hashes = json.loads((Path(__file__).parents[1] / "vectors" / "partitioner.json").read_text("utf-8"))
    for name, key in {"empty str": "", "umlaut": "Größe", "lone surrogate": "\udcff"}.items():
        assert peer.partition_of(key, 2**32) == hashes[name]
