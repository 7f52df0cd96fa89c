"""Products of a sparse matrix with a table: sums of rows, as in an embedding bag.

Processors scatter badly: the transposed product ``X^T G``, written as a scatter, takes several
times as long as ``X W``. So the entries are packed twice, on the host: by row, and by column. Both
products are then the same sum of gathered rows, and each is the other's gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rntn_jax.ops.checks import check
from rntn_jax.ops.masking import accumulator, cast_like
from rntn_jax.ops.varying import vary_like
from rntn_jax.shapes import shapes_repr

__all__ = ["Bags", "SparseMatrix", "sparse_matmul", "sparse_matrix"]

_LENGTHS = np.array([1, 2, 4, 8, 16, 32])  # bags are padded to one of these


class Bags(NamedTuple):
    """Sums of rows of a table: bags of like size side by side, so that padding is little.

    A bag of more than 32 rows is cut into pieces, whose sums are the table of the next level.
    """

    ids: tuple[tuple[Any, ...], ...]  # of each level: int32 [k, n], n bags of k rows; -1: none
    values: tuple[tuple[Any, ...], ...] | None  # the rows' factors; None: all 1
    order: Any  # int32 [N], where the sum of each bag is; -1: the bag is empty

    __repr__ = shapes_repr


class SparseMatrix(NamedTuple):
    """A sparse matrix ``[N, R]``, made by `sparse_matrix`: arrays, to be passed to a program."""

    rows: Bags  # N bags of columns
    columns: Bags  # R bags of rows

    __repr__ = shapes_repr

    @property
    def shape(self) -> tuple[int, int]:
        """``(N, R)``."""
        return len(self.rows.order), len(self.columns.order)

    @property
    def T(self) -> SparseMatrix:
        """The transposed matrix, at no cost."""
        return SparseMatrix(self.columns, self.rows)


def sparse_matrix(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray | None, shape: tuple[int, int]
) -> SparseMatrix:
    """Packs a sparse matrix; on the host, some 0.3 microseconds an entry.

    Args:
        rows: integer ``[E]``, the row of each entry; entries of one place are added.
        columns: integer ``[E]``.
        values: ``[E]``; None: all 1.
        shape: ``(N, R)``.

    Returns:
        A `SparseMatrix` of NumPy arrays.

    Raises:
        ValueError: for an entry outside of the shape, or arrays of different length.

    Example:
        >>> matrix = sparse_matrix(np.array([0, 0, 2]), np.array([1, 0, 1]), None, (3, 2))
        >>> sparse_matmul(matrix, jnp.array([[1.0], [10.0]])).tolist()
        [[11.0], [0.0], [10.0]]
    """
    rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    if rows.shape != columns.shape or rows.ndim != 1:
        raise ValueError(f"rows {rows.shape} and columns {columns.shape} must be equally long")
    if values is not None and np.shape(values) != rows.shape:
        raise ValueError(f"values {np.shape(values)} must be as long as rows {rows.shape}")
    for name, ids, size in (("row", rows, shape[0]), ("column", columns, shape[1])):
        if len(ids) and not (0 <= ids.min() and ids.max() < size):
            raise ValueError(f"{name} {ids.min() if ids.min() < 0 else ids.max()} is not in {size}")
    values = None if values is None else np.asarray(values, np.float32)
    return SparseMatrix(
        _pack(rows, columns, values, shape[0]), _pack(columns, rows, values, shape[1])
    )


def _pack(bags: np.ndarray, ids: np.ndarray, values: np.ndarray | None, count: int) -> Bags:
    """Entry ``e`` puts row ``ids[e]`` into bag ``bags[e]``."""
    longest = int(_LENGTHS[-1])
    order = np.full(count, -1, np.int32)
    all_ids, all_values = [], []
    done = 0  # sums of the levels before
    while len(bags):
        by_bag = np.argsort(bags, kind="stable")
        ids = ids[by_bag]
        values = None if values is None else values[by_bag]
        sizes = np.bincount(bags, minlength=count)
        starts = np.cumsum(sizes) - sizes
        # Cut the bags into pieces of at most `longest`.
        pieces = -(-sizes // longest)
        bag_of = np.repeat(np.arange(count), pieces)
        number = np.arange(len(bag_of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        start = starts[bag_of] + number * longest
        size = np.minimum(sizes[bag_of] - number * longest, longest)
        whole = pieces[bag_of] == 1
        padded = np.where(whole, _LENGTHS[np.searchsorted(_LENGTHS, size)], longest)
        # Pieces that are whole bags last: what comes before is the next level's table.
        arranged = np.lexsort((padded, whole))
        level_ids, level_values = [], []
        for is_whole in (False, True):
            for length in _LENGTHS:
                members = arranged[(padded[arranged] == length) & (whole[arranged] == is_whole)]
                if not len(members):
                    continue
                place = np.arange(length)[:, None]
                here = place < size[members]
                at = np.where(here, start[members] + place, 0)
                level_ids.append(np.where(here, ids[at], -1).astype(np.int32))
                if values is not None:
                    level_values.append(np.where(here, values[at], 0))
        all_ids.append(tuple(level_ids))
        all_values.append(tuple(level_values))
        place_of = np.empty(len(arranged), np.int64)
        place_of[arranged] = np.arange(len(arranged))
        order[bag_of[whole]] = done + place_of[whole]
        done += len(arranged)
        bags, ids, values = bag_of[~whole], place_of[~whole], None
    has_values = any(map(len, all_values))
    if has_values:  # sums of pieces are added as they are
        all_values[1:] = [tuple(np.ones(i.shape, np.float32) for i in ids) for ids in all_ids[1:]]
    return Bags(tuple(all_ids), tuple(all_values) if has_values else None, order)


@jax.jit
def sparse_matmul(matrix: SparseMatrix, table: jax.Array) -> jax.Array:
    """``matrix @ table``: for each row of the matrix, a weighted sum of rows of the table.

    Gradient: ``matrix^T g``, by the same sums of gathered rows. The matrix itself has none.

    Source: 002, the gradient for L_wi; 000, "etc." of equation 16 (a row that occurs several times
    accumulates).

    Args:
        matrix: ``[N, R]``, of `sparse_matrix`.
        table: ``[R, C]`` floating point.

    Returns:
        ``[N, C]``, dtype of the table, summed in at least float32. Cost O(entries C); residuals:
        the matrix.

    Raises:
        AssertionError: when shapes do not match.

    Example:
        >>> matrix = sparse_matrix(np.array([0, 0]), np.array([0, 2]), np.array([1.0, 0.5]), (1, 3))
        >>> sparse_matmul(matrix, jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
        [[3.5, 5.0]]
    """
    check("table", table, "float", f"{matrix.shape[1]} C")
    return _sparse_matmul(*vary_like((matrix, table)))


def _sparse_matmul_reference(matrix: SparseMatrix, table) -> jax.Array:
    return _sum(matrix.rows, table.astype(accumulator(table))).astype(table.dtype)


_sparse_matmul = jax.custom_vjp(_sparse_matmul_reference)


class _SparseMatmulResiduals(NamedTuple):
    matrix: SparseMatrix
    table: jax.Array  # for its dtype only; not kept alive by the program


def _sparse_matmul_fwd(matrix, table) -> tuple[jax.Array, _SparseMatmulResiduals]:
    return _sparse_matmul_reference(matrix, table), _SparseMatmulResiduals(matrix, table)


def _sparse_matmul_bwd(res: _SparseMatmulResiduals, g) -> tuple[None, jax.Array]:
    g = g.astype(accumulator(g))
    return None, cast_like(_sparse_matmul(res.matrix.T, g), res.table)


_sparse_matmul.defvjp(_sparse_matmul_fwd, _sparse_matmul_bwd)


def _sum(bags: Bags, table: jax.Array) -> jax.Array:
    """The sums ``[N, C]`` of all bags."""
    if not len(bags.order) or not bags.ids:
        return jnp.zeros((len(bags.order), table.shape[1]), table.dtype)
    sums = []
    for level, lists in enumerate(bags.ids):
        level_sums = []
        for number, ids in enumerate(lists):
            total = None
            for k in range(len(ids)):  # one gather each: XLA adds them up without storing them
                row = table.at[jnp.where(ids[k] < 0, len(table), ids[k])].get(
                    mode="fill", fill_value=0
                )
                if bags.values is not None:
                    row = row * bags.values[level][number][k][:, None].astype(row.dtype)
                total = row if total is None else total + row
            level_sums.append(total)
        table = jnp.concatenate(level_sums)
        sums.append(table)
    sums = jnp.concatenate(sums)
    return sums.at[jnp.where(bags.order < 0, len(sums), bags.order)].get(mode="fill", fill_value=0)
