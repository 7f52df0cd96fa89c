"""An embedded dependency treebank: sentences of a small grammar whose trees follow from the words.

Where a prepositional phrase belongs is said by its preposition ("of", "near": the noun before it;
"with", "by": the verb), so the best possible attachment score is 100 %, and a parser that looks at
its stack, its buffer and the words can reach it. Labels are those of Universal Dependencies.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rntn_jax.data.conllu import ConlluSentence

__all__ = ["sentences", "splits"]

_WORDS = {
    "DET": "the a every some this".split(),
    "ADJ": "new old long short quiet strange bright".split(),
    "NOUN": "film story actor scene ending house river child plot voice".split(),
    "VERB": "shows moves finds keeps likes follows tells opens".split(),
    "ADV": "again slowly often today never".split(),
    "AUX": "will can may must".split(),
    "of noun": "of near about".split(),
    "of verb": "with by against".split(),
    "PUNCT": [".", "!"],
}


class _Builder:
    """Words with their heads, in the order in which they are said."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.words: list[tuple[str, str]] = []  # form and tag
        self.heads: list[int] = []
        self.relations: list[str] = []

    def say(self, kind: str, tag: str | None = None) -> int:
        """Adds a word of that kind; its head is told later. Returns its number."""
        self.words.append((self.rng.choice(_WORDS[kind]), tag or kind))
        self.heads.append(0)
        self.relations.append("root")
        return len(self.words)

    def attach(self, child: int, head: int, relation: str) -> None:
        self.heads[child - 1], self.relations[child - 1] = head, relation

    def noun_phrase(self, depth: int = 0) -> int:
        """Determiner, adjectives, noun, and perhaps a phrase that belongs to it."""
        before = [(self.say("DET"), "det")] if self.rng.random() < 0.8 else []
        while self.rng.random() < 0.3:
            before.append((self.say("ADJ"), "amod"))
        noun = self.say("NOUN")
        for child, relation in before:
            self.attach(child, noun, relation)
        if depth < 2 and self.rng.random() < 0.3:
            self.phrase("of noun", noun, "nmod", depth + 1)
        return noun

    def phrase(self, kind: str, head: int, relation: str, depth: int) -> None:
        """A preposition and its noun phrase, below a head."""
        preposition = self.say(kind, "ADP")
        noun = self.noun_phrase(depth)
        self.attach(preposition, noun, "case")
        self.attach(noun, head, relation)

    def sentence(self) -> ConlluSentence:
        subject = self.noun_phrase()
        before = [(self.say("AUX"), "aux")] if self.rng.random() < 0.3 else []
        if self.rng.random() < 0.2:
            before.append((self.say("ADV"), "advmod"))
        verb = self.say("VERB")
        self.attach(subject, verb, "nsubj")
        for child, relation in before:
            self.attach(child, verb, relation)
        if self.rng.random() < 0.7:
            self.attach(self.noun_phrase(), verb, "obj")
        while self.rng.random() < 0.3:
            self.phrase("of verb", verb, "obl", 1)
        if self.rng.random() < 0.2:
            self.attach(self.say("ADV"), verb, "advmod")
        self.attach(self.say("PUNCT"), verb, "punct")
        rows = [
            (str(n), form, "_", tag, "_", "_", str(head), relation, "_", "_")
            for n, ((form, tag), head, relation) in enumerate(
                zip(self.words, self.heads, self.relations), 1
            )
        ]
        text = " ".join(form for form, _ in self.words)
        return ConlluSentence((f"# text = {text}",), tuple(rows))


def sentences(count: int, seed: int = 0) -> list[ConlluSentence]:
    """Draws sentences with their trees; some 0.1 ms each.

    Args:
        count: how many.
        seed: the same seed gives the same sentences.

    Returns:
        Sentences as `read_conllu` returns them, projective, with one root each.

    Raises:
        ValueError: for a negative count.

    Example:
        >>> sentence = sentences(1)[0]
        >>> sentence.upos[-1], sentence.relations[-1]
        ('PUNCT', 'punct')
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    rng = random.Random(seed)
    return [_Builder(rng).sentence() for _ in range(count)]


def splits(
    num_train: int = 1000, num_dev: int = 200, num_test: int = 200, seed: int = 0
) -> dict[str, Sequence[ConlluSentence]]:
    """A train, a dev and a test set.

    Args:
        num_train: number of sentences in train.
        num_dev: the same for dev.
        num_test: the same for test.
        seed: the same seed gives the same sentences.

    Returns:
        The sentences by the name of the set.

    Example:
        >>> {name: len(trees) for name, trees in splits(3, 2, 1).items()}
        {'train': 3, 'dev': 2, 'test': 1}
    """
    sizes = {"train": num_train, "dev": num_dev, "test": num_test}
    return {name: sentences(n, 3 * seed + k) for k, (name, n) in enumerate(sizes.items())}
