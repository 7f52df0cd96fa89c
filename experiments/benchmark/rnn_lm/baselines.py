"""The systems of the language model benchmark: one tanh layer, full softmax, clipped SGD.

All start from the same parameters, read the same segments with carried states, and count a whole
step: forward, backward, clipping to a global norm, update. ``*_products`` are no models: the three
matrix products of the softmax alone, which no full-softmax step can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark import problem_file

Train = Callable[[], list[float]]  # one pass over all minibatches; returns their losses


class Problem(NamedTuple):
    """What all baselines are given."""

    tokens: np.ndarray  # int32 [N, B, T + 1]
    params: dict[str, np.ndarray]  # embedding, h, i, b, w, head_b
    learning_rate: float
    clip_norm: float
    chunk: int  # rows whose logits exist at a time, where the system can do that


def make(system: str, path: Path, threads: int) -> tuple[Train, dict[str, Any]]:
    """The baseline of that name, and the version and temporary memory of its program."""
    problem = problem_file.load(path, Problem)
    if system == "torch_bf16":  # thirty times slower on processors without the instructions
        problem = problem._replace(tokens=problem.tokens[:2])
    if system.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
        makers: dict[str, Callable[..., Any]] = {
            "torch": torch_train,
            "torch_chunked": lambda p: torch_train(p, chunked=True),
            "torch_bf16": lambda p: torch_train(p, bf16=True),
            "torch_products": torch_products,
        }
        return makers[system](problem), {"version": torch.__version__}
    import jax

    makers = {
        "ours": lambda p: jax_train(p, our_loss(p.chunk)),
        "ours_bf16": lambda p: jax_train(p, our_loss(p.chunk, bf16=True)),
        "autodiff": lambda p: jax_train(p, autodiff_loss),
        "flax": flax_train,
        "products": jax_products,
    }
    train, temporary = makers[system](problem)
    return train, {"version": jax.__version__, "temp_mb": temporary / 2**20}


def our_loss(chunk: int, bf16: bool = False):
    """The library's loss; ``bf16`` computes with rounded copies of the float32 parameters."""
    import jax
    import jax.numpy as jnp

    from rntn_jax.models import rnn_lm

    def loss(params, batch):
        segment, carry = batch
        if bf16:
            params, carry = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, carry))
        value, aux = rnn_lm.loss(params, segment, carry, chunk=chunk)
        return value, aux.carry

    return loss


def autodiff_loss(params: Any, batch: Any):
    """The same model as one writes it without this library: a scan, log_softmax, autodiff."""
    import jax
    import jax.numpy as jnp

    segment, (carry,) = batch
    cell, head = params.cell, params.head
    projected = params.embedding[segment.tokens.T] @ cell.i + cell.b

    def step(state, z):
        state = jnp.tanh(z + state @ cell.h)
        return state, state

    carry, states = jax.lax.scan(step, carry, projected)
    log_y = jax.nn.log_softmax(states @ head.w + head.b)
    picked = jnp.take_along_axis(log_y, segment.targets.T[..., None], axis=-1)
    return -picked.mean(), (carry,)


def jax_train(problem: Problem, loss: Callable[..., Any]) -> tuple[Train, int]:
    """The library's train step around a loss, and the temporary memory of its program."""
    import jax
    import jax.numpy as jnp
    import optax

    from rntn_jax.models import rnn_lm
    from rntn_jax.sequences import SequenceBatch
    from rntn_jax.training import init_state, make_train_step

    p = {name: jnp.asarray(value) for name, value in problem.params.items()}
    params = rnn_lm.Params(
        p["embedding"], rnn_lm.Cell(p["h"], p["i"], p["b"]), rnn_lm.Head(p["w"], p["head_b"])
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(problem.clip_norm), optax.sgd(problem.learning_rate)
    )
    step: Any = make_train_step(loss, optimizer)
    state = init_state(params, optimizer, jax.random.key(0))
    carry = rnn_lm.initial_carry(params, problem.tokens.shape[1])
    segments = [
        SequenceBatch(tokens[:, :-1], tokens[:, 1:], np.ones_like(tokens[:, 1:], bool))
        for tokens in problem.tokens
    ]
    compiled = step.lower(state, (segments[0], carry)).compile()
    analysis: Any = compiled.memory_analysis()

    def train() -> list[float]:
        nonlocal state, carry
        losses = []
        for segment in segments:
            state, metrics = step(state, (segment, carry))
            carry = jax.tree.map(lambda a: a.astype(jnp.float32), metrics["aux"])
            losses.append(metrics["loss"])
        return [float(loss) for loss in losses]

    return train, analysis.temp_size_in_bytes


def flax_train(problem: Problem) -> tuple[Train, int]:
    """flax.nnx layers and optax, as their documentation puts them together."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    p = {name: jnp.asarray(value) for name, value in problem.params.items()}
    (v, e), d = p["embedding"].shape, len(p["b"])

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(v, e, rngs=rngs)
            self.rnn = nnx.RNN(nnx.SimpleCell(e, d, rngs=rngs), return_carry=True)
            self.head = nnx.Linear(d, v, rngs=rngs)

        def __call__(self, tokens, carry):
            rnn: Any = self.rnn
            carry, states = rnn(self.embed(tokens), initial_carry=carry)
            return self.head(states), carry

    model: Any = Model(nnx.Rngs(0))
    for param, name in (
        (model.embed.embedding, "embedding"),
        (model.rnn.cell.dense_h.kernel, "h"),
        (model.rnn.cell.dense_i.kernel, "i"),
        (model.rnn.cell.dense_i.bias, "b"),
        (model.head.kernel, "w"),
        (model.head.bias, "head_b"),
    ):
        param[...] = p[name]
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.chain(
        optax.clip_by_global_norm(problem.clip_norm), optax.sgd(problem.learning_rate)
    )

    def loss(params, tokens, carry):
        logits, carry = nnx.merge(graph, params, rest)(tokens[:, :-1], carry)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        return nats.mean(), carry

    def update(params, opt_state, tokens, carry):
        (value, carry), grads = jax.value_and_grad(loss, has_aux=True)(params, tokens, carry)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, carry, value

    step = jax.jit(update, donate_argnums=(0, 1))
    opt_state = optimizer.init(params)
    carry = jnp.zeros((problem.tokens.shape[1], d), jnp.float32)
    compiled = step.lower(params, opt_state, problem.tokens[0], carry).compile()
    analysis: Any = compiled.memory_analysis()

    def train() -> list[float]:
        nonlocal params, opt_state, carry
        losses = []
        for tokens in problem.tokens:
            params, opt_state, carry, value = step(params, opt_state, tokens, carry)
            losses.append(value)
        return [float(loss) for loss in losses]

    return train, analysis.temp_size_in_bytes


def torch_train(problem: Problem, *, chunked: bool = False, bf16: bool = False) -> Train:
    """PyTorch's layers; ``chunked`` takes the softmax some rows at a time, gradients at once."""
    import torch
    from torch import nn

    p = {name: torch.tensor(value) for name, value in problem.params.items()}
    (v, e), d = p["embedding"].shape, len(p["b"])
    embed, cell, head = nn.Embedding(v, e), nn.RNN(e, d, batch_first=True), nn.Linear(d, v)
    cell.bias_hh_l0.requires_grad_(False)  # the model has one bias
    with torch.no_grad():
        embed.weight.copy_(p["embedding"])
        cell.weight_hh_l0.copy_(p["h"].T)
        cell.weight_ih_l0.copy_(p["i"].T)
        cell.bias_ih_l0.copy_(p["b"])
        cell.bias_hh_l0.zero_()
        head.weight.copy_(p["w"].T)
        head.bias.copy_(p["head_b"])
    params = [q for layer in (embed, cell, head) for q in layer.parameters() if q.requires_grad]
    optimizer = torch.optim.SGD(params, lr=problem.learning_rate, foreach=True)
    tokens = torch.from_numpy(problem.tokens.astype(np.int64))
    carry = torch.zeros(1, tokens.shape[1], d)
    criterion = nn.CrossEntropyLoss(reduction="sum")

    def in_chunks(states, targets) -> float:
        """Sum over pieces of rows, whose logits die one after the other; gradients are left."""
        count = len(targets)
        leaf = states.detach().requires_grad_()
        total = 0.0
        pieces = leaf.split(problem.chunk), targets.split(problem.chunk)
        for rows, wanted in zip(*pieces, strict=True):
            loss = criterion(head(rows), wanted) / count
            loss.backward()
            total += loss.item()
        states.backward(leaf.grad)
        return total

    def train() -> list[float]:
        nonlocal carry
        losses = []
        for segment in tokens:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                states, after = cell(embed(segment[:, :-1]), carry.to(torch.float32))
                states, targets = states.reshape(-1, d), segment[:, 1:].reshape(-1)
                loss = None if chunked else criterion(head(states), targets) / len(targets)
            if loss is None:
                losses.append(in_chunks(states, targets))
            else:
                loss.backward()
                losses.append(loss.item())
            carry = after.detach()
            nn.utils.clip_grad_norm_(params, problem.clip_norm, foreach=True)
            optimizer.step()
        return losses

    return train


def jax_products(problem: Problem) -> tuple[Train, int]:
    """XLA's ``x w``, ``delta w^T`` and ``x^T delta``, all rows at once."""
    import jax
    import jax.numpy as jnp

    x, w, delta = map(jnp.asarray, _product_arguments(problem))
    products = [
        jax.jit(lambda x, w, delta: x @ w),
        jax.jit(lambda x, w, delta: delta @ w.T),
        jax.jit(lambda x, w, delta: x.T @ delta),
    ]

    def train() -> list[float]:
        for _ in problem.tokens:
            for product in products:
                jax.block_until_ready(product(x, w, delta))
        return [0.0] * len(problem.tokens)

    return train, 0


def torch_products(problem: Problem) -> Train:
    """The same three products by PyTorch."""
    import torch

    x, w, delta = map(torch.from_numpy, _product_arguments(problem))
    outs = [torch.empty_like(a) for a in (delta, x, w)]

    def train() -> list[float]:
        for _ in problem.tokens:
            torch.mm(x, w, out=outs[0])
            torch.mm(delta, w.T, out=outs[1])
            torch.mm(x.T, delta, out=outs[2])
        return [0.0] * len(problem.tokens)

    return train


def _product_arguments(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = problem.tokens[0, :, 1:].size
    d, v = problem.params["w"].shape
    rng = np.random.default_rng(0)
    shapes = (rows, d), (d, v), (rows, v)
    x, w, delta = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, w, delta
