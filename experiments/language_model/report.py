"""The HTML report of a language model run."""

from __future__ import annotations

import dataclasses
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from experiments.language_model.config import Config
from experiments.language_model.pipeline import END, Model, generate, sentence_nats
from experiments.workdir import read_environment
from rntn_jax import plots, recurrent, sequences
from rntn_jax.models import rnn_lm

__all__ = ["PUBLISHED", "vanishing", "write"]

# Penn Treebank, Mikolov's split, test set; as quoted in tables of later papers.
PUBLISHED = {
    "KN-5 (Mikolov and Zweig 2012)": 141.2,
    "RNN, sigmoid, one layer (Mikolov and Zweig 2012)": 124.7,
    "deep RNN, not gated (Pascanu et al. 2014)": 107.5,
}


def vanishing(model: Model, sentences: list[list[str]], max_lag: int = 20) -> np.ndarray:
    """Norms of ds_t / ds_(t-lag) of the lowest layer on a stretch of text, by lag."""
    ids = model.vocabulary.encode([w for s in sentences for w in (*s, END)])[:61]
    (batch,) = sequences.segments(ids, 1, len(ids) - 1)
    params = model.params
    cell = params.cell if isinstance(params.cell, recurrent.Cell) else params.cell[0]
    bottom = params._replace(cell=cell)
    hidden, _ = rnn_lm.states(bottom, batch, activation=model.activation)
    lags = min(max_lag, len(ids) - 2)
    return np.asarray(recurrent.jacobian_norms(cell, hidden, lags, activation=model.activation))


def write(
    workdir: Path,
    config: Config,
    result: dict[str, Any],
    history: list[dict[str, Any]],
    model: Model,
    splits: dict[str, list[list[str]]],
) -> None:
    """Writes ``report.html``; its sentences are those of test, or of dev if there is no test."""
    shown = "test" if "test" in splits else "dev"
    sentences = splits[shown]
    command, environment = read_environment(workdir)
    figures = {
        f"{name} perplexity": f"{result[f'{name}_perplexity']:.2f}"
        for name in ("test", "dev")
        if name in splits
    }
    if "best_test_perplexity" in result:
        figures["best possible on test"] = f"{result['best_test_perplexity']:.2f}"
    elif config.corpus == "ptb" and config.train is None:
        figures |= {name: f"{value:.1f}" for name, value in PUBLISHED.items()}
    figures["parameters"] = f"{result['parameters']:,}"
    norms = vanishing(model, sentences[:60])
    lags = [{"lag": lag, "norm": float(norm)} for lag, norm in enumerate(norms)]
    drawn = " ".join(generate(model, [], 80, 1.0, None, config.seed))
    nats = sentence_nats(model, sentences[:12])
    lines = [
        (" ".join(sentence), f"{float(np.exp(costs.mean())):.1f}")
        for sentence, costs in zip(sentences[:12], nats, strict=True)
    ]
    sections = [
        plots.Section(
            "The vanishing gradient",
            '<div class="rj-curves">'
            + plots.curves_svg(
                lags,
                "lag",
                {"norm": "norm of ds(t) / ds(t - lag)"},
                title="How much of an error survives",
                ylabel="Frobenius norm / sqrt(D)",
            )
            + "</div>",
        ),
        plots.Section("Text drawn from the model", f"<p>{escape(drawn)}</p>"),
        plots.Section(
            f"{shown.capitalize()} sentences",
            plots.texts_html(lines, ["sentence", "perplexity"]),
        ),
    ]
    page = plots.report_html(
        title="A recurrent language model",
        summary=f"Corpus {config.train or config.corpus}, model chosen on dev after epoch "
        f"{result['epoch']} of {result['epochs_run']}; {result['seconds_per_epoch']:.1f} s an "
        f"epoch; {result['parameters']:,} parameters.",
        figures=figures,
        history=history,
        curves=[
            plots.Curves(
                "Perplexity",
                "epoch",
                {"train_perplexity": "train (with dropout)", "dev_perplexity": "dev"},
                "per token",
                result["epoch"],
            ),
            plots.Curves("Gradient norm", "epoch", ["grad_norm"], "median of an epoch"),
        ],
        sections=sections,
        config=dataclasses.asdict(config),
        command=command,
        environment=environment,
    )
    (workdir / "report.html").write_text(page, encoding="utf-8")
