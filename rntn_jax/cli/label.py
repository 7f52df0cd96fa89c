"""Training trees of labelled text: `rntn-jax label`, and `./launch.sh sentiment --label`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rntn_jax import data
from rntn_jax.annotate import Pipeline, build_trees
from rntn_jax.compilation import cached

__all__ = ["label"]


@cached()
def label(annotator: Pipeline, source: str, output: str | None) -> None:
    """Makes training trees of labelled sentences and phrases, each of which becomes a node.

    A phrase that crosses another one cannot be a node; it is told on standard error.

    Args:
        annotator: whose parser makes the trees.
        source: a file as `rntn_jax.data.read_labelled_text` reads it; - for standard input.
        output: the file to write, a tree a line; None: standard output.

    Raises:
        DataError: for faults in the file.
        OSError: when a file cannot be read or written.
    """
    items = data.read_labelled_text(sys.stdin.buffer if source == "-" else source)
    tokens = [item.tokens for item in items]
    kept, lost = [], []
    for item in items:
        own: list[tuple[int, int]] = []
        for phrase, _ in item.phrases:
            for span in _places(item.tokens, phrase):
                if any(i < span[0] < j < span[1] or span[0] < i < span[1] < j for i, j in own):
                    lost.append(" ".join(phrase))
                else:
                    own.append(span)
        kept.append(own)
    lines, nodes = [], 0
    for item, tree in zip(items, build_trees(annotator.parser, tokens, kept)):
        labelled, _ = data.label_tree(tree, item.phrases, label=item.label)
        nodes += int((labelled.labels >= 0).sum())
        lines.append(labelled.to_brackets())
    content = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        Path(output).write_text(content, encoding="utf-8")
    print(f"{len(lines)} trees, {nodes} labelled nodes", file=sys.stderr)
    for phrase in lost:
        print(f"not a node, as it crosses another phrase: {phrase}", file=sys.stderr)


def _places(tokens: Sequence[str], phrase: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where a phrase stands in a sentence."""
    size = len(phrase)
    for begin in range(len(tokens) - size + 1):
        if tuple(tokens[begin : begin + size]) == tuple(phrase):
            yield begin, begin + size
