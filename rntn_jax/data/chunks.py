"""Chunks of a sentence and their tags: from tags to chunks, between schemes, and scores.

Each token has a tag: `O` outside of chunks, else a letter and the chunk's type, `B-NP`. With `X` a
type, the schemes say:

- "bio" (IOB2): a chunk is `B-X I-X I-X`.
- "iob1": a chunk is `I-X I-X I-X`; its first tag is `B-X` only directly after a chunk of type X.
- "bioes": a chunk is `B-X I-X E-X`, and `S-X` when it is one token.
- "bilou", "bmewo", "bmes": as "bioes" with other letters: `B-X I-X L-X` and `U-X`; `B-X M-X E-X`
  and `W-X`; `B-X M-X E-X` and `S-X`.

Tags without type, `B I O`, work too.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rntn_jax.data._tag_schemes import (
    Chunk,
    Scheme,
    allowed_end,
    allowed_start,
    allowed_transitions,
    chunks,
    convert,
    validate,
)
from rntn_jax.data.counts import Counts
from rntn_jax.data.errors import DataError

__all__ = [
    "Chunk",
    "Counts",
    "Scheme",
    "Scores",
    "allowed_end",
    "allowed_start",
    "allowed_transitions",
    "chunks",
    "convert",
    "evaluate",
    "table",
    "validate",
]


class Scores(NamedTuple):
    """What `evaluate` returns.

    Attributes:
        overall: the counts of all chunks; its `f1` is the score of CoNLL-2000 (micro average).
        by_type: the counts of each type in gold or predicted tags, sorted.
        tokens: the number of tokens.
        correct_tokens: the number of tokens whose tag is predicted rightly.

    Example:
        >>> evaluate([["B-NP", "O"]], [["B-NP", "B-VP"]]).accuracy
        0.5
    """

    overall: Counts
    by_type: dict[str, Counts]
    tokens: int
    correct_tokens: int

    @property
    def accuracy(self) -> float:
        """The fraction of tokens with the right tag, from 0 to 1; 0 where there are none."""
        return self.correct_tokens / self.tokens if self.tokens else 0.0


def evaluate(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> Scores:
    """Compares the chunks of predicted tags with those of gold tags, as `conlleval` does.

    Args:
        gold: the tags of the sentences.
        predicted: as many sentences, with as many tags each. Malformed sequences are fine.

    Returns:
        Counts and, from them, precision, recall, F1 and token accuracy, as fractions from 0 to 1
        (`conlleval` prints percent).

    Raises:
        ValueError: when the numbers of sentences, or of a sentence's tags, differ.
        DataError: for what is no tag, as `chunks`, naming the sentence.
        TypeError: when a sentence is one string.

    Example:
        >>> gold = [["B-NP", "I-NP", "B-VP"], ["B-NP", "O"]]
        >>> scores = evaluate(gold, [["B-NP", "B-NP", "B-VP"], ["B-NP", "O"]])
        >>> scores.overall, scores.overall.recall, scores.by_type["VP"].f1
        (Counts(gold=3, predicted=4, correct=2), 0.6666666666666666, 1.0)
    """
    gold, predicted = list(gold), list(predicted)
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences, but {len(predicted)} predicted ones")
    counts = [collections.Counter[str]() for _ in Counts._fields]
    tokens = correct_tokens = 0
    for number, (tags, guesses) in enumerate(zip(gold, predicted)):
        if len(tags) != len(guesses):
            raise ValueError(
                f"sentence {number} (from 0) has {len(tags)} gold and {len(guesses)} predicted tags"
            )
        try:
            true, guessed = set(chunks(tags)), set(chunks(guesses))
        except DataError as error:
            raise DataError(
                f"sentence {number} (from 0): {error.message}", value=error.value
            ) from None
        for counter, found in zip(counts, (true, guessed, true & guessed)):
            counter.update(chunk.type for chunk in found)
        tokens += len(tags)
        correct_tokens += sum(tag == guess for tag, guess in zip(tags, guesses))
    types = sorted(counts[0] | counts[1])
    return Scores(
        overall=Counts(*(counter.total() for counter in counts)),
        by_type={kind: Counts(*(counter[kind] for counter in counts)) for kind in types},
        tokens=tokens,
        correct_tokens=correct_tokens,
    )


def table(scores: Scores) -> str:
    """Scores as a table to print, in percent as `conlleval` prints them.

    Example:
        >>> print(table(evaluate([["B-NP", "O", "B-VP"]], [["B-NP", "O", "O"]])))
        type       precision   recall       F1     gold  predicted
        NP            100.00   100.00   100.00        1          1
        VP              0.00     0.00     0.00        1          0
        all           100.00    50.00    66.67        2          1
        token accuracy 66.67 (3 tokens)
    """
    width = max([10, *map(len, scores.by_type)])
    lines = [f"{'type':{width}} {'precision':>9} {'recall':>8} {'F1':>8} {'gold':>8}  predicted"]
    for name, c in [*scores.by_type.items(), ("all", scores.overall)]:
        rates = f"{100 * c.precision:9.2f} {100 * c.recall:8.2f} {100 * c.f1:8.2f}"
        lines.append(f"{name:{width}} {rates} {c.gold:8} {c.predicted:10}")
    lines.append(f"token accuracy {100 * scores.accuracy:.2f} ({scores.tokens} tokens)")
    return "\n".join(lines)
