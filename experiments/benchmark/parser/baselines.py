"""The systems of the parser benchmark: training steps of its network, and parsing.

UDPipe (``pip install ufal.udpipe==1.4.0.1``) and PyTorch come with the extra ``benchmark``, or live
in an interpreter of their own (flag ``--peers_python``). UDPipe searches with a beam of five unless
told otherwise, hence the systems ``udpipe_greedy`` and ``udpipe_beam``; all others are greedy.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark import problem_file

__all__ = [
    "BATCH",
    "UDPIPE_OPTIONS",
    "Problem",
    "make",
    "padded_batches",
]

Train = Callable[[], list[float]]  # all minibatches once, or all sentences once

UDPIPE_OPTIONS = "iterations=1;structured_interval=0"
BATCH = 256  # sentences parsed at a time


class Problem(NamedTuple):
    """What the baselines in training are given."""

    ids: list[np.ndarray]  # int32 [N, B, places], of each vocabulary
    labels: np.ndarray  # int32 [N, B]
    tables: list[np.ndarray]  # [V, E], of each vocabulary
    hidden: list[np.ndarray]  # w [in, H], b [H]
    head: list[np.ndarray]  # w [H, C], b [C]
    learning_rate: float


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name, the version of its library; the trees too where it parses."""
    if system.startswith("udpipe"):
        return udpipe(system, json.loads(path.read_text(encoding="utf-8")))
    if system in ("tables", "plain", "whole"):
        return jax_parse(system, json.loads(path.read_text(encoding="utf-8")))
    problem = problem_file.load(path, Problem)
    if system == "torch":
        return torch_train(problem, threads)
    return jax_train(system, problem)


# --- training ---


def jax_train(system: str, problem: Problem) -> tuple[Train, dict[str, Any]]:
    """Adam on the hand rule with folded vocabularies, or on autodiff of the plain code."""
    import jax
    import jax.numpy as jnp
    import optax

    from rntn_jax.models import window
    from rntn_jax.training import init_state, make_train_step

    def loss(params, batch):
        if system == "autodiff":
            return plain_loss(params, batch), None
        return window.loss(params, batch)[0], None

    tables, hidden, head = jax.tree.map(jnp.asarray, problem[2:5])
    params = window.Params(tuple(tables), window.Layer(*hidden), window.Layer(*head))
    optimizer = optax.adam(problem.learning_rate)
    step: Any = make_train_step(loss, optimizer, several=True)
    state = init_state(params, optimizer, jax.random.key(0))
    batches = window.Batch(tuple(map(jnp.asarray, problem.ids)), jnp.asarray(problem.labels))
    compiled = step.lower(state, batches).compile()

    def train() -> list[float]:
        nonlocal state
        state, metrics = compiled(state, batches)
        return np.asarray(metrics["loss"]).tolist()

    megabytes = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return train, {"version": jax.__version__, "temp_mb": megabytes}


def plain_loss(params: Any, batch: Any) -> Any:
    """The network as one writes it: gather, put side by side, multiply."""
    import jax
    import jax.numpy as jnp

    vectors = [table[ids] for table, ids in zip(params.embedding, batch.ids)]
    x = jnp.concatenate([v.reshape(len(v), -1) for v in vectors], axis=1)
    h = jax.nn.relu(x @ params.hidden.w + params.hidden.b[None])
    log_y = jax.nn.log_softmax(h @ params.head.w + params.head.b[None])
    return -jnp.take_along_axis(log_y, batch.labels[:, None], axis=1).mean()


def torch_train(problem: Problem, threads: int) -> tuple[Train, dict[str, Any]]:
    """The same in PyTorch, eager, with its fused Adam."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)

    def parameters(arrays):
        return [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]

    tables = parameters(problem.tables)
    w, b = parameters([problem.hidden[0].T, problem.hidden[1]])
    u, c = parameters([problem.head[0].T, problem.head[1]])
    optimizer = torch.optim.Adam([*tables, w, b, u, c], lr=problem.learning_rate, fused=True)
    ids = [torch.from_numpy(column.astype(np.int64)) for column in problem.ids]
    labels = torch.from_numpy(problem.labels.astype(np.int64))

    def once(k: int) -> Any:
        vectors = [F.embedding(column[k], table) for column, table in zip(ids, tables)]
        x = torch.cat([v.flatten(1) for v in vectors], dim=1)
        logits = F.linear(F.relu(F.linear(x, w, b)), u, c)
        loss = F.cross_entropy(logits, labels[k])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def train() -> list[float]:
        return torch.stack([once(k) for k in range(len(labels))]).tolist()

    return train, {"version": torch.__version__}


# --- parsing ---


def jax_parse(system: str, files: dict[str, str]) -> tuple[Train, dict[str, Any]]:
    """Greedy decoding of padded batches; ``whole``: from sentences to named relations."""
    import jax

    from rntn_jax import data
    from rntn_jax.annotate.dependency_parser import load_dependency_parser, parse_tagged
    from rntn_jax.models import parser

    model = load_dependency_parser(files["model"])
    sentences = data.read_conllu(files["test"])
    facts: dict[str, Any] = {"version": jax.__version__}

    def parse_whole() -> list[float]:
        facts["trees"] = [
            (heads.tolist(), names) for heads, names in parse_tagged(model, sentences)
        ]
        return [float(len(sentences))]

    if system == "whole":
        return parse_whole, facts

    if not isinstance(model.config, parser.Config):
        raise ValueError(f"{files['model']} does not hold a parser of windows; try --systems=whole")
    params = jax.device_put(model.params)
    products = jax.jit(parser.precompute)(params) if system == "tables" else None
    if products is not None:
        facts["table_mb"] = sum(table.nbytes for table in products) / 2**20
    members, batches = zip(*padded_batches(model, sentences))
    batches = jax.device_put(batches)
    root, activation = model.relations.index("root"), model.options["activation"]
    decode = jax.jit(partial(parser.decode, root=root, activation=activation))

    def train() -> list[float]:
        answers = jax.device_get([decode(params, b, products=products) for b in batches])
        if "trees" not in facts:
            trees: list[Any] = [None] * len(sentences)
            for rows, (heads, relations) in zip(members, answers):
                for row, member in enumerate(rows):
                    end = len(sentences[member].forms) + 1
                    names = [model.relations[r] for r in relations[row, 1:end]]
                    trees[member] = heads[row, 1:end].tolist(), names
            facts["trees"] = trees
        return [float(len(sentences))]

    return train, facts


def padded_batches(model: Any, sentences: Any) -> Iterator[tuple[list[int], Any]]:
    """Members of batches of like length, the longest first, and their ids, padded."""
    from rntn_jax.annotate.dependency_parser import columns
    from rntn_jax.models import parser

    order = sorted(range(len(sentences)), key=lambda k: -len(sentences[k].forms))
    for at in range(0, len(order), BATCH):
        members = order[at : at + BATCH]
        longest = len(sentences[members[0]].forms)
        shape = BATCH, 2 + max(32, 1 << (longest - 1).bit_length())
        ids = tuple(np.zeros(shape, np.int32) for _ in model.vocabularies)
        length = np.zeros(BATCH, np.int32)
        for row, member in enumerate(members):
            length[row] = len(sentences[member].forms)
            described = columns(sentences[member], model.options)
            for own, vocabulary, words in zip(ids, model.vocabularies, described):
                own[row, 1 : length[row] + 1] = vocabulary.encode(words)
        for own, vocabulary in zip(ids, model.vocabularies):
            own[:, 0] = len(vocabulary)
        yield members, parser.Sentences(ids, length)


def udpipe(system: str, files: dict[str, str]) -> tuple[Train, dict[str, Any]]:
    """``udpipe_greedy`` and ``udpipe_beam``; with ``_two``, halves in two processes at once."""
    import ufal.udpipe

    if not os.path.exists(files["udpipe"]):
        _udpipe_train(files["udpipe_train"], files["udpipe"])
    options = "beam_search=1" if "greedy" in system else "beam_search=5"
    facts: dict[str, Any] = {"version": importlib.metadata.version("ufal.udpipe")}
    if system.endswith("_two"):
        # Each has its own model; a byte asks for one more pass. Not forked: a child would hold the
        # parent's end of its pipe, and not see that the parent is gone.
        pipes = []
        context = multiprocessing.get_context("spawn")
        for half in range(2):
            here, there = context.Pipe()
            arguments = there, files, options, half
            context.Process(target=_udpipe_half, args=arguments, daemon=True).start()
            there.close()
            pipes.append(here)
            here.recv_bytes()  # it is ready

        def train_two() -> list[float]:
            for pipe in pipes:
                pipe.send_bytes(b"1")
            return [float(sum(int(pipe.recv_bytes()) for pipe in pipes))]

        return train_two, facts
    model = ufal.udpipe.Model.load(files["udpipe"])
    sentences = _udpipe_read(files["test"])

    def train() -> list[float]:
        for sentence in sentences:
            model.parse(sentence, options)
        if "trees" not in facts:
            words = [list(sentence.words)[1:] for sentence in sentences]
            facts["trees"] = [([w.head for w in ws], [w.deprel for w in ws]) for ws in words]
        return [float(len(sentences))]

    return train, facts


def _udpipe_half(pipe: Any, files: dict[str, str], options: str, half: int) -> None:
    import ufal.udpipe

    model = ufal.udpipe.Model.load(files["udpipe"])
    sentences = _udpipe_read(files["test"])[half::2]
    pipe.send_bytes(b"1")
    with contextlib.suppress(EOFError):
        while pipe.recv_bytes():
            for sentence in sentences:
                model.parse(sentence, options)
            pipe.send_bytes(str(len(sentences)).encode())


def _udpipe_read(path: str) -> list[Any]:
    import ufal.udpipe

    reader = ufal.udpipe.InputFormat.newConlluInputFormat()
    reader.setText(Path(path).read_text(encoding="utf-8"))
    error, sentences = ufal.udpipe.ProcessingError(), []
    sentence = ufal.udpipe.Sentence()
    while reader.nextSentence(sentence, error):
        sentences.append(sentence)
        sentence = ufal.udpipe.Sentence()
    if error.occurred():
        raise ValueError(error.message)
    return sentences


def _udpipe_train(source: str, target: str) -> None:
    """A parser on gold tags and features, of its default sizes; one pass, as speed is all."""
    from ufal.udpipe import ProcessingError, Trainer

    error, none = ProcessingError(), Trainer.NONE
    model = Trainer.train(
        "morphodita_parsito", _udpipe_read(source), [], none, none, UDPIPE_OPTIONS, error
    )
    if error.occurred():
        raise ValueError(error.message)
    part = Path(f"{target}.part")
    part.write_bytes(model)
    part.replace(target)
