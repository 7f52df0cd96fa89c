"""The plan for more devices than there are: fitted to points that are known, it finds them."""

from __future__ import annotations

from itertools import product

import pytest

from experiments.benchmark.processes.plan import CHUNK, Plan, Point, fit

TRUE = Plan(
    operations_per_second=3e10,
    update_bytes_per_second=5e9,
    link_bytes_per_second={"processes": 8e8, "devices": 4e9},
    latency={"processes": 2e-4, "devices": 3e-5},
    overhead=1e-3,
    memory=(6.0, 5.0, 3.0),
)


def points(links) -> list[Point]:
    made = []
    for (link, count), rows, words, width in product(links, (4, 64), (1000, 8000), (64, 256)):
        parameters = 2 * words * width + 2 * width**2
        point = Point(link, count, rows, words, width, parameters, max(1.0, count / 2), 0.0, 0)
        made.append(point._replace(seconds=TRUE.seconds(point), bytes=TRUE.bytes(point)))
    return made


def test_a_known_plan_is_found_and_predicts_more_devices():
    plan = fit(points((("processes", 1), ("processes", 2), ("devices", 2))))
    for name in ("operations_per_second", "update_bytes_per_second", "overhead", "memory"):
        assert getattr(plan, name) == pytest.approx(getattr(TRUE, name), rel=1e-6)
    for name in ("link_bytes_per_second", "latency"):
        assert getattr(plan, name) == pytest.approx(getattr(TRUE, name), rel=1e-6)
    for point in points((("processes", 4), ("devices", 64))):
        assert plan.seconds(point) == pytest.approx(point.seconds, rel=1e-6)
        assert plan.bytes(point) == pytest.approx(point.bytes, rel=1e-6)


def test_the_terms_are_those_of_the_formula():
    point = Point("processes", 4, 2, 100, 10, 2200, 2.0, 0.0, 0)
    n, flops = 2 * 35, 6 * 10 * (20 + 100)
    compute = n * flops / 3e10 + 28 * 2200 / 5e9 + 1e-3
    sent = 2 * 3 / 4 * 4 * 2200 / 8e8
    assert TRUE.seconds(point) == pytest.approx(2 * compute + sent + 2e-4)
    assert CHUNK > n
    assert TRUE.bytes(point) == pytest.approx(4 * (6 * 2200 + 5 * n * 10 + 3 * n * 100))
