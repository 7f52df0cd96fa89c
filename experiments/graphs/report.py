"""The HTML report of a run, and what that on images shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.graphs.config import CHUNKING_METHODS, METHODS, Config
from experiments.graphs.images import Images
from experiments.workdir import read_environment
from rntn_jax import plots
from rntn_jax.plots import Section
from rntn_jax.plots.tables import scroll_html
from rntn_jax.training import read_metrics

__all__ = ["Page", "Section", "curves", "images_page", "table", "table_text", "write"]

NAMES = {
    "input": "input, as it is",
    "unary": "no edges",
    "pseudo_likelihood": "pseudo-likelihood",
    "cd": "contrastive divergence",
    "mean_field": "mean field",
    "tree_reweighted": "tree-reweighted BP",
    "loopy": "loopy BP",
    "exact": "exact",
    "known": "the known distribution",
}
COLORS = plots.line_colors(list(dict.fromkeys((*METHODS, *CHUNKING_METHODS))))  # in all charts
SHOWN = 8  # images
NOTE = (
    "Shares of wrong pixels on test, with standard errors; own inference: that of training, loopy "
    "BP where training has none; exact inference: marginals by elimination, whatever the training. "
    "More than exact: the difference from exact learning, image by image. Nats: exact -ln P of an "
    "image. Coupling: what equal neighbours score more, within rows and within columns."
)


def _rate(found: dict[str, float], sign: str = "") -> str:
    return f"{100 * found['error']:{sign}.2f} ± {100 * found['standard_error']:.2f}"


def table(result: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Model -> column -> text, as it is printed and reported."""
    rows = {}
    for name, model in result["models"].items():
        row = rows[NAMES[name]] = {}
        if "error" in model:
            row["error %, own inference"] = _rate(model)
        if "exact" in model:
            row["error %, exact inference"] = _rate(model["exact"])
            if "more" in model["exact"] and name != "exact":
                row["more than exact"] = _rate(model["exact"]["more"], "+")
            row["nats"] = f"{model['exact']['nats']:.3f}"
        if "coupling" in model and name != "unary":
            row["coupling"] = " ".join(f"{value:.2f}" for value in model["coupling"])
        if "step_ms" in model:
            row["ms a step"] = f"{model['step_ms']:.1f}"
    return rows


def table_text(rows: dict[str, dict[str, str]]) -> str:
    """A table in Markdown."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(row.get(column, "") for column in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Page(NamedTuple):
    """What a task has to show."""

    summary: str
    scores: dict[str, dict[str, str]]  # model -> column -> text
    note: str  # on the scores
    charts: list[plots.Curves]
    sections: list[Section]


def write(workdir: Path, config: Config, page: Page) -> None:
    """Writes ``report.html``."""
    command, environment = read_environment(workdir)
    # One row an epoch, a column a model.
    rows: dict[int, dict[str, Any]] = {}
    for row in read_metrics(workdir / "metrics.jsonl"):
        columns = rows.setdefault(row["epoch"], {"epoch": row["epoch"]})
        columns |= {f"{row['model']} {kind}": row[kind] for kind in ("dev_error", "train_loss")}
    first = next(column for row in page.scores.values() for column in row)
    html = plots.report_html(
        title="Learning on graphs",
        summary=page.summary,
        figures={name: (row[first], first) for name, row in page.scores.items() if first in row},
        scores=page.scores,
        scores_note=page.note,
        history=list(rows.values()),
        curves=page.charts,
        sections=page.sections,
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(html, encoding="utf-8")


def curves(title: str, kind: str, names: dict[str, str], label: str) -> plots.Curves:
    """A chart of models, by the names that they have there; kind: train_loss, dev_error."""
    columns = {f"{name} {kind}": shown for name, shown in names.items()}
    colors = {f"{name} {kind}": COLORS[name] for name in names}
    percent = kind == "dev_error"
    return plots.Curves(title, "epoch", columns, label, percent=percent, colors=colors)


def images_page(
    config: Config, result: dict[str, Any], test: Images, pictures: dict[str, np.ndarray]
) -> Page:
    """What there is to show of images."""

    def trained(*names: str) -> dict[str, str]:
        return {n: NAMES[n] for n in names if "step_ms" in result["models"].get(n, {})}

    cheap, passing = ("unary", "pseudo_likelihood", "cd"), METHODS[3:]
    title = "Dev, methods without messages, and exact"
    charts = [
        curves(title, "dev_error", trained(*cheap, "exact"), "wrong"),
        curves("Dev, methods with messages", "dev_error", trained("unary", *passing), "wrong"),
        curves("Loss, each its own kind", "train_loss", trained(*cheap[:2], *passing), "nats"),
    ]
    summary = (
        f"{config.images.capitalize()}: {config.train_images} images to learn from, "
        f"{result['images']} of {result['pixels']} pixels to test on."
    )
    return Page(summary, table(result), NOTE, charts, [_images(test, pictures)])


def _images(test: Images, pictures: dict[str, np.ndarray]) -> Section:
    """Some test images: truth, input, and by model marginals and decision."""
    lines = {"truth": test.truth[:SHOWN].astype(float)}
    lines["input"] = 0.5 + test.seen[:SHOWN] / 4
    for name in (*METHODS, "known"):
        if name in pictures:
            p = pictures[name][:SHOWN]
            lines[f"{NAMES[name]}: marginals"] = p
            lines["decision of " + NAMES[name]] = (p > 0.5).astype(float)
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{_picture(values)}</td>" for values in line)
        + "</tr>"
        for name, line in lines.items()
    )
    html = scroll_html("Images", f"<table><tbody>{rows}</tbody></table>")
    note = "<p>Black is 1. Marginals are as grey as they are likely.</p>"
    return Section("Images", note + html)


def _picture(values: np.ndarray) -> str:
    """Pixels from 0 (white) to 1 (black) as SVG."""
    height, width = values.shape
    squares = "".join(
        f'<rect x="{j}" y="{i}" width="1.02" height="1.02" fill="rgb({grey},{grey},{grey})"/>'
        for (i, j), value in np.ndenumerate(values)
        for grey in [round(255 * (1 - min(max(float(value), 0.0), 1.0)))]
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{9 * width}" height="{9 * height}" '
        f'role="img" aria-label="an image" shape-rendering="crispEdges">{squares}</svg>'
    )
