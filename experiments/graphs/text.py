"""Sentences as chains with skip edges, and minibatches of them.

A skip edge joins two equal capitalised words of a sentence (Sutton and McCallum 2004), unless they
are neighbours, which an edge of the chain joins anyway. Sentences without any, most of them, go
into minibatches of their own, of like length. A minibatch of the others is also a graph, which
falls into as many parts as it has sentences; minibatches of one size have one compiled program.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.graphs import names
from experiments.graphs.config import Config
from experiments.splits import check_tagged
from rntn_jax import data, sequences
from rntn_jax.crf import graph
from rntn_jax.tagger.column_features import attributes
from rntn_jax.training.devices import side_by_side

__all__ = [
    "Batch",
    "Sentence",
    "Skips",
    "Text",
    "chain_batches",
    "read",
    "skip_batches",
    "skips",
    "without_skips",
]

SKIP_FEATURES = ("any", "same word before", "same word after")


class Sentence(NamedTuple):
    """A sentence, its attributes and its skip edges."""

    rows: list[tuple[str, ...]]  # the last column is the tag
    ids: np.ndarray  # int32 [T, A], attributes; 0 = none
    labels: np.ndarray  # int32 [T]
    edges: list[tuple[int, int]]  # skip edges, from the earlier word to the later
    order: list[int]  # of elimination
    width: int  # of its largest bag; 2 of a chain


class Text(NamedTuple):
    """A corpus."""

    splits: dict[str, list[Sentence]]
    labels: list[str]
    num_attributes: int  # with 0, none


class Skips(NamedTuple):
    """The graph of a minibatch, node ``b T + t`` being token ``t`` of row ``b``."""

    edges: Any  # int32 [B (T - 1) + S, 2], those of the chains first
    edge_mask: Any  # bool [B (T - 1) + S]
    features: Any  # float32 [S, 3], `SKIP_FEATURES` of skip edges
    around: graph.Neighbours
    plan: graph.Plan | None  # None: too wide


class Batch(NamedTuple):
    """Sentences of a minibatch, padded; rows that fill up are masked throughout."""

    ids: Any  # int32 [B, T, A]
    labels: Any  # int32 [B, T]
    mask: Any  # bool [B, T]
    skips: Skips | None = None


def skips(words: Sequence[str]) -> list[tuple[int, int]]:
    """Skip edges of a sentence: equal capitalised words that are not neighbours.

    Example:
        >>> skips("Mr. Lee met Mr. Lee , Lee Lee and the the".split())
        [(0, 3), (1, 4), (1, 6), (1, 7), (4, 6), (4, 7)]
    """
    places = defaultdict(list)
    for t, word in enumerate(words):
        if word[:1].isupper():
            places[word].append(t)
    pairs = (pair for at in places.values() for pair in itertools.combinations(at, 2))
    return sorted((i, j) for i, j in pairs if j > i + 1)


def read(config: Config) -> Text:
    """The corpus that the settings name.

    Raises:
        DataError: when it is not there or faulty.
        ValueError: when a split is empty.
    """
    limit = config.max_sentences
    if config.corpus == "names":
        splits = {name: rows[:limit] for name, rows in names.splits(seed=config.seed).items()}
    else:
        files = data.corpora.find(config.corpus, config.data_dir)
        splits = check_tagged(
            {name: data.read_columns(file) for name, file in files.items()},
            f"train of {config.corpus}",
            max_sentences=limit,
            dev_sentences=config.dev_sentences,
            scheme="bio",
        )
    described = {
        name: [attributes([_seen(row, config) for row in rows], "crfsuite") for rows in sentences]
        for name, sentences in splits.items()
    }
    tokens = itertools.chain.from_iterable(described["train"])
    vocabulary = data.Vocabulary.build(itertools.chain.from_iterable(tokens), config.min_count)
    everything = itertools.chain.from_iterable(splits.values())
    labels = sorted({row[-1] for rows in everything for row in rows})
    most = max(len(token) for them in described.values() for rows in them for token in rows)
    number = {label: c for c, label in enumerate(labels)}

    def sentence(rows, described) -> Sentence:
        ids = np.zeros((len(rows), most), np.int32)
        for t, token in enumerate(described):
            known = vocabulary.encode(token)
            ids[t, : len(token)] = np.where(known == 1, 0, known)  # 1: unknown
        edges, order, width = skips([row[0] for row in rows]), list(range(len(rows))), 2
        if edges:
            chain = [(t, t + 1) for t in order[:-1]]
            order, bags, _ = graph.best_order(np.array(chain + edges), len(rows), len(rows))
            width = max(map(len, bags)) + 1
        labels = np.array([number[row[-1]] for row in rows])
        return Sentence(rows, ids, labels, edges, order, width)

    found = {n: [sentence(*both) for both in zip(splits[n], described[n])] for n in splits}
    return Text(found, labels, len(vocabulary))


def _seen(row: tuple[str, ...], config: Config) -> tuple[str, ...]:
    """What the features may use of a token: never the tag."""
    return row[:-1] if config.pos else row[:1]


def chain_batches(
    sentences: Sequence[Sentence], config: Config, seed: Any = None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Members and arrays of minibatches of the sentences without skip edges."""
    places = np.array([n for n, sentence in enumerate(sentences) if not sentence.edges], int)
    lengths = [len(sentences[n].rows) for n in places]
    if not lengths:
        return
    for members, length in sequences.buckets(lengths, config.batch_size, seed, config.granularity):
        chosen = places[members]
        own = [sentences[n] for n in chosen]
        yield chosen, _padded(own, config.batch_size, length, own[0].ids.shape[1])


def without_skips(batch: Batch, rows: int) -> Batch:
    """The chains of a minibatch, as those of `chain_batches`: with that many rows."""
    more = (0, rows - len(batch.mask)), (0, 0)
    ids = np.pad(batch.ids, (*more, (0, 0)))
    return Batch(ids, np.pad(batch.labels, more), np.pad(batch.mask, more))


def _padded(sentences: Sequence[Sentence], rows: int, length: int, width: int) -> Batch:
    batch = Batch(
        np.zeros((rows, length, width), np.int32),
        np.zeros((rows, length), np.int32),
        np.zeros((rows, length), bool),
    )
    for b, sentence in enumerate(sentences):
        size = len(sentence.rows)
        batch.ids[b, :size], batch.labels[b, :size] = sentence.ids, sentence.labels
        batch.mask[b, :size] = True
    return batch


def skip_batches(
    text: Text, config: Config, pieces: int | None = None
) -> dict[str, list[tuple[np.ndarray, Batch]]]:
    """By split, members and arrays of minibatches of the sentences with skip edges.

    They are planned here, once. Where exact inference needs larger bags than `Config.max_width`,
    there is no plan for it.

    Args:
        text: the corpus.
        config: the settings.
        pieces: so many graphs of one shape are made of each minibatch, for as many devices; they
            stand side by side along a new first axis.
    """
    unit, widest = config.granularity, config.max_width
    most = max(s.ids.shape[1] for sentences in text.splits.values() for s in sentences)
    groups: dict[tuple[int, int], list[tuple[str, np.ndarray]]] = defaultdict(list)
    for split, sentences in text.splits.items():
        alike = defaultdict(list)
        for n, sentence in enumerate(sentences):
            if sentence.edges:
                length = -(-len(sentence.rows) // unit) * unit
                alike[length, min(sentence.width, widest + 1)].append(n)
        for (length, width), members in alike.items():
            # Tables grow with the width: fewer sentences at a time.
            size = config.batch_size if width != 4 else max(config.batch_size // 4, 1)
            cuts = range(0, len(members), size)
            groups[length, width] += [(split, np.array(members[i : i + size])) for i in cuts]
    found: dict[str, list[tuple[np.ndarray, Batch]]] = {split: [] for split in text.splits}
    for (length, width), parts in groups.items():
        cut = [(split, np.array_split(members, pieces or 1)) for split, members in parts]
        rows = max(len(part) for _, own in cut for part in own)
        sentences = [[text.splits[split][n] for n in part] for split, own in cut for part in own]
        bag = width if width <= widest else None
        graphs = _graphs(sentences, rows, length, bag, len(text.labels))
        batches = [
            _padded(them, rows, length, most)._replace(skips=on)
            for them, on in zip(sentences, graphs)
        ]
        for k, (split, members) in enumerate(parts):
            if pieces is None:
                batch = batches[k]
            else:
                batch = side_by_side(batches[k * pieces : (k + 1) * pieces])
            found[split].append((members, batch))
    return found


def _graphs(
    batches: Sequence[Sequence[Sentence]],
    rows: int,
    length: int,
    width: int | None,
    num_labels: int,
) -> list[Skips]:
    """Graphs of minibatches, in arrays of the same sizes; ``width`` None: without a plan."""
    slots = max(sum(len(s.edges) for s in sentences) for sentences in batches)
    nodes = np.arange(rows * length).reshape(rows, length)
    chain = np.stack([nodes[:, :-1], nodes[:, 1:]], axis=-1).reshape(-1, 2)
    edges = np.zeros((len(batches), len(chain) + slots, 2), np.int32)
    mask = np.zeros(edges.shape[:2], bool)
    features = np.zeros((len(batches), slots, len(SKIP_FEATURES)), np.float32)
    for k, sentences in enumerate(batches):
        edges[k, : len(chain)] = chain
        ends = np.array([len(s.rows) for s in sentences] + [0] * (rows - len(sentences)))
        mask[k, : len(chain)] = (np.arange(1, length) < ends[:, None]).reshape(-1)
        skip = len(chain)
        for b, sentence in enumerate(sentences):
            for i, j in sentence.edges:
                edges[k, skip], mask[k, skip] = (nodes[b, i], nodes[b, j]), True
                features[k, skip - len(chain)] = _features(sentence.rows, i, j)
                skip += 1

    graphs = list(zip(edges, mask))
    around = [graph.neighbours(e, nodes.size, edge_mask=m, forests=True) for e, m in graphs]
    most = max(len(them.other) for them in around)
    around = [_with_slots(them, most) for them in around]
    plans: Sequence[graph.Plan | None] = [None] * len(batches)
    if width is not None:
        orders = [_order(sentences, nodes) for sentences in batches]
        plans = _plans(graphs, orders, width, num_labels)
    return [Skips(*them) for them in zip(edges, mask, features, around, plans)]


def _order(sentences: Sequence[Sentence], nodes: np.ndarray) -> np.ndarray:
    """Sentence after sentence, so that few messages wait; then what fills up."""
    rows = [row[: len(s.order)][s.order] for row, s in zip(nodes, sentences)]
    used = np.concatenate([*rows, np.zeros(0, int)])
    return np.concatenate([used, np.setdiff1d(nodes, used)])


def _plans(graphs: Sequence[Any], orders: Sequence[Any], width: int, labels: int):
    """Plans of one shape: a bag a step, since tables of many labels fill the cache."""
    count = len(orders[0])
    roomy = graph.Shape(width, count, 1, width * (width - 1) + 1, count + 2)
    plans = [
        graph.plan(edges, count, labels, edge_mask=mask, order=order, shape=roomy)
        for (edges, mask), order in zip(graphs, orders)
    ]
    pool = 1 + max(int(max(plan.own.max(), plan.up.max())) for plan in plans)
    return [plan._replace(places=plan.places[:pool]) for plan in plans]


def _features(rows: Sequence[Sequence[str]], i: int, j: int) -> list[bool]:
    """`SKIP_FEATURES` of an edge; at the ends of a sentence there is no word."""
    words = ["", *(row[0] for row in rows), ""]
    return [True, words[i] == words[j] != "", words[i + 2] == words[j + 2] != ""]


def _with_slots(them: graph.Neighbours, slots: int) -> graph.Neighbours:
    """The same neighbours with room for more."""
    before, count = them.other.shape
    more = ((0, slots - before), (0, 0))
    none = before * count, slots * count

    def moved(places):
        return np.where(places == none[0], none[1], places)

    return them._replace(
        other=np.pad(them.other, more, constant_values=count),
        link=np.pad(them.link, more, constant_values=2 * len(them.slot)),
        back=np.pad(moved(them.back), more, constant_values=none[1]),
        slot=moved(them.slot),
        colour_ids=np.arange(slots + 1, dtype=np.int32),
    )
