"""What `.github/LIMITS.md` says of the models in the package is what they answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rntn_jax as rj

PAGE = Path(__file__).resolve().parent.parent / ".github" / "LIMITS.md"


@pytest.mark.usefixtures("float32")
def test_the_examples_come_out_as_the_page_says():
    rows = re.findall(r"^\| [^|]+ \| (.+?) \| (.+?) \((\d+) %", PAGE.read_text("utf-8"), re.M)
    assert len(rows) >= 6
    answers = rj.sentiment([text for text, _, _ in rows])
    found = [(answer.name, 100 * float(answer.probabilities.max())) for answer in answers]
    assert [name for name, _ in found] == [name for _, name, _ in rows]
    for (text, _, percent), (_, share) in zip(rows, found):
        assert abs(share - int(percent)) < 1, text


@pytest.mark.usefixtures("float32")
def test_parses_come_out_as_the_page_says():
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `(\S+ [A-Z]+ \S+)`", PAGE.read_text("utf-8"), re.M)
    assert len(rows) >= 4
    for text, line in rows:
        assert line in rj.parse(text).to_text(), text
