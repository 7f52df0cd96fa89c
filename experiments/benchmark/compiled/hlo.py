"""How often the devices of a compiled program talk to each other, read off its text."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

__all__ = ["collectives"]

_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)


def collectives(program: Any) -> tuple[Counter[str], Counter[str]]:
    """Counts the collectives of a compiled program.

    Args:
        program: what ``lower(..).compile()`` returns, or its text.

    Returns:
        By kind: everywhere, and in loops.
    """
    hlo = program if isinstance(program, str) else program.as_text()
    bodies = dict(re.findall(r"^(?:ENTRY )?%?([\w.-]+) [^\n]*\{\n(.*?)^\}", hlo, re.M | re.S))
    assert len(bodies) > 1

    def reachable(name: str, seen: set[str]) -> set[str]:
        if name not in seen:
            seen.add(name)
            for other in re.findall(r"%([\w.-]+)", bodies[name]):
                if other in bodies:
                    reachable(other, seen)
        return seen

    inside: set[str] = set()
    for loop in re.findall(r"(?:body|condition)=%?([\w.-]+)", hlo):
        inside |= reachable(loop, set())

    def count(names: Any) -> Counter[str]:
        return Counter(kind for name in names for kind in _COLLECTIVE.findall(bodies[name]))

    return count(bodies), count(inside)
