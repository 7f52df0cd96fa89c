"""Training of the parsers, of transitions and of arcs: the readable loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import loop, optimizers
from experiments.parser_data import evaluate, vocabularies_of
from experiments.parsing import report
from experiments.parsing.batches import loader_of
from experiments.parsing.config import Config
from experiments.splits import load_conllu
from experiments.workdir import run_once, write_json
from rntn_jax import data
from rntn_jax.annotate.dependency_parser import (
    MORE_COLUMNS,
    DependencyParser,
    parse_with_marginals,
    save_dependency_parser,
)
from rntn_jax.models import context_parser, encoder, graph_parser, parser
from rntn_jax.training import NotFiniteError, make_train_step

__all__ = ["NotFiniteError", "load_splits", "run"]

Sentences = Sequence[data.ConlluSentence]


def load_splits(config: Config) -> dict[str, Sentences]:
    """Sentences of train, dev and test."""
    return load_conllu(config)


def make_model(config: Config, vocabularies, relations, options) -> DependencyParser:
    """Random parameters, and what goes with them."""
    key = jax.random.split(jax.random.key(config.seed))[0]
    words = tuple(len(v) + 1 for v in vocabularies)  # and the root
    columns = (config.column_dim,) * (len(vocabularies) - 1)
    reader = encoder.Config(
        words,
        (config.word_dim, *columns),
        rnn_layers=config.rnn_layers,
        rnn_dim=config.rnn_dim,
        cell=config.cell,
        word_range=config.word_range,
    )
    if config.model == "graph":
        sizes = graph_parser.Config(
            reader,
            num_relations=len(relations),
            arc_dim=config.hidden_dim,
            relation_dim=config.relation_dim,
        )
        params = graph_parser.init(key, sizes)
    elif config.rnn_layers:
        sizes = context_parser.Config(
            reader,
            num_relations=len(relations),
            relation_dim=config.column_dim,
            hidden_dim=config.hidden_dim,
        )
        params = context_parser.init(key, sizes)
    else:
        sizes = parser.Config(
            vocab_sizes=words,
            num_relations=len(relations),
            embed_dims=(config.word_dim, *columns, config.column_dim),
            hidden_dim=config.hidden_dim,
            word_range=config.word_range,
        )
        params = parser.init(key, sizes)
    return DependencyParser(params, vocabularies, relations, sizes, options)


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment.

    Returns:
        The content of ``result.json``: attachment scores of the chosen model, and when.
    """
    return run_once(config, workdir, fresh, load_splits, _run)


def _run(config: Config, workdir: Path, splits: dict[str, Sentences]) -> dict[str, Any]:
    """`run` in a folder that is held."""
    graph = config.model == "graph"
    options: dict[str, Any] = {name: getattr(config, name) for name in MORE_COLUMNS}
    options |= {"projective": config.projective} if graph else {"activation": config.activation}
    relations = sorted({r for sentence in splits["train"] for r in sentence.relations})
    vocabularies = vocabularies_of(splits["train"], options, config.min_count)
    place = loop.placement(config)
    loader = loader_of(config)(config, splits["train"], vocabularies, relations, options, place)
    model = make_model(config, vocabularies, relations, options)
    total = config.epochs * loader.updates
    schedule = optimizers.warmup_cosine(config.learning_rate, total)
    optimizer = optax.chain(optimizers.clip(config.clip_norm), optax.adam(schedule, b2=0.99))
    loss = place.loss(loader.loss, loader.count)
    step = make_train_step(loss, optimizer, stochastic=True, several=True)
    # The generator of the hardware: it compiles and runs quicker than the default.
    train_key = jax.random.key(config.seed + 1, impl="rbg")

    def model_of(params) -> DependencyParser:
        return model._replace(params=jax.device_get(params))

    training = loop.start_training(
        config, workdir, model.params, optimizer, train_key, total=total, unit="steps", place=place
    )
    with training as (run_state, metrics, bar):
        while run_state.epoch < config.epochs:
            epoch, begun = run_state.epoch + 1, time.monotonic()
            minibatches = (
                (b, updates, (updates, steps)) for b, updates, steps in loader.epoch(epoch)
            )
            nats: list[float] = []
            for (updates, steps), out in loop.take_steps(run_state, step, minibatches):
                which = partial(_which, epoch, len(nats))
                loop.check_finite(out, workdir, which)
                nats += out["loss"].tolist()
                bar.advance(updates, steps, f"epoch {epoch}", nats=nats[-1])
            seconds = time.monotonic() - begun
            scores = evaluate(model_of(run_state.params), splits["dev"])
            row = {
                "epoch": epoch,
                "train_nll": float(np.mean(nats)),
                "dev_uas": scores.uas,
                "dev_las": scores.las,
                "seconds": round(seconds, 3),
            }
            metrics.write(run_state.step, **row)
            better = run_state.finish_epoch(scores.las, metrics.rows[-1])
            bar.say(
                f"epoch {epoch}: {row['train_nll']:.4f} nats, dev UAS "
                f"{100 * scores.uas:.2f} LAS {100 * scores.las:.2f}, {seconds:.1f} s"
                + (" *" if better else "")
            )

    model = model_of(run_state.best)
    save_dependency_parser(workdir / "model.safetensors", model)
    result: dict[str, Any] = {
        "epoch": run_state.best_epoch,
        "epochs_run": run_state.epoch,
        "steps": loader.steps,
        "lifted_arcs": loader.lifted,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params)),
        "seconds": loop.total_seconds(metrics.rows),
    }
    for split in sorted(splits.keys() - {"train"}):
        scores = evaluate(model, splits[split])
        result |= {f"{split}_uas": scores.uas, f"{split}_las": scores.las}
        result[f"{split}_clas"] = scores.clas
        if graph:
            found = of_arcs(model, splits[split])
            result |= {f"{split}_{name}": value for name, value in found.items()}
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, metrics.rows, model, splits)
    write_json(workdir / "result.json", result)
    return result


def of_arcs(model: DependencyParser, sentences: Sentences) -> dict[str, Any]:
    """Scores of the sentences whose trees are not projective, and calibration of the marginals.

    Returns:
        ``nonprojective_sentences``, their ``nonprojective_uas`` and ``nonprojective_las``;
        ``calibration``, of each tenth of probabilities with arcs in it where it begins, their
        number, mean probability and the share that is right; and ``calibration_error``, the mean
        distance of the last two, weighted by numbers.
    """
    answers = parse_with_marginals(model, sentences)
    crossing = [not data.dependencies.is_projective(s.heads) for s in sentences]
    own = [(s, a[:2]) for s, a, is_one in zip(sentences, answers, crossing) if is_one]
    scores = data.dependencies.attachment_scores(*zip(*own)) if own else None
    p = np.concatenate([np.zeros(0), *(answer[2] for answer in answers)])
    right = np.concatenate([np.zeros(0), *(a[0] == s.heads for s, a in zip(sentences, answers))])
    tenth = np.minimum((10 * p).astype(int), 9)
    rows = []
    for k in np.unique(tenth):
        own_p, own_right = p[tenth == k], right[tenth == k]
        rows.append((k / 10, len(own_p), float(own_p.mean()), float(own_right.mean())))
    error = sum(n * abs(mean - share) for _, n, mean, share in rows) / max(len(p), 1)
    return {
        "nonprojective_sentences": len(own),
        "nonprojective_uas": scores.uas if scores else None,
        "nonprojective_las": scores.las if scores else None,
        "calibration": rows,
        "calibration_error": error,
    }


def _which(epoch: int, first: int, at: int) -> str:
    """Which minibatch of a call."""
    return f"epoch {epoch}, minibatch {first + at}"
