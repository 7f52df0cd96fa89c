"""A trained language model at work: perplexity of a text, sentences scored, text drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from experiments.language_model.pipeline import (
    Model,
    encode,
    generate,
    load_model,
    perplexity,
    read_sentences,
    sentence_nats,
)
from rntn_jax.compilation import cached

__all__ = ["score", "write_text"]


@cached()
def score(model_path: Path, source: str, form: str) -> float:
    """Prints every sentence's perplexity, then that of the whole text; returns the latter."""
    model = load_model(model_path)
    level = model.info.get("level", "word")
    sentences = read_sentences(sys.stdin.buffer if source == "-" else source, level=level)
    answers = zip(sentences, sentence_nats(model, sentences), strict=True)
    for number, (sentence, nats) in enumerate(answers, 1):
        alone = float(np.exp(nats.mean()))
        text = ("" if level == "char" else " ").join(sentence)
        if form == "json":
            answer = {
                "id": number,
                "text": text,
                "perplexity": round(alone, 4),
                "nats": np.round(nats.astype(float), 5).tolist(),
                "unknown": sum(word not in model.vocabulary for word in sentence),
            }
            print(json.dumps(answer, ensure_ascii=False))
        else:
            print(f"{alone:10.2f}  {text}")
    whole = perplexity(model.params, encode(sentences, model.vocabulary), model.activation)
    tokens = sum(len(sentence) + 1 for sentence in sentences)
    words = [word for sentence in sentences for word in sentence]
    unknown = _tell_unknown(model, words, "the text")
    print(
        f"perplexity {whole:.2f} of {tokens} tokens, sentence ends among them, the state carried "
        f"from sentence to sentence; {unknown} unknown words",
        file=sys.stderr if form == "json" else sys.stdout,
    )
    return whole


def _tell_unknown(model: Model, words: list[str], where: str) -> int:
    """Says which words the model does not know, warns when they are most, and counts them."""
    unknown = [word for word in words if word not in model.vocabulary]
    if unknown:
        kinds = list(dict.fromkeys(unknown))
        shown = ", ".join([*kinds[:5], "..."] if len(kinds) > 5 else kinds)
        told = f"unknown to the model: {len(unknown)} of {len(words)} tokens of {where} ({shown})"
        if 2 * len(unknown) >= len(words):
            told += "; is this the kind of text that it was trained on?"
        print(told, file=sys.stderr)
    return len(unknown)


@cached()
def write_text(
    model_path: Path, prompt: str, length: int, temperature: float, top_k: int | None, seed: int
) -> None:
    """Prints a prompt carried on."""
    model = load_model(model_path)
    level = model.info.get("level", "word")
    words = list(prompt) if level == "char" else prompt.split()
    _tell_unknown(model, words, "the prompt")
    drawn = generate(model, words, length, temperature, top_k, seed)
    glue = "" if level == "char" else " "
    text = glue.join([*words, *drawn]).replace(glue + model.vocabulary.words[model.end], "\n")
    print("\n".join(line.strip() for line in text.split("\n")))
