"""The live page: what it asks of the model, and the page itself.

Trees go to the page as a picture and come back as brackets with the corrected labels alone, -1
elsewhere. So the page holds all that is to be known, and nothing is kept between two requests but
the file of corrections.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from rntn_jax.annotate.binary_parser import build_trees
from rntn_jax.annotate.classifier import CLASS_NAMES
from rntn_jax.annotate.corrections import Corrections
from rntn_jax.annotate.pipeline import Pipeline, predict
from rntn_jax.data import DataError, Tree, tokenize
from rntn_jax.plots import Section, TreePicture
from rntn_jax.plots.page import document, tree_figures_html
from rntn_jax.plots.text import escape

__all__ = [
    "MAX_CHARACTERS",
    "MAX_WORDS",
    "answer",
    "build",
    "check_size",
    "listed",
    "page",
    "with_phrase",
]

MAX_WORDS, MAX_CHARACTERS = 250, 4000  # of a text


def build(model: Pipeline, text: str) -> Tree:
    """The tree of a text, unlabelled.

    Args:
        model: that builds it.
        text: of a sentence.

    Returns:
        A tree whose labels are all -1.

    Raises:
        DataError: when the text has no words or too many.
    """
    if len(text) > MAX_CHARACTERS:
        raise DataError(f"the text has {len(text)} characters; at most {MAX_CHARACTERS} are taken")
    tokens = tokenize(text)
    if not tokens:
        raise DataError("the text has no words")
    check_size(tokens)
    return build_trees(model.parser, [tokens], [[]])[0]  # as compiled for phrases


def check_size(tokens: Sequence[str]) -> None:
    """Refuses too many words.

    Raises:
        DataError: naming the number.
    """
    if len(tokens) > MAX_WORDS:
        raise DataError(f"the text has {len(tokens)} words; at most {MAX_WORDS} are taken")


def with_phrase(model: Pipeline, tree: Tree, begin: int, end: int) -> Tree:
    """The tree with a node over the words ``begin .. end-1``.

    Phrases that do not cross the new one stay, and so do the corrected labels of all phrases of
    the new tree that the old one has too; what has to change is built by the model.

    Args:
        model: that builds what has to change.
        tree: the old one; its labels are corrections.
        begin: the first word.
        end: after the last one.

    Returns:
        The new tree, with the corrections that still apply, else -1.

    Raises:
        DataError: when there is no such phrase.

    Example:
        >>> from rntn_jax import annotate
        >>> from rntn_jax.data import parse_tree
        >>> tree = parse_tree("(-1 (-1 (4 very) (-1 good)) (-1 film))")
        >>> with_phrase(annotate.default_model(), tree, 1, 3).to_brackets()
        '(-1 (4 very) (-1 (-1 good) (-1 film)))'
    """
    if not 0 <= begin < end <= tree.num_leaves:
        raise DataError(
            f"a phrase needs 0 <= begin < end <= {tree.num_leaves}, got {begin} and {end}"
        )
    spans = [(int(i), int(j)) for i, j in tree.spans()]
    kept = [
        (i, j)
        for i, j in spans[tree.num_leaves :]
        if not (i < begin < j < end or begin < i < end < j)
    ]
    (built,) = build_trees(model.parser, [tree.tokens], [[*kept, (begin, end)]])
    before = dict(zip(spans, tree.labels.tolist()))
    labels = [before.get((int(i), int(j)), -1) for i, j in built.spans()]
    return Tree(built.tokens, built.children, labels)


def answer(model: Pipeline, tree: Tree) -> dict[str, Any]:
    """What the page shows of a tree.

    Args:
        model: what labels it.
        tree: its labels are the corrections, -1 elsewhere.

    Returns:
        ``html`` (legend and picture), ``fixes`` (node to corrected label), ``tokens``, ``text``,
        ``brackets`` (as they came), ``unknown`` (words that the model does not know).
    """
    bare = Tree(tree.tokens, tree.children, np.full(len(tree), -1))
    (found,) = predict(model.classifier, [bare])
    caption = f"{found.name} ({found.probabilities.max():.0%})"
    picture = TreePicture(bare, found.tree.probabilities, caption)
    known = model.classifier.vocabulary
    fixes = {int(node): int(tree.labels[node]) for node in np.flatnonzero(tree.labels >= 0)}
    return {
        "html": tree_figures_html([picture], found.tree.class_names, "rj-view rj-edit"),
        "fixes": fixes,
        "tokens": list(tree.tokens),
        "text": tree.text,
        "brackets": tree.to_brackets(),
        "unknown": list(dict.fromkeys(word for word in tree.tokens if word not in known)),
    }


def listed(corrections: Corrections) -> list[dict[str, Any]]:
    """The corrections as the page lists them, the newest first."""
    return [
        {
            "text": tree.text,
            "brackets": tree.to_brackets(),
            "labels": int((tree.labels >= 0).sum()),
        }
        for tree in reversed(corrections.trees())
    ]


def page(corrections: Corrections, command: str, num_classes: int = 5) -> str:
    """The page.

    Args:
        corrections: the file; its name is shown.
        command: how to train on it, with ``{}`` for the name of the file.
        num_classes: of the model.

    Returns:
        The document, to be written as UTF-8; it asks its own server for everything else.
    """
    folder = resources.files("rntn_jax.annotate")
    style, script = (
        folder.joinpath(f"live.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    shell = command.format(shlex.quote(str(corrections.path)))
    names = ", ".join(CLASS_NAMES[num_classes])
    header = (
        '<p class="rj-summary">The sentiment of a sentence and of each of its phrases: '
        f"{escape(names)}. Point at a node to see how sure the model is; click on it to correct "
        "it.</p>"
    )
    return document(
        "Sentiment trees",
        header,
        [
            Section("A sentence", _SENTENCE),
            Section(
                "Corrections",
                _CORRECTIONS.format(path=escape(corrections.path), command=escape(shell)),
            ),
        ],
        ("page", "viewer", "editor"),
        more_style=style,
        more_script=script,
        connect="'self'",
    )


_SENTENCE = f"""
<form class="live-form">
<textarea rows="2" maxlength="{MAX_CHARACTERS}" aria-label="A sentence" autofocus spellcheck="true"
placeholder="Type a sentence: It is not a bad film."></textarea>
<button type="submit">Show</button>
</form>
<p class="rj-note live-status" role="status"></p>
<div class="live-tree"></div>
<div class="live-phrase" hidden>
<p class="rj-note">Wrong brackets? Click on the first and on the last word of a phrase.</p>
<div class="live-words" role="group" aria-label="Words"></div>
<button type="button" class="live-make" disabled>Make this a phrase</button>
</div>
"""

_CORRECTIONS = """
<p class="rj-note">Each is written at once to <code>{path}</code>, one tree a line; labels that
nobody corrected are -1.</p>
<ol class="live-list"></ol>
<p class="live-none">None yet.</p>
<h3>Train on them</h3>
<pre class="live-command">{command}</pre>
<p class="rj-note">A few corrections make no model: put the lines of a treebank before them in one
file, and name a file to choose the model by with --dev (else a tenth of the trees is held out).</p>
"""
