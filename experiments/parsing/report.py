"""The HTML report of a parsing run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments.parsing.config import Config
from experiments.parsing.pipeline import Model, parse
from experiments.workdir import read_json
from rntn_jax import data, plots

__all__ = ["PUBLISHED", "write"]

# UD English-EWT, test, gold tokens.
PUBLISHED = {
    "UDPipe 1.2, gold tags and features (UD 2.3, pretrained vectors)": (0.877, 0.858),
}


def write(
    workdir: Path,
    config: Config,
    result: dict[str, Any],
    history: list[dict[str, Any]],
    model: Model,
    splits: dict[str, Sequence[data.ConlluSentence]],
) -> None:
    """Writes ``report.html``; its sentences are those of test, or of dev if there is no test."""
    sentences = splits.get("test", splits["dev"])
    environment = read_json(workdir / "environment.json")
    command = environment.pop("command")
    scores = {
        split: {name: result[f"{split}_{name.lower()}"] for name in ("UAS", "LAS", "CLAS")}
        for split in ("dev", "test")
        if split in splits
    }
    if config.corpus == "ud_ewt" and config.train is None:
        scores |= {name: {"UAS": u, "LAS": v} for name, (u, v) in PUBLISHED.items()}
    answers = parse(model, sentences)
    page = plots.report_html(
        title="A transition parser",
        summary=f"Corpus {config.train or config.corpus}, model chosen on dev after epoch "
        f"{result['epoch']} of {result['epochs_run']}; {result['seconds']:.0f} s of training; "
        f"{result['parameters']:,} parameters.",
        scores=scores,
        scores_note="All words count, punctuation too; LAS without subtypes of relations.",
        decimals=2,
        history=history,
        curves=[
            plots.Curves("Loss", "epoch", ["train_nats"], "nats a step"),
            plots.Curves("Dev", "epoch", ["dev_uas", "dev_las"], "fraction", result["epoch"]),
        ],
        sections=[
            plots.Section("By relation", _by_relation(sentences, answers)),
            plots.Section("Sentences", _sentences(sentences, answers)),
        ],
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")


def _by_relation(gold: Sequence[data.ConlluSentence], answers: Sequence[Any]) -> str:
    """How often words of each gold relation get the right head, and the right arc."""
    counts, heads, arcs = Counter[str](), Counter[str](), Counter[str]()
    for sentence, (guessed, names) in zip(gold, answers):
        for h, r, g, name in zip(sentence.heads, sentence.relations, guessed, names):
            kind = r.partition(":")[0]
            counts[kind] += 1
            heads[kind] += int(h == g)
            arcs[kind] += int(h == g and kind == name.partition(":")[0])
    return plots.scores_html(
        {
            f"{kind} ({n:,})": {"UAS": heads[kind] / n, "LAS": arcs[kind] / n}
            for kind, n in counts.most_common(25)
        }
    )


def _sentences(gold: Sequence[data.ConlluSentence], answers: Sequence[Any]) -> str:
    """The first sentences as tables: word, tag, head, relation; what is wrong in bold."""
    tables = []
    for sentence, (heads, names) in zip(gold[:6], answers):
        words = ("root", *sentence.forms)
        rows = []
        for n, (form, tag, h, r, g, name) in enumerate(
            zip(
                sentence.forms,
                sentence.upos,
                sentence.heads,
                sentence.relations,
                heads,
                names,
            ),
            1,
        ):
            shown = f"{escape(name)} \u2190 {g} {escape(words[g])}"
            if (h, r) != (g, name):
                shown = f"<b>{shown}</b> (gold: {escape(r)} \u2190 {h} {escape(words[h])})"
            rows.append(
                f"<tr><td>{n}</td><td>{escape(form)}</td><td>{escape(tag)}</td>"
                f'<td style="text-align:left">{shown}</td></tr>'
            )
        tables.append(
            "<table><thead><tr><th></th><th>word</th><th>tag</th><th>relation \u2190 head</th>"
            f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        )
    return "".join(tables)
