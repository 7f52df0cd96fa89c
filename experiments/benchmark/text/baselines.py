"""The systems of the text benchmark: raw texts to tokens, to sentiment trees, to UD trees.

NLTK (``pip install nltk==3.9.1``) and UDPipe (``pip install ufal.udpipe==1.4.0.1``) are measured
where they are installed, or in an interpreter of their own (``--peers_python``).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["FEW", "make", "train_udpipe"]

Train = Callable[[], list[float]]  # all texts once, a number for each of them
FEW = 128  # texts that are enough for the slow ones


def make(system: str, problem: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name.

    Args:
        system: a key of `experiments.benchmark.text.run.SYSTEMS`.
        problem: a JSON object: ``texts``, and ``udpipe``, the file of its model.
        threads: not read: `interleave` sets them.

    Returns:
        A function that works through all texts, or the first `FEW`, and what it fills: a digest of
        what it found for the first `FEW`.
    """
    given = json.loads(problem.read_text(encoding="utf-8"))
    facts: dict[str, Any] = {}
    return _SYSTEMS[system](given, facts), facts


def _digests(found: Iterable[Any]) -> list[str]:
    return [hashlib.sha256(str(x).encode()).hexdigest()[:12] for x, _ in zip(found, range(FEW))]


def _ours(given: dict[str, Any], facts: dict[str, Any]) -> Train:
    """As the command does: a file in, a file of brackets out."""
    from rntn_jax.annotate import default_model
    from rntn_jax.cli.sentiment import predict

    model, texts = default_model(), given["texts"]
    folder = tempfile.TemporaryDirectory()
    source, target = Path(folder.name) / "texts.txt", Path(folder.name) / "trees.txt"
    source.write_text("\n".join(texts) + "\n", encoding="utf-8")

    def train(folder=folder) -> list[float]:
        target.unlink(missing_ok=True)
        predict(model, str(source), "text", "brackets", str(target))
        facts["found"] = _digests(target.read_text(encoding="utf-8").splitlines())
        return [0.0] * len(texts)

    return train


def _numpy(given: dict[str, Any], facts: dict[str, Any]) -> Train:
    from experiments.benchmark.text.numpy_pipeline import labelled_tree
    from rntn_jax.annotate import default_model
    from rntn_jax.data import tokenize

    model, texts = default_model(), given["texts"][:FEW]

    def train() -> list[float]:
        trees = [labelled_tree(model, tokenize(text)) for text in texts]
        facts["found"] = _digests(tree.to_brackets() for tree in trees)
        return [0.0] * len(texts)

    return train


def _tokens(
    tokenize: Callable[[str], list[str]], given: dict[str, Any], facts: dict[str, Any]
) -> Train:
    texts = given["texts"]

    def train() -> list[float]:
        facts["found"] = _digests([tokenize(text) for text in texts])
        return [0.0] * len(texts)

    return train


def _our_tokens(given: dict[str, Any], facts: dict[str, Any]) -> Train:
    from rntn_jax.data import tokenize

    return _tokens(tokenize, given, facts)


def _nltk(given: dict[str, Any], facts: dict[str, Any]) -> Train:
    from nltk.tokenize import TreebankWordTokenizer

    facts["version"] = importlib.metadata.version("nltk")
    return _tokens(TreebankWordTokenizer().tokenize, given, facts)


def _our_ud(given: dict[str, Any], facts: dict[str, Any]) -> Train:
    from rntn_jax.annotate import default_ud_parser, parse

    model, text = default_ud_parser(), "\n\n".join(given["texts"])

    def train() -> list[float]:
        facts["sentences"] = len(parse(text, model))
        return [0.0] * len(given["texts"])

    return train


def _udpipe(beam: int, given: dict[str, Any], facts: dict[str, Any]) -> Train:
    from ufal.udpipe import Model, Pipeline, ProcessingError

    facts["version"] = importlib.metadata.version("ufal.udpipe")
    model, text = Model.load(given["udpipe"]), "\n\n".join(given["texts"][: 4 * FEW])
    pipeline = Pipeline(model, "tokenizer", "", f"beam_search={beam}", "conllu")

    def train(model=model) -> list[float]:  # the pipeline does not hold its model
        error = ProcessingError()
        found = pipeline.process(text, error)
        if error.occurred():
            raise ValueError(error.message)
        facts["sentences"] = found.count("# sent_id")
        return [0.0] * len(given["texts"][: 4 * FEW])

    return train


_SYSTEMS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Train]] = {
    "ours": _ours,
    "numpy": _numpy,
    "ours_tokens": _our_tokens,
    "nltk": _nltk,
    "ours_ud": _our_ud,
    "udpipe_greedy": lambda *args: _udpipe(1, *args),
    "udpipe_beam": lambda *args: _udpipe(5, *args),
}


def train_udpipe(source: str, target: str) -> None:
    """A tokenizer, tagger and parser of UDPipe's default sizes; one pass each, as speed is all.

    Args:
        source: a CoNLL-U file.
        target: where the model is written.
    """
    from ufal.udpipe import InputFormat, ProcessingError, Sentence, Trainer

    reader, error = InputFormat.newConlluInputFormat(), ProcessingError()
    reader.setText(Path(source).read_text(encoding="utf-8"))
    sentences, sentence = [], Sentence()
    while len(sentences) < 1500 and reader.nextSentence(sentence, error):
        sentences.append(sentence)
        sentence = Sentence()
    options = "epochs=1", "iterations=1", "iterations=1;structured_interval=0"
    model = Trainer.train("morphodita_parsito", sentences, [], *options, error)
    if error.occurred():
        raise ValueError(error.message)
    Path(target).write_bytes(model)
