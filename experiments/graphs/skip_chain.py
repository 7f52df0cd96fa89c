"""Skip-chain CRFs over sparse features, and learning to chunk by them.

Tokens have the attributes of the sparse CRF of `experiments.chunking`, each with a weight for each
label; an edge of the chain has a table ``[C, C]``, and one more each for what `SKIP_FEATURES` says
of a skip edge. With all tables of skip edges 0 this is the linear chain. The loss is CRFsuite's,
``-ln P(labels)`` of all sentences and an L2 penalty; it is convex wherever inference is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.graphs import scoring, text, text_report
from experiments.graphs.config import Config
from experiments.graphs.loop import Task, learn
from experiments.graphs.report import Page
from experiments.graphs.text import SKIP_FEATURES, Batch
from rntn_jax.crf import chain, graph
from rntn_jax.ops import embed
from rntn_jax.training import save_pytree

__all__ = [
    "Answers",
    "Params",
    "answers",
    "chain_scores",
    "chunk",
    "graph_scores",
    "init",
    "loss",
    "method_for",
]


class Params(NamedTuple):
    """Weights."""

    state: jax.Array  # [A, C], of attributes; the first, none, counts nothing
    edge: jax.Array  # [C, C], of neighbours
    skip: jax.Array  # [3, C, C], of skip edges: the earlier word's label, the later word's


class Answers(NamedTuple):
    """What a model says of sentences."""

    marginals: list[np.ndarray]  # float32 [T, C] each
    nats: float  # of -ln P(labels) of all together, as the method has it
    linked_nats: float  # of those with skip edges


def init(num_attributes: int, num_labels: int) -> Params:
    """No opinion on anything."""
    c = num_labels
    state, edge = jnp.zeros((num_attributes, c)), jnp.zeros((c, c))
    return Params(state, edge, jnp.zeros((len(SKIP_FEATURES), c, c)))


def chain_scores(params: Params, batch: Batch) -> chain.Scores:
    """Scores of a minibatch without its skip edges."""
    of_attributes = embed(params.state, batch.ids)
    node = jnp.where(batch.ids[..., None] > 0, of_attributes, 0).sum(axis=2)
    return chain.Scores(node, params.edge, mask=batch.mask)


def graph_scores(params: Params, batch: Batch) -> graph.Scores:
    """Scores of a minibatch's graph, which must be there."""
    on = batch.skips
    assert on is not None
    node, edge = chain_scores(params, batch)[:2]
    skips = jnp.einsum("sf,fij->sij", on.features, params.skip)
    neighbours = jnp.broadcast_to(edge, (len(on.edges) - len(skips), *edge.shape))
    return graph.Scores(
        node=node.reshape(-1, node.shape[-1]),
        edge=jnp.concatenate([neighbours, skips]),
        edges=on.edges,
        node_mask=batch.mask.reshape(-1),
        edge_mask=on.edge_mask,
    )


def answers(method: str, config: Config, params: Params, batch: Batch):
    """Marginals ``[B, T, C]``, and ``-ln P(labels)`` of all rows together.

    Sentences without skip edges are chains, whatever the method (the linear chain sees no others);
    those that are too wide for exact inference are left to loopy BP.
    """
    on = batch.skips
    if on is None:
        scores = chain_scores(params, batch)
        p = chain.marginals(scores).node
        return p, -chain.log_prob(scores, batch.labels).sum()
    scores = graph_scores(params, batch)
    how = method_for(method, config, on)

    def log_partition(node):
        return graph.log_partition(scores._replace(node=node), **how)

    log_z, p = jax.value_and_grad(log_partition)(scores.node)
    nats = log_z - graph.score(scores, batch.labels.reshape(-1))
    return p.reshape(*batch.mask.shape, -1), nats


def method_for(method: str, config: Config, on: text.Skips) -> dict[str, Any]:
    """How a minibatch is computed: exactly only where there is a plan for it."""
    if method == "exact" and on.plan is not None:
        return {"method": method, "plan": on.plan}
    options = graph.Options(config.iterations, config.tolerance, config.damping)
    method = "loopy" if method == "exact" else method
    return {"method": method, "plan": on.around, "options": options}


def loss(
    method: str, config: Config, size: int, params: Params, batch: Batch, key: jax.Array
) -> tuple[jax.Array, None]:
    """Nats a sentence, with its share of the penalty, ``size`` being all training sentences."""
    if batch.skips is None:
        nats = -chain.log_prob(chain_scores(params, batch), batch.labels).sum()
    else:
        how = method_for(method, config, batch.skips)
        nats = -graph.log_prob(graph_scores(params, batch), batch.labels.reshape(-1), **how)
    squares = sum(jnp.square(weights).sum() for weights in params)
    return nats / batch.mask.any(axis=1).sum() + config.c2 / size * squares, None


def chunk(config: Config, workdir: Path) -> tuple[dict[str, Any], Page]:
    """Learns by each method: result, and what to report."""
    corpus = text.read(config)
    train, test = corpus.splits["train"], corpus.splits["test"]
    planned = text.skip_batches(corpus, config)

    def linked_batches(method: str, split: str) -> list[tuple[np.ndarray, Batch]]:
        if method != "chain":
            return planned[split]
        return [(n, text.without_skips(b, config.batch_size)) for n, b in planned[split]]

    def epoch(method: str, number: int) -> Iterator[tuple[Batch, int]]:
        seed = (config.seed, number)
        chains = text.chain_batches(train, config, seed)
        batches = [*chains, *linked_batches(method, "train")]
        for place in np.random.default_rng(seed).permutation(len(batches)):
            members, batch = batches[place]
            yield batch, len(members)

    def loss_of(method: str) -> Callable[..., Any]:
        return lambda params, batch, key: loss(method, config, len(train), params, batch, key)

    ask = {method: jax.jit(partial(answers, method, config)) for method in config.methods}

    def answer(method: str, params: Params, split: str) -> Answers:
        sentences, nats = corpus.splits[split], [0.0, 0.0]
        found = [np.zeros((0, 0))] * len(sentences)
        chains = text.chain_batches(sentences, config)
        for members, batch in (*chains, *linked_batches(method, split)):
            p, lost = ask[method](params, batch)
            nats[bool(sentences[members[0]].edges)] += float(lost)
            for n, row in zip(members, np.asarray(p)):
                found[n] = row[: len(sentences[n].rows)]
        return Answers(found, nats[0] + nats[1], nats[1])

    def counts(found: Answers, split: str) -> np.ndarray:
        tags = [[corpus.labels[c] for c in p.argmax(axis=1)] for p in found.marginals]
        return scoring.counts([[row[-1] for row in s.rows] for s in corpus.splits[split]], tags)

    def dev_error(method: str, params: Params) -> float:
        found = counts(answer(method, params, "dev"), "dev")
        return 1 - float(scoring.f1(found.sum(axis=0)))

    start = init(corpus.num_attributes, len(corpus.labels))
    per_epoch = sum(1 for _ in epoch("chain", 1))
    task = Task(start, per_epoch, epoch, loss_of, dev_error, "sentences")
    learnt = learn(config, workdir, config.methods, task)
    save_pytree(workdir / "model.safetensors", {name: m.params for name, m in learnt.items()}, {})

    linked = np.array([bool(sentence.edges) for sentence in test])
    found = {name: answer(name, model.params, "test") for name, model in learnt.items()}
    scores = {name: counts(them, "test") for name, them in found.items()}
    baseline, models = scores["chain"], {}
    for name, model in learnt.items():
        of_all, of_linked = found[name].nats / len(test), found[name].linked_nats
        models[name] = {
            "all": scoring.compare(scores[name], baseline) | {"nats": of_all},
            "linked": scoring.compare(scores[name][linked], baseline[linked])
            | {"nats": of_linked / max(int(linked.sum()), 1)},
            "seconds": round(model.seconds, 2),
            "epoch_seconds": round(model.epoch_seconds, 2),
        }
    sizes = {
        split: {
            "sentences": len(sentences),
            "linked": sum(bool(s.edges) for s in sentences),
            "edges": sum(len(s.edges) for s in sentences),
            "too_wide": sum(s.width > config.max_width for s in sentences),
        }
        for split, sentences in corpus.splits.items()
    }
    result = {"attributes": corpus.num_attributes, "splits": sizes, "models": models}
    marginals = {name: them.marginals for name, them in found.items()}
    tables = np.asarray(learnt[config.methods[-1]].params.skip)
    return result, text_report.page(config, result, corpus, marginals, tables)
