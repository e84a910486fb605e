"""A directory that outlives its worker holds what the next one can use, and nothing else."""

from __future__ import annotations

from pathlib import Path

from mincemeat.cluster.worker import _kept_directory


def test_what_a_killed_worker_had_fetched_does_not_pile_up(tmp_path: Path) -> None:
    """It stayed until the job was done, from each life of it."""
    directory = tmp_path / "worker-0"
    with _kept_directory(str(directory)):
        for name in ("blocks", "r-00000.0.fetched", "m-00001.0.splits"):
            (directory / name).mkdir()
            (directory / name / "file").touch()
        for name in ("job", "code", "m-00002.0.positions"):
            (directory / name).touch()
    with _kept_directory(str(directory)):
        assert sorted(path.name for path in directory.iterdir()) == ["blocks", "job"]
        assert (directory / "blocks" / "file").exists()
