"""What a training step costs on so many devices: a model of few numbers, fitted to measured steps.

A step of the recurrent language model takes, with ``n`` tokens a device, ``F`` operations a token,
``P`` parameters and ``N`` devices of one kind of link::

    seconds = n F / f + 28 P / m + (2 (N - 1) / N) 4 P / w + l [N > 1] + o
              compute   Adam       all-reduce                latency     overhead

and a device holds ``bytes = x 4 P + y 4 n D + z 4 C V``, ``C`` rows of the softmax at a time. All
of ``1 / f``, ``1 / m``, ``1 / w``, ``l`` and ``o`` are found at once, not below zero, for the
smallest sum of squared relative errors; ``w`` and ``l`` for each kind of link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["CHUNK", "LINKS", "STEPS", "Plan", "Point", "fit"]

STEPS = 35  # tokens of a row
CHUNK = 160  # rows of the softmax at a time
LINKS = ("processes", "devices")  # the loopback interface; memory of one process


class Point(NamedTuple):
    """A program, and what it takes."""

    link: str  # of LINKS
    devices: int  # in all
    rows: int  # a device
    words: int
    width: int
    parameters: int
    crowd: float  # devices for each core, at least 1
    seconds: float  # of a step
    bytes: int  # arguments and temporaries of a device, as compiled

    @property
    def tokens(self) -> int:
        """A device's."""
        return self.rows * STEPS

    @property
    def operations(self) -> int:
        """Of a token: the products of the cell and of the softmax, forward, and twice backward."""
        return 6 * self.width * (2 * self.width + self.words)


class Plan(NamedTuple):
    """The fitted model."""

    operations_per_second: float  # f
    update_bytes_per_second: float  # m
    link_bytes_per_second: dict[str, float]  # w
    latency: dict[str, float]  # l, seconds
    overhead: float  # o, seconds
    memory: tuple[float, float, float]  # x, y, z

    def seconds(self, point: Point) -> float:
        """What a step should take."""
        rates = (self.operations_per_second, self.update_bytes_per_second)
        links = [(1 / self.link_bytes_per_second[link], self.latency[link]) for link in LINKS]
        solution = [*(1 / rate for rate in rates), *np.ravel(links), self.overhead]
        return float(_terms(point) @ solution)

    def bytes(self, point: Point) -> float:
        """What a device should hold."""
        return float(_memory_terms(point) @ self.memory)


def _terms(point: Point) -> np.ndarray:
    work = [point.tokens * point.operations, 28 * point.parameters]
    sent = 8 * point.parameters * (point.devices - 1) / point.devices
    links = [
        [sent, float(point.devices > 1)] if point.link == link else [0.0, 0.0] for link in LINKS
    ]
    return np.array([*(point.crowd * x for x in work), *np.ravel(links), point.crowd], float)


def _memory_terms(point: Point) -> np.ndarray:
    own = point.parameters, point.tokens * point.width, min(CHUNK, point.tokens) * point.words
    return 4.0 * np.array(own)


def fit(points: Sequence[Point]) -> Plan:
    """The model that is nearest to measured points.

    Args:
        points: at least as many as the model has numbers.

    Returns:
        A `Plan`; what costs nothing has an infinite rate.
    """

    def solved(terms: list[np.ndarray], values: list[float]) -> np.ndarray:
        from scipy.optimize import nnls  # late: half a second

        relative = np.stack(terms) / np.array(values)[:, None]
        scale = np.maximum(np.abs(relative).max(axis=0), np.finfo(float).tiny)
        found, _ = nnls(relative / scale, np.ones(len(values)))
        return found / scale

    times = solved([_terms(p) for p in points], [p.seconds for p in points])
    memory = solved([_memory_terms(p) for p in points], [float(p.bytes) for p in points])
    with np.errstate(divide="ignore"):
        rates = 1 / times
    links = range(2, 2 + 2 * len(LINKS), 2)
    return Plan(
        operations_per_second=float(rates[0]),
        update_bytes_per_second=float(rates[1]),
        link_bytes_per_second={link: float(rates[i]) for link, i in zip(LINKS, links)},
        latency={link: float(times[i + 1]) for link, i in zip(LINKS, links)},
        overhead=float(times[-1]),
        memory=(float(memory[0]), float(memory[1]), float(memory[2])),
    )
