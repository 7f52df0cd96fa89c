"""Array functions with hand-derived gradients: the level everything else stands on."""

from rntn_jax.ops.activations import ACTIVATIONS, activate, derivative_from_output
from rntn_jax.ops.cross_entropy import (
    linear_cross_entropy,
    linear_cross_entropy_sum,
    softmax_cross_entropy,
)
from rntn_jax.ops.dropout import check_dropout, dropout
from rntn_jax.ops.embedding import check_ids, embed, embed_sum
from rntn_jax.ops.loops import bounded_loop
from rntn_jax.ops.masking import accumulator, cast_like, masked, masked_mean
from rntn_jax.ops.pairs import pair_scores
from rntn_jax.ops.sparse import Bags, SparseMatrix, sparse_matmul, sparse_matrix
from rntn_jax.ops.tensor import (
    outer_sum,
    slice_products,
    symmetric_slices,
    tensor_product,
)
from rntn_jax.ops.window import side_by_side, window_layer

__all__ = [
    "ACTIVATIONS",
    "Bags",
    "SparseMatrix",
    "accumulator",
    "activate",
    "bounded_loop",
    "cast_like",
    "check_dropout",
    "check_ids",
    "derivative_from_output",
    "dropout",
    "embed",
    "embed_sum",
    "linear_cross_entropy",
    "linear_cross_entropy_sum",
    "masked",
    "masked_mean",
    "outer_sum",
    "pair_scores",
    "side_by_side",
    "slice_products",
    "softmax_cross_entropy",
    "sparse_matmul",
    "sparse_matrix",
    "symmetric_slices",
    "tensor_product",
    "window_layer",
]


def __dir__() -> list[str]:
    return sorted(__all__)
