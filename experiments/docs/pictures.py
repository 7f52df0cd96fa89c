"""The pictures of the README, made from the models in the package and the committed figures."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import rntn_jax as rj
from experiments.docs.reference import ROOT

__all__ = ["FOLDER", "PICTURES", "write"]

FOLDER = ROOT / ".github" / "pictures"
_SENTENCE = "This film doesn't care about cleverness, wit or any other kind of intelligent humor."


def sentiment() -> str:
    """The tree of a sentence, by the model in the package."""
    return rj.sentiment(_SENTENCE).tree.to_svg()


def parse() -> str:
    """The dependency tree of a sentence, by the model in the package."""
    return rj.parse("She doesn't like the old film that we saw in London.").to_svg()


def marginals() -> str:
    """The exact probability of each tag at each word, of the chain behind the embedded corpus."""
    tags = rj.data.demo_tags
    words = "the old plans can light near the river .".split()
    with np.errstate(divide="ignore"):
        emitted = np.log(tags.EMISSIONS.sum(axis=2))  # [C, W]
        start, edge, end = (np.log(table) for table in (tags.START, tags.TRANSITIONS, tags.END))
    node = emitted[:, [tags.WORDS.index(word) for word in words]].T[None]
    scores = rj.crf.chain.Scores(*map(jnp.asarray, (node, edge, start, end)))
    best, _ = rj.crf.chain.argmax(scores)
    gold = [tags.LABELS[i] for i in np.asarray(best[0])]
    found = np.asarray(rj.crf.chain.marginals(scores).node[0])
    return rj.plots.marginals_svg(words, tags.LABELS, found, gold=gold)


def growth() -> str:
    """Time by size, of the committed runs of `./launch.sh benchmark`."""
    results = ROOT / "experiments" / "benchmark" / "results"
    graphs = json.loads((results / "graphs-1-thread.json").read_text("utf-8"))["growth"]
    trees = json.loads((results / "rntn-wide-1-thread.json").read_text("utf-8"))["growth"]
    rows = [{"nodes": row["size"], row["curve"]: row["ms"] / 1e3} for row in graphs]
    rows += [
        {"nodes": row["nodes"], "rntn": row["nodes"] * row["us_per_node"] / 1e6}
        for row in trees
        if row["what"].endswith("trees")
    ]
    names = {
        "trees nodes": "CRF on label trees, 5 labels, exact",
        "grids nodes": "CRF on grids 4 wide, 2 labels, exact",
        "loopy nodes": "CRF on square grids, loopy",
        "rntn": "RNTN, gradient of a minibatch of trees",
    }
    return rj.plots.curves_svg(
        rows, "nodes", names, title="Time by size, one thread", ylabel="seconds", log=True
    )


PICTURES = {"sentiment": sentiment, "parse": parse, "marginals": marginals, "growth": growth}


def write(folder: Path) -> list[Path]:
    """Writes each picture as ``NAME.svg``.

    Args:
        folder: where to; made where there is none.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in PICTURES.items():
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(draw() + "\n", encoding="utf-8")
    return paths
