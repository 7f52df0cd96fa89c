"""Models on graphs as files: the UAI format, which inference programs of all kinds read.

A file holds the word MARKOV, the number of variables and how many labels each has, the scopes of
all tables, and then the tables themselves: probabilities up to a constant, the last variable's
label changing fastest. They become logarithms: tables over one or two variables those of a
`MarkovModel` (`read_uai`), tables over any number a `TableModel` (`read_uai_tables`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import read_text, write_text

__all__ = [
    "MarkovModel",
    "TableModel",
    "as_pairs",
    "read_uai",
    "read_uai_evidence",
    "read_uai_tables",
    "write_uai",
]

_MOST = 1 << 27  # entries of all tables, filled up


class MarkovModel(NamedTuple):
    """Scores in nats, the fields of `rntn_jax.crf.graph.Scores`; made by `read_uai`.

    All variables have as many labels as the one with most; those in excess are ``-inf``.
    """

    node: np.ndarray  # float64 [I, C]
    edge: np.ndarray  # float64 [E, C, C]
    edges: np.ndarray  # int32 [E, 2], no two of the same nodes
    num_labels: np.ndarray  # int32 [I]


class TableModel(NamedTuple):
    """Scores in nats, as `rntn_jax.crf.factor_graph.Scores` has them; of `read_uai_tables`."""

    tables: tuple[np.ndarray, ...]  # float64, each with an axis for each of its variables
    scopes: tuple[tuple[int, ...], ...]  # variables of each table
    num_labels: np.ndarray  # int32 [I]


class _Words:
    """The words of a text, one after another, with their lines."""

    def __init__(self, file: str, text: str):
        self.file = file
        self.words = [
            (word, number)
            for number, line in enumerate(text.split("\n"), 1)
            for word in line.split()
        ]
        self.at = 0
        self.line = 1

    def error(self, message: str, value: object = None) -> DataError:
        return DataError(message, file=self.file, line=self.line, value=value)

    def next(self, what: str) -> str:
        if self.at == len(self.words):
            raise self.error(f"the file ends where {what} should stand")
        word, self.line = self.words[self.at]
        self.at += 1
        return word

    def integer(self, what: str, least: int, most: float = math.inf) -> int:
        word = self.next(what)
        digits = word.isascii() and word.isdigit() and len(word) <= 20  # 64 bits have 20
        if not (digits and least <= int(word) <= most):
            limit = f"at least {least}" if most == math.inf else f"{least} .. {int(most)}"
            raise self.error(f"{what} must be an integer, {limit}, got {shown(word)}", word)
        return int(word)

    def end(self, last: str) -> None:
        if self.at < len(self.words):
            extra = self.next("nothing")
            raise self.error(f"the file goes on after {last}, with {shown(extra)}", extra)

    def weight(self) -> float:
        word = self.next("an entry of a table")
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise self.error(f"an entry must be a number of at least 0, got {shown(word)}", word)
        return value


def _filled_up(sizes: Sequence[int], scopes: Sequence[Sequence[int]]) -> int:
    """Entries of a `MarkovModel`, where every variable has as many labels as the one with most."""
    most = max(sizes, default=1)
    return len(sizes) * most + sum(len(scope) == 2 for scope in scopes) * most**2


def _too_many(sizes: Sequence[int]) -> str:
    return f"{len(sizes)} variables of up to {max(sizes, default=1)} labels are too many"


def _read(words: _Words, widest: float) -> TableModel:
    """A network whose tables are over at most so many variables: two, or infinity."""
    kind = words.next("the word MARKOV")
    if kind != "MARKOV":
        raise words.error(f"only MARKOV networks can be read, got {shown(kind)}", kind)
    count = words.integer("the number of variables", 0)
    sizes = [words.integer("a number of labels", 1) for _ in range(count)]
    scopes = []
    for _ in range(words.integer("the number of tables", 0)):
        arity = words.integer("the number of a table's variables", 0)
        if not 0 < arity <= widest:
            which = "one or two variables" if widest == 2 else "one variable or more"
            raise words.error(f"tables are over {which}, here over {arity}", arity)
        scope = tuple(words.integer("a variable", 0, count - 1) for _ in range(arity))
        twice = next((v for v in scope if scope.count(v) > 1), None)
        if twice is not None:
            raise words.error(f"a table is over variable {twice} twice", twice)
        scopes.append(scope)
    shapes = [[sizes[v] for v in scope] for scope in scopes]
    entries = _filled_up(sizes, scopes) if widest == 2 else sum(sizes) + sum(map(math.prod, shapes))
    if entries > _MOST:
        raise words.error(_too_many(sizes))
    tables = []
    for scope, shape in zip(scopes, shapes):
        size = words.integer("the size of a table", 0)
        if size != math.prod(shape):
            raise words.error(f"a table over {list(scope)} needs {math.prod(shape)} entries", size)
        values = np.array([words.weight() for _ in range(size)]).reshape(shape)
        with np.errstate(divide="ignore"):
            tables.append(np.log(values))
    words.end("the last table")
    return TableModel(tuple(tables), tuple(scopes), np.array(sizes, np.int32))


def read_uai_tables(source: str | os.PathLike[str] | IO[str] | IO[bytes]) -> TableModel:
    """Reads a Markov network with tables over any number of variables.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.

    Returns:
        The model; entries of 0 become ``-inf``. Variables may stand in no table.

    Raises:
        DataError: with file and line, for another network than MARKOV, tables over no variable,
            tables that do not fit their variables, entries that are negative or no numbers, files
            cut short or going on, and what `rntn_jax.data.text.read_text` refuses.
        OSError: when the file cannot be opened.

    Example:
        >>> import io
        >>> text = "MARKOV 3  2 2 2  1  3 0 1 2  8  1 2 3 4 5 6 7 8"
        >>> model = read_uai_tables(io.StringIO(text))
        >>> np.exp(model.tables[0][1, 0]).round(1).tolist(), model.scopes
        ([5.0, 6.0], ((0, 1, 2),))
    """
    return _read(_Words(*read_text(source)), math.inf)


def as_pairs(model: TableModel) -> MarkovModel:
    """A network of tables over one or two variables with all its labels filled up to the most.

    Args:
        model: its tables.

    Returns:
        The same distribution; tables over the same variables are multiplied.

    Raises:
        ValueError: when a table is over more than two variables, and where the tables, filled up,
            would have more than 2^27 entries.

    Example:
        >>> model = TableModel((np.zeros(2), np.zeros((2, 1))), ((0,), (0, 1)), np.array([2, 1]))
        >>> as_pairs(model).node.tolist()
        [[0.0, 0.0], [0.0, -inf]]
    """
    sizes = model.num_labels.tolist()
    if _filled_up(sizes, model.scopes) > _MOST:
        raise ValueError(_too_many(sizes))
    most = max(sizes, default=1)
    node = np.full((len(sizes), most), -np.inf)
    for v, size in enumerate(sizes):
        node[v, :size] = 0
    tables: dict[tuple[int, int], np.ndarray] = {}
    for scope, values in zip(model.scopes, model.tables, strict=True):
        if len(scope) == 1:
            node[scope[0], : sizes[scope[0]]] += values
            continue
        if len(scope) != 2:
            raise ValueError(f"tables must be over one or two variables, got {scope}")
        i, j = scope
        values = np.pad(values, [(0, most - n) for n in values.shape])
        if (j, i) in tables:
            tables[j, i] = tables[j, i] + values.T
        else:
            tables[i, j] = tables.get((i, j), 0) + values
    edges = np.array(list(tables), np.int32).reshape(-1, 2)
    edge = np.array(list(tables.values())).reshape(-1, most, most)
    return MarkovModel(node, edge, edges, np.array(sizes, np.int32))


def read_uai(source: str | os.PathLike[str] | IO[str] | IO[bytes]) -> MarkovModel:
    """Reads a Markov network with tables over one or two variables.

    Tables over the same variables are multiplied, whatever their order.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.

    Returns:
        The model; entries of 0 become ``-inf``.

    Raises:
        DataError: with file and line, for another network than MARKOV, tables over no or more than
            two variables (`read_uai_tables` has them), tables that do not fit their variables,
            entries that are negative or no numbers, files cut short or going on, and what
            `rntn_jax.data.text.read_text` refuses.
        OSError: when the file cannot be opened.

    Example:
        >>> import io
        >>> model = read_uai(io.StringIO("MARKOV 2  2 2  1  2 0 1  4  1 2 3 4"))
        >>> np.exp(model.edge).round(1).tolist(), model.edges.tolist()
        ([[[1.0, 2.0], [3.0, 4.0]]], [[0, 1]])
    """
    return as_pairs(_read(_Words(*read_text(source)), 2))


def read_uai_evidence(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], num_labels: np.ndarray
) -> dict[int, int]:
    """Reads which variables of a network were observed, and as what (a file ``.uai.evid``).

    The file holds the number of observed variables, then each with its label; in the form of 2010
    and 2011 the number of samples stands before that, which must be 1 here.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.
        num_labels: int ``[I]``, how many labels each variable has: `MarkovModel.num_labels`.

    Returns:
        the label of each observed variable, both numbered from 0.

    Raises:
        DataError: with file and line, for variables and labels that the network does not have, two
            labels of one variable, several samples, files cut short or going on.
        OSError: when the file cannot be opened.

    Example:
        >>> import io
        >>> read_uai_evidence(io.StringIO("2 1 0 2 1"), np.array([2, 2, 3]))
        {1: 0, 2: 1}
    """
    words = _Words(*read_text(source))
    if len(words.words) % 2 == 0 and words.words:  # a number, and pairs; so there are two numbers
        samples = words.integer("the number of samples", 0)
        if samples != 1:
            raise words.error(f"evidence must be one sample, got {samples}", samples)
    observed: dict[int, int] = {}
    for _ in range(words.integer("the number of observed variables", 0)):
        i = words.integer("a variable", 0, len(num_labels) - 1)
        label = words.integer(f"the label of variable {i}", 0, int(num_labels[i]) - 1)
        if observed.setdefault(i, label) != label:
            raise words.error(f"variable {i} is both {observed[i]} and {label}", label)
    words.end("the last observed variable")
    return observed


def write_uai(
    target: str | os.PathLike[str] | IO[str],
    node: np.ndarray,
    edge: np.ndarray,
    edges: np.ndarray,
    num_labels: np.ndarray | None = None,
) -> float:
    """Writes a Markov network: a table for each node and each edge.

    Tables are scaled so that their largest entry is 1, which changes no marginal; probabilities
    below 1e-308 become 0.

    Args:
        target: a path, or an open text stream.
        node: scores ``[I, C]`` in nats; ``-inf`` forbids.
        edge: ``[E, C, C]``.
        edges: int ``[E, 2]``.
        num_labels: int ``[I]``, how many labels of each node to write; by default all.

    Returns:
        What scaling subtracted, in nats: ln Z of the model is that of the file plus this.

    Raises:
        ValueError: when shapes do not match, or a score is NaN or ``inf``.
        OSError: when the file cannot be written.

    Example:
        >>> import io
        >>> file = io.StringIO()
        >>> write_uai(file, np.zeros((1, 2)), np.zeros((0, 2, 2)), np.zeros((0, 2), int))
        0.0
        >>> file.getvalue().split()
        ['MARKOV', '1', '2', '1', '1', '0', '2', '1.0', '1.0']
    """
    node, edge = np.asarray(node, np.float64), np.asarray(edge, np.float64)
    edges = np.asarray(edges).reshape(-1, 2)
    count, most = node.shape
    if edge.shape != (len(edges), most, most):
        raise ValueError(f"edge must be {[len(edges), most, most]}, got {list(edge.shape)}")
    if not all((x < np.inf).all() for x in (node, edge)):
        raise ValueError("scores must be numbers or -inf")
    if len(edges) and (edges.min() < 0 or edges.max() >= count):
        raise ValueError(f"edges must join nodes 0 .. {count - 1}")
    sizes = np.full(count, most) if num_labels is None else np.asarray(num_labels)
    tables = [node[i, : sizes[i]] for i in range(count)]
    tables += [edge[e, : sizes[i], : sizes[j]] for e, (i, j) in enumerate(edges.tolist())]
    scopes = [[i] for i in range(count)] + edges.tolist()
    lines = ["MARKOV", str(count), " ".join(map(str, sizes.tolist())), str(len(tables))]
    lines += [" ".join(map(str, [len(scope), *scope])) for scope in scopes]
    taken = 0.0
    for table in tables:
        top = float(table.max(initial=-np.inf))
        top = top if top > -np.inf else 0.0
        taken += top
        values = np.exp(table - top).reshape(table.shape[0], -1)
        rows = values if table.ndim == 2 else values.T
        lines += ["", str(table.size), *(" ".join(map(repr, row)) for row in rows.tolist())]
    write_text(target, "\n".join([*lines, ""]))
    return taken
