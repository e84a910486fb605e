"""What the README shows is what the repository has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mincemeat

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_word_count_shown_is_the_example_but_for_its_docstring() -> None:
    """They had drifted apart: the README counted single letters, and the example that it names did not."""
    docstring, _, program = (ROOT / "examples" / "wordcount.py").read_text("utf-8").partition("import re\n")
    assert docstring.startswith('"""')
    assert PROGRAMS[0] == "import re\n" + program


def test_the_script_shown_counts_words(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = mincemeat.run
    monkeypatch.setattr("mincemeat.run", lambda *job: run(*job, engine="inline"))
    exec(compile(PROGRAMS[1], "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text
    assert "'Humpty': 2" in capsys.readouterr().out


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_each_link_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()
