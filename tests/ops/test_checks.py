"""`rntn_jax.ops.checks`: what passes, and what the messages say."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from rntn_jax.ops.checks import check


def test_what_fits_is_an_array_and_its_sizes_are_learnt():
    sizes: dict[str, int] = {}
    assert check("node", np.zeros((4, 7, 2), np.float32), "float", "B T C", sizes).shape[1] == 7
    assert sizes == {"B": 4, "T": 7, "C": 2}
    check("edge", jnp.zeros((4, 6, 2, 2), jnp.bfloat16), "float", "B T-1 C C", sizes)
    check("labels", [[0] * 7] * 4, "int", "B T", sizes)
    check("span", jnp.zeros((3, 5, 5)), "float", "Q N+1 N+1", sizes)
    assert sizes["N"] == 4
    check("pairs", jnp.zeros((0, 2), jnp.uint8), "int", "E 2")
    check("edge", jnp.zeros((0, 0, 2, 2)), "float", "B T-1 C C", {"B": 0, "T": 0})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("a", jnp.zeros((2, 3), jnp.float32), "float", "B T C"),
            "float [B, T, C] = [4, 7, 2], got float32 [2, 3]",
        ),
        (("a", jnp.zeros((4, 2), jnp.int32), "float", "B C"), "float [B, C] = [4, 2], got int32"),
        (("a", jnp.zeros((5, 2), jnp.float32), "float", "B C"), "= [4, 2], got float32 [5, 2]"),
        (("a", jnp.zeros((4, 3), jnp.float32), "bool", "B T-1"), "= [4, 6], got float32 [4, 3]"),
        (("a", jnp.zeros((3, 4), jnp.float32), "float", "E E"), "float [E, E], got float32 [3, 4]"),
        (("a", jnp.zeros(3, jnp.float32), "float", ""), "float [], got float32 [3]"),
        (("a", "text", "int", ""), "int [], got str"),
        (("a", [[1.0], [1.0, 2.0]], "float", "B T"), "float [B, T] = [4, 7], got list"),
    ],
)
def test_messages_name_the_argument_what_it_must_be_and_what_came(args, message):
    with pytest.raises(AssertionError) as caught:
        check(*args, {"B": 4, "T": 7, "C": 2})
    assert str(caught.value).startswith("a must be ") and message in str(caught.value)
