"""A server of the live page for tests, in this process or in one of its own: a small model.

As a program: `python -m tests.annotate.live_server FILE` serves until it is killed.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jax

from rntn_jax import data
from rntn_jax.annotate import Annotator, Labeller, TreeBuilder, describe
from rntn_jax.annotate.corrections import Corrections
from rntn_jax.annotate.serve import Server
from rntn_jax.models import encoder, rntn, span_parser

WORDS = "the a film is good bad not very , . and but".split()
COMMAND = "./launch.sh sentiment --train={}"


def small_annotator() -> Annotator:
    """Untrained networks of a few numbers."""
    vocabularies = tuple(data.Vocabulary.build(column) for column in describe(WORDS))
    sizes = span_parser.Config(
        encoder.Config(tuple(map(len, vocabularies)), (4, 3), rnn_dim=4), hidden_dim=5
    )
    builder = TreeBuilder((span_parser.init(jax.random.key(0), sizes),), vocabularies, sizes)
    words = data.Vocabulary.build(WORDS)
    params = rntn.init(jax.random.key(1), rntn.Config(len(words), dim=3, num_classes=5))
    return Annotator(builder, Labeller(params, words, {}, {}))


@contextlib.contextmanager
def running(annotator: Annotator, file: Path) -> Iterator[Server]:
    """A server on any free port, until the block ends."""
    with Server(annotator, Corrections(file), port=0, command=COMMAND) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with Server(small_annotator(), Corrections(sys.argv[1]), port=0, command=COMMAND) as served:
        print(served.address, flush=True)
        served.serve_forever()
