"""A trained language model as one file, and its scores of texts."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import IO, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax import data, sequences
from rntn_jax.data.text import read_text
from rntn_jax.models import rnn_lm
from rntn_jax.training import load_model as load_model_file
from rntn_jax.training import require, save_pytree, shapes_of

__all__ = [
    "END",
    "Model",
    "encode",
    "load_model",
    "perplexity",
    "read_sentences",
    "save_model",
    "sentence_nats",
]

END = data.demo_text.END
_SENTENCE_END = re.compile(rf"(?<!\S){re.escape(END)}(?!\S)")


class Model(NamedTuple):
    """Everything needed to score and to write text."""

    params: rnn_lm.Params
    vocabulary: data.Vocabulary
    config: rnn_lm.Config
    activation: str
    info: dict[str, Any]  # how it was trained

    @property
    def end(self) -> int:
        """Id of the end of sentence."""
        return int(self.vocabulary.encode([END])[0])


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Writes a model to one safetensors file."""
    info = {
        "kind": "rnn_lm",
        "config": dataclasses.asdict(model.config),
        "vocabulary": json.loads(model.vocabulary.to_json()),
        "activation": model.activation,
        "info": model.info,
    }
    save_pytree(path, model.params, info)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads what `save_model` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        CheckpointError: when the file is damaged or holds something else.
    """

    def describe(info: dict[str, Any]) -> tuple[Any, Callable[[Any], Model]]:
        config = rnn_lm.Config(**info["config"])
        vocabulary = data.Vocabulary.from_json(json.dumps(info["vocabulary"]))
        require(
            len(vocabulary) == config.vocab_size,
            f"the vocabulary has {len(vocabulary)} words, the model {config.vocab_size}",
        )
        require(END in vocabulary, f"the vocabulary has no {END}")
        activation, level = info["activation"], info["info"].get("level", "word")
        require(activation in ("tanh", "sigmoid", "relu"), f"activation is {activation!r:.40}")
        require(level in ("word", "char"), f"level is {level!r:.40}")
        return shapes_of(rnn_lm.init, config), lambda params: Model(
            params, vocabulary, config, activation, info["info"]
        )

    return load_model_file(path, "rnn_lm", "a recurrent language model", describe)


def read_sentences(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], *, level: str = "word"
) -> list[list[str]]:
    """Reads a text, one sentence a line, without its empty lines.

    Where the text marks the ends of its sentences by `END` itself, as some corpora do, these are
    read as ends too, and that is said on standard error: `encode` puts one after every sentence.

    Raises:
        DataError: when there is no sentence, or the file is not UTF-8 text.
    """
    file, text = read_text(source)
    pieces = _SENTENCE_END.split(text)
    if len(pieces) > 1:
        print(
            f"{file}: its {len(pieces) - 1} {END} are read as the ends of sentences, to which no "
            "second one is added",
            file=sys.stderr,
        )
    lines = (line for piece in pieces for line in piece.split("\n"))
    stream = io.StringIO("\n".join(line for line in lines if line.strip()))
    stream.name = file
    return data.read_sentences(stream, level=level)


def encode(sentences: list[list[str]], vocabulary: data.Vocabulary) -> np.ndarray:
    """One row of ids: an `END`, then every sentence and its `END`."""
    return vocabulary.encode([END, *(w for s in sentences for w in (*s, END))])


@lru_cache(maxsize=8)
def _scorer(activation: str):
    return jax.jit(lambda p, batch, carry: rnn_lm.score(p, batch, carry, activation=activation))


def perplexity(
    params: rnn_lm.Params, ids: np.ndarray, activation: str, batch_size: int = 1, steps: int = 256
) -> float:
    """Per token of a whole text, the state carried from its first token to its last.

    With ``batch_size`` above 1 the text is cut into that many streams, of which each starts from
    a state of zeros: quicker, and a little too high.
    """
    score, total, count = _scorer(activation), 0.0, 0
    batches = sequences.segments(ids, batch_size, steps)
    carry = rnn_lm.initial_carry(params, len(batches[0].tokens))
    for batch in batches:
        nats, carry = score(params, batch, carry)
        total += float(np.asarray(nats, np.float64).sum())
        count += int(batch.mask.sum())
    return float(np.exp(total / count))


def sentence_nats(
    model: Model, sentences: list[list[str]], batch_size: int = 64
) -> list[np.ndarray]:
    """Nats of every word and of the `END`, each sentence by itself, in the order given."""
    rows = [model.vocabulary.encode([*s, END]) for s in sentences]
    answers: list[np.ndarray] = [np.empty(0)] * len(rows)
    score = _scorer(model.activation)
    for members, length in sequences.buckets([len(row) for row in rows], batch_size):
        batch = sequences.pad([rows[m] for m in members], model.end, length)
        # Always full batches, so that a length compiles once.
        lacking = batch_size - len(members)
        batch = jax.tree.map(lambda a: np.pad(a, ((0, lacking), (0, 0))), batch)  # noqa: B023
        nats, _ = score(model.params, batch, rnn_lm.initial_carry(model.params, batch_size))
        for row, m in enumerate(members):
            answers[m] = np.asarray(nats[row, : len(rows[m])])
    return answers


def generate(
    model: Model, prompt: list[str], length: int, temperature: float, top_k: int | None, seed: int
) -> list[str]:
    """A prompt carried on by ``length`` tokens, sentence ends among them."""
    ids = jnp.asarray(model.vocabulary.encode([END, *prompt]))[None]
    drawn = jax.jit(
        rnn_lm.generate, static_argnames=("length", "temperature", "top_k", "activation")
    )(
        model.params,
        jax.random.key(seed),
        ids,
        length=length,
        temperature=temperature,
        top_k=top_k,
        activation=model.activation,
    )
    return [model.vocabulary.words[i] for i in np.asarray(drawn)[0]]
