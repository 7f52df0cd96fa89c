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
from rntn_jax.annotate import BinaryParser, Pipeline, SentimentClassifier, word_features
from rntn_jax.annotate.corrections import Corrections
from rntn_jax.annotate.serve import Server
from rntn_jax.models import encoder, rntn, span_parser

WORDS = "the a film is good bad not very , . and but".split()
COMMAND = "./launch.sh sentiment --train={}"


def small_model() -> Pipeline:
    """Untrained networks of a few numbers."""
    vocabularies = tuple(data.Vocabulary.build(column) for column in word_features(WORDS))
    sizes = span_parser.Config(
        encoder.Config(tuple(map(len, vocabularies)), (4, 3), rnn_dim=4), hidden_dim=5
    )
    parser = BinaryParser((span_parser.init(jax.random.key(0), sizes),), vocabularies, sizes)
    words = data.Vocabulary.build(WORDS)
    params = rntn.init(jax.random.key(1), rntn.Config(len(words), dim=3, num_classes=5))
    return Pipeline(parser, SentimentClassifier(params, words, {}, {}))


@contextlib.contextmanager
def running(model: Pipeline, file: Path) -> Iterator[Server]:
    """A server on any free port, until the block ends."""
    with Server(model, Corrections(file), port=0, command=COMMAND) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with Server(small_model(), Corrections(sys.argv[1]), port=0, command=COMMAND) as served:
        print(served.address, flush=True)
        served.serve_forever()
