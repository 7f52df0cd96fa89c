"""Text drawn from a recurrent language model."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from rntn_jax.models.rnn_lm.model import states
from rntn_jax.models.rnn_lm.params import Params, head_of, initial_carry
from rntn_jax.ops import check_ids
from rntn_jax.ops.checks import check
from rntn_jax.ops.varying import vary_like
from rntn_jax.sequences import SequenceBatch

__all__ = ["generate"]


def generate(
    params: Params,
    key: jax.Array,
    prompt: jax.Array,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    activation: str = "tanh",
) -> jax.Array:
    """Draws a continuation, token by token.

    Args:
        params: as `init` makes them.
        key: a PRNG key.
        prompt: integer ``[B, P]`` with ``P >= 1``.
        length: tokens to draw; static.
        temperature: of the softmax; 0 takes the most probable token.
        top_k: draw only from that many most probable tokens.
        activation: as in `apply`.

    Returns:
        int32 ``[B, length]``. Ids 0 and 1 (padding, unknown) are never drawn.

    Raises:
        AssertionError: when ``prompt`` is no matrix of integers.
        ValueError: for words beyond the embedding, where ``prompt`` is not traced, for a negative
            temperature or a ``top_k`` out of range.

    Example:
        >>> from rntn_jax.models.rnn_lm import Config, init
        >>> params = init(jax.random.key(0), Config(vocab_size=7, embed_dim=2, hidden_dim=3))
        >>> generate(params, jax.random.key(1), jnp.array([[2]]), 5).shape
        (1, 5)
    """
    check("prompt", prompt, "int", "B P")
    words = params.head.b.shape[0]
    check_ids("prompt", prompt, words)
    if not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if top_k is not None and not 1 <= top_k <= words:
        raise ValueError(f"top_k must be in 1 .. {words}, got {top_k}")
    return _generate(params, key, prompt, length, temperature, top_k, activation)


@partial(jax.jit, static_argnames=("length", "temperature", "top_k", "activation"))
def _generate(
    params: Params,
    key: jax.Array,
    prompt: jax.Array,
    length: int,
    temperature: float,
    top_k: int | None,
    activation: str,
) -> jax.Array:
    w, b = head_of(params)

    def read(carry, tokens):
        """Logits after tokens ``[B, T]``."""
        batch = SequenceBatch(tokens, tokens, jnp.ones(tokens.shape, bool))
        h, carry = states(params, batch, carry, activation=activation)
        return h[:, -1] @ w + b[None], carry

    def choose(logits, key):
        logits = logits.at[:, :2].set(-jnp.inf)
        if top_k is not None:
            least = jax.lax.top_k(logits, top_k)[0][:, -1:]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        if temperature == 0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return jax.random.categorical(key, logits / temperature).astype(jnp.int32)

    def step(state, key):
        logits, carry = state
        token = choose(logits, key)
        return read(carry, token[:, None]), token

    state = read(initial_carry(params, prompt.shape[0]), prompt)
    keys = jax.random.split(key, length)
    _, tokens = jax.lax.scan(step, vary_like(state, keys), keys)
    return tokens.T
