"""Training of recurrent language models: the readable loop."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments import loop, optimizers
from experiments.language_model import report
from experiments.language_model.config import Config
from experiments.language_model.pipeline import (
    END,
    Model,
    encode,
    perplexity,
    read_sentences,
    save_model,
)
from experiments.language_model.streaming import encoded
from experiments.splits import read_corpus
from experiments.workdir import run_once, write_json
from rntn_jax import data, sequences
from rntn_jax.models import rnn_lm
from rntn_jax.ops.vocabulary_shards import Shards
from rntn_jax.training import NotFiniteError, make_train_step
from rntn_jax.training.devices import VOCABULARY

__all__ = ["NotFiniteError", "load_splits", "run"]


def load_splits(config: Config) -> dict[str, list[list[str]]]:
    """Sentences of train, dev and test; of dev and test alone where train is streamed."""
    read = partial(read_sentences, level=config.level)
    if config.stream:
        files = {"dev": config.dev, "test": config.test}
        return {name: read(file)[: config.max_sentences] for name, file in files.items() if file}
    splits = read_corpus(config, read, data.demo_text.splits, noun="sentences", in_order=True)
    return {name: sentences[: config.max_sentences] for name, sentences in splits.items()}


def make_optimizer(config: Config, num_updates: int) -> optax.GradientTransformation:
    """Clipping, direction, decay, and the step size over time."""
    warmup = min(config.warmup, max(num_updates // 10, 1))
    grows = optax.linear_schedule(0.0, config.learning_rate, warmup)
    after = max(num_updates - warmup, 1)
    falls = optimizers.schedule(config.schedule, config.learning_rate, after)
    return optax.chain(
        optimizers.clip(config.clip_norm),
        optimizers.direction(config.optimizer),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(optax.join_schedules([grows, falls], [warmup])),
    )


def make_loss(config: Config, words: int | None = None):
    """Mean nats of a segment, given the state before it; of ``words`` where devices share them."""
    shards = None
    if words is not None and config.vocabulary_shards > 1:
        shards = Shards(VOCABULARY, words)

    def loss(params, batch, key):
        segment, carry = batch
        return rnn_lm.loss(
            params,
            segment,
            jax.lax.stop_gradient(carry),  # truncated backpropagation
            activation=config.activation,
            input_dropout=config.input_dropout,
            hidden_dropout=config.hidden_dropout,
            recurrent_dropout=config.recurrent_dropout,
            output_dropout=config.output_dropout,
            chunk=config.chunk,
            key=key,
            shards=shards,
        )

    return loss


def run(config: Config, workdir: str | Path, *, fresh: bool = False) -> dict[str, Any]:
    """`run_once` of this experiment.

    Returns:
        The content of ``result.json``: perplexities of the chosen model, and when.
    """
    return run_once(config, workdir, fresh, load_splits, _run)


def _run(config: Config, workdir: Path, splits: dict[str, list[list[str]]]) -> dict[str, Any]:
    """`run` in a folder that is held."""
    if config.stream:
        with encoded(config, workdir) as (vocabulary, text):
            return _train(config, workdir, splits, vocabulary, text)
    words = (w for sentence in splits["train"] for w in (*sentence, END))
    vocabulary = data.Vocabulary.build(words, config.min_count)
    return _train(config, workdir, splits, vocabulary, encode(splits["train"], vocabulary))


def _train(
    config: Config,
    workdir: Path,
    splits: dict[str, list[list[str]]],
    vocabulary: data.Vocabulary,
    text: Any,
) -> dict[str, Any]:
    """Trains on the ids of a text, an array or a file, and reports."""
    ids = {name: encode(own, vocabulary) for name, own in splits.items() if name != "train"}
    make = sequences.Segments if config.stream else sequences.segments
    batches = make(text, config.batch_size, config.steps)
    total = config.epochs * len(batches)

    model_config = rnn_lm.Config(
        vocab_size=len(vocabulary),
        embed_dim=config.embed_dim,
        hidden_dim=config.hidden_dim,
        layers=config.layers,
        tied=config.tied,
        word_range=config.word_range,
        recurrent_scale=config.recurrent_scale,
    )
    optimizer = make_optimizer(config, total)
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    params = rnn_lm.init(init_key, model_config)
    specs = rnn_lm.vocabulary_specs(params, VOCABULARY)
    place = loop.placement(config, config.vocabulary_shards, specs)
    loss = place.loss(make_loss(config, len(vocabulary)), lambda _, aux: aux.tokens)
    train_step = make_train_step(loss, optimizer, stochastic=True)
    training = loop.start_training(
        config,
        workdir,
        params,
        optimizer,
        train_key,
        total=total,
        unit="tokens",
        place=place,
        carry=rnn_lm.initial_carry(params, len(batches[0].tokens)),
    )
    with training as (run_state, metrics, bar):

        def step(state, segment):
            """A train step, the carry handed on from one segment to the next."""
            state, out = train_step(state, (segment, run_state.carry))
            run_state.carry = out["aux"].carry
            return state, out

        while run_state.epoch < config.epochs and not loop.out_of_patience(
            config.patience, run_state
        ):
            epoch = run_state.epoch + 1
            start = time.monotonic()
            losses: list[float] = []
            norms: list[float] = []
            segments = (
                (place.rows(batch), 1, (number, int(batch.mask.sum())))
                for number, batch in enumerate(batches)
            )
            if config.stream:
                segments = loop.ahead(segments)
            for (number, tokens), out in loop.take_steps(run_state, step, segments):
                loop.check_finite(out, workdir, f"epoch {epoch}, segment {number}")
                losses.append(float(out["loss"]))
                norms.append(float(out["grad_norm"]))
                bar.advance(1, tokens, f"epoch {epoch}", perplexity=float(np.exp(losses[-1])))
                if config.save_steps and (number + 1) % config.save_steps == 0:
                    run_state.save_within_epoch()
            trained = time.monotonic() - start

            dev = perplexity(run_state.params, ids["dev"], config.activation, config.batch_size)
            metrics.write(
                run_state.step,
                epoch=epoch,
                train_perplexity=float(np.exp(np.mean(losses))),
                dev_perplexity=dev,
                grad_norm=float(np.median(norms)),
                seconds=round(trained, 3),
            )
            better = run_state.finish_epoch(-dev, metrics.rows[-1])
            bar.say(
                f"epoch {epoch}: perplexity train {np.exp(np.mean(losses)):.2f}, dev {dev:.2f}, "
                f"{(len(text) - 1) / trained:.0f} tokens/s" + (" *" if better else "")
            )

    model = Model(
        run_state.best, vocabulary, model_config, config.activation, dataclasses.asdict(config)
    )
    save_model(workdir / "model.safetensors", model)
    result: dict[str, Any] = {
        "epoch": run_state.best_epoch,
        "epochs_run": run_state.epoch,
        # Exact: one stream, the state carried over the whole text.
        **{
            f"{name}_perplexity": perplexity(run_state.best, ids[name], config.activation)
            for name in ("dev", "test")
            if name in ids
        },
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run_state.best)),
        "vocabulary": len(vocabulary),
        "seconds_per_epoch": loop.seconds_per_epoch(metrics.rows),
    }
    if config.corpus == "demo" and config.train is None:
        nats = [x for sentence in splits["test"] for x in data.demo_text.nats(sentence)]
        result["best_test_perplexity"] = float(np.exp(np.mean(nats)))
    result["report"] = str(workdir / "report.html")
    report.write(workdir, config, result, metrics.rows, model, splits)
    write_json(workdir / "result.json", result)
    return result
