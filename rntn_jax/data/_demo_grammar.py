"""The grammar and the words of the embedded treebank (`rntn_jax.data.demo_sentiment`).

`RULES` maps a symbol to its productions, each with a weight and one or two parts: the weights need
not sum to anything. A part is a symbol of `RULES`, a word class of `WORDS`, or a word as it stands.
Names that end in `_s` and `_p` are singular and plural. No symbol leads back to itself, so that
every sentence is finite. The grammar never joins two polar phrases but by "but".

`WORDS` maps a word class to its words, by score; a score is chosen first, then a word of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["LEXICON", "RULES", "START", "WORDS"]

START = "sentence"

RULES: Mapping[str, Sequence[tuple[float, str]]] = {
    "sentence": [(1, "body .")],
    "body": [
        (25, "clause"),
        (8, "OPENER clause"),
        (47, "clause contrast"),
        (10, "clause and_neutral"),
        (10, "neutral_clause and_clause"),
    ],
    "contrast": [(1, "but clause")],
    "and_neutral": [(1, "and neutral_clause")],
    "and_clause": [(1, "and clause")],
    # Clauses and their subjects.
    "clause": [(60, "thing_s predicate_s"), (30, "thing_p predicate_p"), (10, "PERSON opinion")],
    "neutral_clause": [
        (40, "thing_s neutral_s"),
        (30, "thing_p neutral_p"),
        (30, "PERSON neutral_opinion"),
    ],
    "thing_s": [
        (40, "DETERMINER_S PART_S"),
        (25, "DEMONSTRATIVE WORK"),
        (10, "DETERMINER_S plain_part_s"),
        (5, "DEMONSTRATIVE plain_work"),
        (20, "whole_s"),
    ],
    "thing_p": [
        (65, "DETERMINER_P PART_P"),
        (15, "DETERMINER_P plain_part_p"),
        (20, "whole_p"),
    ],
    "plain_part_s": [(1, "NEUTRAL_ADJECTIVE PART_S")],
    "plain_part_p": [(1, "NEUTRAL_ADJECTIVE PART_P")],
    "plain_work": [(1, "NEUTRAL_ADJECTIVE WORK")],
    "whole_s": [(1, "the_part_s of_work")],
    "whole_p": [(1, "the_part_p of_work")],
    "the_part_s": [(1, "the PART_S")],
    "the_part_p": [(1, "the PART_P")],
    "of_work": [(1, "of the_work"), (1, "in the_work")],
    "the_work": [(1, "DEMONSTRATIVE WORK")],
    # What is said about the subject.
    "predicate_s": [
        (40, "BE_S description"),
        (15, "BE_S verdict"),
        (25, "verb_s"),
        (10, "VERB_NEGATOR verb_s"),
        (10, "HAVE_S quality"),
    ],
    "predicate_p": [
        (50, "BE_P description"),
        (25, "verb_p"),
        (12, "VERB_NEGATOR verb_p"),
        (13, "HAVE_P quality"),
    ],
    "verb_s": [(1, "TRANSITIVE_S thing"), (1, "NEUTRAL_VERB_S object"), (2, "INTRANSITIVE_S")],
    "verb_p": [(1, "TRANSITIVE_P thing"), (1, "NEUTRAL_VERB_P object"), (2, "INTRANSITIVE_P")],
    "neutral_s": [(1, "BE_S NEUTRAL_ADJECTIVE"), (1, "NEUTRAL_VERB_S thing")],
    "neutral_p": [(1, "BE_P NEUTRAL_ADJECTIVE"), (1, "NEUTRAL_VERB_P thing")],
    "opinion": [(7, "OPINION thing"), (3, "VERB_NEGATOR plain_opinion")],
    "plain_opinion": [(1, "OPINION thing")],
    "neutral_opinion": [(1, "NEUTRAL_OPINION thing")],
    "thing": [(2, "thing_s"), (1, "thing_p")],
    # Adjectives, and the nouns that carry a judgement.
    "description": [(25, "adjective"), (25, "graded"), (35, "not gradable"), (15, "pair")],
    "adjective": [(85, "ADJECTIVE"), (15, "NEUTRAL_ADJECTIVE")],
    "graded": [(55, "intensified"), (45, "DIMINISHER adjective")],
    "intensified": [(1, "INTENSIFIER adjective")],
    "gradable": [(6, "adjective"), (4, "intensified")],
    "pair": [(1, "NEUTRAL_ADJECTIVE and_polar"), (1, "ADJECTIVE and_plain")],
    "and_polar": [(1, "and ADJECTIVE")],
    "and_plain": [(1, "and NEUTRAL_ADJECTIVE")],
    "verdict": [(7, "a_verdict"), (3, "not a_verdict")],
    "a_verdict": [(1, "a VERDICT")],
    "object": [(3, "a praised_s"), (1, "some praised_p"), (2, "a_work with_quality")],
    "praised_s": [(1, "adjective noun_s"), (1, "graded noun_s")],
    "praised_p": [(1, "adjective PART_P"), (1, "graded PART_P")],
    "noun_s": [(1, "PART_S"), (1, "WORK")],
    "a_work": [(1, "a WORK")],
    "with_quality": [(1, "with QUALITY"), (1, "without QUALITY")],
    "quality": [(4, "QUALITY"), (6, "no QUALITY")],
}

_POLAR: Mapping[str, Mapping[int, str]] = {
    "ADJECTIVE": {
        2: "brilliant superb wonderful magnificent outstanding terrific stunning amazing",
        1: "good funny pleasant charming clever likable engaging decent smart touching",
        -1: "bad boring dull weak clumsy predictable shallow silly tedious uneven",
        -2: "terrible awful horrible dreadful atrocious unbearable disastrous abysmal",
    },
    "NEUTRAL_ADJECTIVE": {0: "long short french quiet modern early recent familiar foreign simple"},
    "VERDICT": {
        2: "masterpiece triumph gem marvel",
        1: "pleasure treat success delight",
        0: "drama comedy remake sequel thriller musical",
        -1: "letdown bore cliche muddle",
        -2: "disaster catastrophe travesty fiasco",
    },
    "QUALITY": {
        2: "genius brilliance magic",
        1: "charm wit humor heart depth",
        0: "dialogue music color narration",
        -1: "flaws gaps padding noise",
        -2: "garbage cruelty incompetence",
    },
    "TRANSITIVE_S": {1: "elevates enriches", -1: "wastes spoils"},
    "TRANSITIVE_P": {1: "elevate enrich", -1: "waste spoil"},
    "INTRANSITIVE_S": {
        2: "dazzles soars",
        1: "works shines",
        0: "continues ends",
        -1: "drags stumbles",
        -2: "collapses disgusts",
    },
    "INTRANSITIVE_P": {
        2: "dazzle soar",
        1: "work shine",
        0: "continue end",
        -1: "drag stumble",
        -2: "collapse disgust",
    },
    "OPINION": {
        2: "loved adored",
        1: "liked enjoyed",
        -1: "disliked regretted",
        -2: "hated loathed",
    },
}

_NEUTRAL: Mapping[str, str] = {
    "OPENER": "overall frankly again",
    "PERSON": "i we they",
    "DEMONSTRATIVE": "the this",
    "DETERMINER_S": "the this its",
    "DETERMINER_P": "the these its",
    "WORK": "film movie story picture",
    "PART_S": "plot script cast ending camera pacing soundtrack hero director",
    "PART_P": "actors jokes songs scenes characters effects twists images stunts writers",
    "BE_S": "is was",
    "BE_P": "are were",
    "HAVE_S": "has offers shows contains",
    "HAVE_P": "have offer show contain",
    "NEUTRAL_VERB_S": "presents follows introduces",
    "NEUTRAL_VERB_P": "present follow introduce",
    "NEUTRAL_OPINION": "saw watched discussed",
    "FUNCTION_WORDS": "a an some the this of in and with .",
}

_OPERATORS: Mapping[str, tuple[str, str]] = {
    "INTENSIFIER": ("intensifier", "very extremely truly incredibly remarkably utterly"),
    "DIMINISHER": ("diminisher", "slightly somewhat fairly mildly rather"),
    "VERB_NEGATOR": ("negator", "never hardly rarely"),
    "NEGATOR": ("negator", "not no without"),
    "CONJUNCTION": ("but", "but"),
}


def _classes() -> dict[str, tuple[str, dict[int, list[str]]]]:
    """Word class -> category and words by score."""
    classes = {
        name: ("plain", {score: text.split() for score, text in table.items()})
        for name, table in _POLAR.items()
    }
    classes |= {name: ("plain", {0: text.split()}) for name, text in _NEUTRAL.items()}
    classes |= {name: (kind, {0: text.split()}) for name, (kind, text) in _OPERATORS.items()}
    return classes


WORDS: Mapping[str, Sequence[Sequence[str]]] = {
    name: list(table.values()) for name, (_, table) in _classes().items()
}

LEXICON: Mapping[str, tuple[str, int]] = {
    word: (category, score)
    for category, table in _classes().values()
    for score, words in table.items()
    for word in words
}
