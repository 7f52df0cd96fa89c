"""The table as Markdown and as a page, with what the models understand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.sentiment import analyses
from experiments.sentiment.negation import NEGATIVE, POSITIVE
from experiments.sentiment.report import TITLES
from experiments.sentiment.scores import COLUMNS
from experiments.table1 import rows
from experiments.table1.config import Config
from experiments.workdir import read_json
from rntn_jax import data, plots
from rntn_jax.annotate import CLASS_NAMES, build_trees, default_model

if TYPE_CHECKING:
    from experiments.table1.train import Row

__all__ = ["markdown", "understanding", "write"]

NOTE = (
    "Test set, %. Each network is chosen on dev, after the epoch with the best accuracy of all "
    "nodes; ours are means over the seeds, with standard errors. Binary: nodes with a neutral gold "
    "label left out, p0 + p1 against p3 + p4. Published: Socher et al. 2013, Table 1, quoted "
    "from memory; it has no row for the Tree-LSTM. Figures move with the processor as with the "
    "seed: another order of the same sums is another run."
)
NEGATION_NOTE = (
    "Negated positive: how often a negated positive sentence comes out negative; negated negative: "
    "how often negation makes a negative sentence less negative. Our 21 pairs of each (the paper's "
    "are not published), bracketed by the package's tree builder. X but Y: how often the sides "
    "of X, of Y, and of the lowest node above “but” and Y are all right, on the test trees where X "
    "and Y are of different sides. Published: Socher et al. 2013, quoted from memory."
)
PICTURED = "The acting is not convincing ."
GROUPS = ((1, 1), (2, 3), (4, 6), (7, 10))


def _cell(row: Row, column: str) -> str:
    text = f"{100 * row.values[column]:.2f}"
    return text + (f" ± {100 * row.errors[column]:.2f}" if row.errors else "")


def markdown(found: Sequence[Row]) -> str:
    """The table: our row above the published one, then the commands."""
    lines = [
        f"| test, % | {' | '.join(TITLES[c] for c in COLUMNS)} | runs | seconds a run |",
        "|" + " --- |" * (len(COLUMNS) + 3),
    ]
    for row in found:
        name, cells = rows.NAMES[row.name], [_cell(row, c) for c in COLUMNS]
        seconds = sum(own["seconds"] for own in row.runs) / len(row.runs)
        cells += [str(len(row.runs)), f"{seconds:.0f}"]
        lines.append(f"| {name}, ours | {' | '.join(cells)} |")
        if row.name in rows.PUBLISHED:
            cells = [f"{rows.PUBLISHED[row.name][c]:.1f}" for c in COLUMNS]
            lines.append(f"| {name}, published | {' | '.join(cells)} | | |")
    commands = [f"{own['command']}  # {rows.NAMES[row.name]}" for row in found for own in row.runs]
    return "\n".join([*lines, "", NOTE, "", "```sh", *commands, "```", ""])


def understanding(row: Row, forest: Sequence[data.Tree], pairs: Any) -> dict[str, Any]:
    """What a model of five classes understands.

    Args:
        row: its model.
        forest: test trees.
        pairs: (positive sentences, their negations), (negative sentences, theirs), as trees.
    """
    probabilities = row.predict(forest)
    contrast = analyses.contrasts(forest, probabilities)
    shares = [
        analyses.negation(row.predict(plain), row.predict(negated), positive)[0]
        for (plain, negated), positive in zip(pairs, (True, False))
    ]
    return {
        "by_length": analyses.accuracy_by_length(forest, probabilities),
        "negated positive": shares[0],
        "negated negative": shares[1],
        "X but Y": sum(c.is_right for c in contrast) / max(len(contrast), 1),
        "contrasts": len(contrast),
        "extreme": {
            side: [
                analyses.extreme_phrases(forest, probabilities, lengths, 3, side == "positive")
                for lengths in GROUPS
            ]
            for side in ("positive", "negative")
        },
    }


def write(workdir: Path, config: Config, found: Sequence[Row], forest: list[data.Tree]) -> None:
    """Writes ``report.html``, a picture ``negated-ROW.svg`` of each row, and ``analyses.json``."""
    from experiments.workdir import write_json

    parser = default_model().parser
    built = [
        tuple(build_trees(parser, [tuple(pair[i].split()) for pair in pairs]) for i in range(2))
        for pairs in (POSITIVE, NEGATIVE)
    ]
    known = {row.name: understanding(row, forest, built) for row in found}
    write_json(workdir / "analyses.json", known)
    pictures = _pictures(found, parser)
    for row, own in zip(found, pictures, strict=True):
        svg = plots.tree_svg(own.tree, own.probabilities, title=own.caption)
        (workdir / f"negated-{row.name}.svg").write_text(svg, encoding="utf-8")
    table: dict[str, dict[str, Any]] = {}
    for row in found:
        table[f"{rows.NAMES[row.name]}, ours"] = {TITLES[c]: _cell(row, c) for c in COLUMNS}
        if row.name in rows.PUBLISHED:
            published = {TITLES[c]: f"{x:.1f}" for c, x in rows.PUBLISHED[row.name].items()}
            table[f"{rows.NAMES[row.name]}, published"] = published
    environment = read_json(workdir / "environment.json")
    command = environment.pop("command")
    page = plots.report_html(
        title="Table 1: sentiment of every node",
        summary=f"Corpus {config.corpus}; {len(forest):,} test trees.",
        scores=table,
        scores_note=NOTE,
        sections=[
            plots.Section("By length of the phrase", _length_charts(known)),
            plots.Section("Negation and contrast", _negation_table(known)),
            plots.Section(
                "One negated sentence", plots.pictures_html(pictures, class_names=CLASS_NAMES[5])
            ),
            plots.Section("The most positive and negative phrases", _phrases(known)),
            plots.Section("Commands", _commands(found)),
        ],
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")


def _length_charts(known: dict[str, Any]) -> str:
    """Accuracy at each length, of all models in one chart (Figure 6 of the paper)."""
    charts = []
    names = {name: rows.NAMES[name] for name in known}
    for column, title in (("fine", "Five classes"), ("binary", "Two classes")):
        for suffix, said in (("", "phrases of n words"), ("_up_to", "phrases of at most n words")):
            by_length: dict[int, dict[str, Any]] = {}
            for name, found in known.items():
                for own in found["by_length"]:
                    line = by_length.setdefault(own["length"], {"n": own["length"]})
                    line[name] = own[column + suffix]
            history = [by_length[n] for n in sorted(by_length) if n <= 40]  # few are longer
            charts.append(
                plots.curves_svg(
                    history,
                    "n",
                    names,
                    title=f"{title}: {said}",
                    ylabel="accuracy",
                    percent=True,
                    colors=plots.line_colors(list(rows.NAMES)),
                )
            )
    return f'<div class="rj-curves">{"".join(charts)}</div>'


def _negation_table(known: dict[str, Any]) -> str:
    columns = ("negated positive", "negated negative", "X but Y")
    table: dict[str, dict[str, Any]] = {}
    for name, found in known.items():
        table[f"{rows.NAMES[name]}, ours"] = {c: found[c] for c in columns}
        if name in rows.NEGATION:
            published = {c: x / 100 for c, x in zip(columns, rows.NEGATION[name])}
            table[f"{rows.NAMES[name]}, published"] = published
    count = next(iter(known.values()))["contrasts"]
    return plots.scores_html(table, note=f"{NEGATION_NOTE} {count} such trees.")


def _pictures(found: Sequence[Row], parser: Any) -> list[plots.TreePicture]:
    (tree,) = build_trees(parser, [tuple(PICTURED.split())])
    return [plots.TreePicture(tree, row.predict([tree])[0], rows.NAMES[row.name]) for row in found]


def _phrases(known: dict[str, Any]) -> str:
    lines = []
    for name, found in known.items():
        for side, groups in found["extreme"].items():
            for (low, high), phrases in zip(GROUPS, groups):
                words = f"{low}" if low == high else f"{low} to {high}"
                said = "; ".join(f"{phrase} ({p:.2f})" for phrase, p in phrases)
                lines.append((said, rows.NAMES[name], f"{words} words, {side}"))
    return plots.texts_html(lines, ["phrases, with the probability of the class", "model", "which"])


def _commands(found: Sequence[Row]) -> str:
    lines = [
        (own["command"], rows.NAMES[row.name], f"{own['seconds']:.0f}",
         *(f"{100 * own['test'][c]:.2f}" for c in COLUMNS))
        for row in found
        for own in row.runs
    ]  # fmt: skip
    return plots.texts_html(lines, ["command", "row", "seconds", *(TITLES[c] for c in COLUMNS)])
