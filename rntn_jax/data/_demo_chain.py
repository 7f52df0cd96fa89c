"""The chain behind `rntn_jax.data.demo_tags`: its tables, and what follows from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["CHAIN", "EMISSIONS", "END", "LABELS", "POS", "START", "TRANSITIONS", "WORDS"]

LABELS = ("O", "B-NP", "I-NP", "B-VP", "I-VP", "B-PP", "I-PP")

# Probability of a label, of a sentence's end in the last column, after another label.
_CHAIN = {
    #         O   B-NP  I-NP  B-VP  I-VP  B-PP  I-PP   end
    "start": (0.08, 0.64, 0.00, 0.08, 0.00, 0.20, 0.00, 0.00),
    "O": (0.06, 0.44, 0.00, 0.14, 0.00, 0.12, 0.00, 0.24),
    "B-NP": (0.10, 0.03, 0.57, 0.22, 0.00, 0.08, 0.00, 0.00),
    "I-NP": (0.22, 0.04, 0.24, 0.32, 0.00, 0.18, 0.00, 0.00),
    "B-VP": (0.15, 0.38, 0.00, 0.00, 0.32, 0.15, 0.00, 0.00),
    "I-VP": (0.20, 0.40, 0.00, 0.00, 0.20, 0.20, 0.00, 0.00),
    "B-PP": (0.02, 0.75, 0.00, 0.08, 0.00, 0.00, 0.15, 0.00),
    "I-PP": (0.00, 0.90, 0.00, 0.10, 0.00, 0.00, 0.00, 0.00),
}

# The classes of words that a label emits.
LABEL_CLASSES = {
    "O": {"mark": 0.60, "conjunction": 0.25, "adverb": 0.15},
    "B-NP": {"determiner": 0.50, "pronoun": 0.20, "adjective": 0.10, "noun": 0.20},
    "I-NP": {"noun": 0.65, "adjective": 0.30, "conjunction": 0.05},
    "B-VP": {"verb": 0.60, "auxiliary": 0.35, "adverb": 0.05},
    "I-VP": {"verb": 0.75, "adverb": 0.20, "auxiliary": 0.05},
    "B-PP": {"preposition": 0.95, "adverb": 0.05},
    "I-PP": {"preposition": 1.00},
}

# The words of a class, frequent ones first: the probability falls as one over the rank.
CLASSES = {
    "determiner": "the a every some her that no".split(),
    "pronoun": "it she they he her that".split(),
    "adjective": "new open clear old long quiet right light short well bright".split(),
    "noun": "film plans story house works shows river can cuts calls light right city year moves"
    " plays runs child market turns looks hopes will".split(),
    "verb": "shows plans opens works makes open cuts finds plays clear calls keeps runs moves light"
    " likes turns looks sees hopes".split(),
    "auxiliary": "is can will has was may must".split(),
    "adverb": "again well often now right never before after near".split(),
    "preposition": "of in to near on after with before from over out".split(),
    "conjunction": "and but or before that after".split(),
    "mark": ". , ; :".split(),
}

# What the poor tagger says of a word of a class.
PARTS_OF_SPEECH = {
    "determiner": {"DT": 0.95, "PRP": 0.05},
    "pronoun": {"PRP": 0.90, "DT": 0.10},
    "adjective": {"JJ": 0.70, "NN": 0.20, "VB": 0.05, "RB": 0.05},
    "noun": {"NN": 0.75, "VB": 0.15, "JJ": 0.10},
    "verb": {"VB": 0.75, "NN": 0.20, "JJ": 0.05},
    "auxiliary": {"MD": 0.80, "VB": 0.15, "NN": 0.05},
    "adverb": {"RB": 0.70, "IN": 0.15, "JJ": 0.15},
    "preposition": {"IN": 0.80, "RB": 0.15, "CC": 0.05},
    "conjunction": {"CC": 0.85, "IN": 0.15},
    "mark": {".": 1.00},
}

WORDS = tuple(sorted({word for words in CLASSES.values() for word in words}))
POS = tuple(sorted({pos for row in PARTS_OF_SPEECH.values() for pos in row}))


def _emissions() -> npt.NDArray[np.float64]:
    """`p(word, pos | label) = sum_c p(c | label) p(word | c) p(pos | c)` over the classes c."""
    table = np.zeros((len(LABELS), len(WORDS), len(POS)))
    for i, label in enumerate(LABELS):
        for kind, share in LABEL_CLASSES[label].items():
            scale = sum(1 / rank for rank in range(1, len(CLASSES[kind]) + 1))
            for rank, word in enumerate(CLASSES[kind], 1):
                for pos, chance in PARTS_OF_SPEECH[kind].items():
                    table[i, WORDS.index(word), POS.index(pos)] += share * chance / rank / scale
    table.flags.writeable = False
    return table


CHAIN = np.array([_CHAIN[name] for name in ("start", *LABELS)])
"""`[1 + C, C + 1]`: row 0 begins a sentence, row 1 + i follows label i; the last column ends it."""
CHAIN.flags.writeable = False
START = CHAIN[0, :-1]
"""`[C]`: the probability that a sentence begins with a label."""
TRANSITIONS = CHAIN[1:, :-1]
"""`[C, C]`: `[i, j]` is the probability that label j follows label i."""
END = CHAIN[1:, -1]
"""`[C]`: the probability that a sentence ends after a label."""
EMISSIONS = _emissions()
"""`[C, W, P]`: the probability of a word and a part of speech, given the label."""
