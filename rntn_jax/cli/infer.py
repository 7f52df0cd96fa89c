"""Answers about graphs of your own: `rntn-jax infer`, and `./launch.sh graphs --infer`.

Networks and evidence come as UAI files, and answers leave in the format of the results of the UAI
inference competitions: the name of the task, and a line that holds the answer.

- ``PR``: log10 of the partition function, of what agrees with the evidence.
- ``MAR``: the number of variables, and of each how many labels it has, and their probabilities.
- ``MPE``: the number of variables, and the label of each in the most probable labelling.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rntn_jax.compilation import cached
from rntn_jax.crf import factor_graph, graph
from rntn_jax.data import DataError, MarkovModel, TableModel, read_uai_evidence, read_uai_tables
from rntn_jax.data.uai import as_pairs

__all__ = ["METHODS", "QUERIES", "Answer", "infer", "solve"]

METHODS = ("exact", "loopy", "tree_reweighted", "mean_field")
QUERIES = ("mar", "map", "pr")
OPTIONS = graph.Options(max_iterations=1000, tolerance=1e-8)


class Answer(NamedTuple):
    """What was found, as NumPy arrays or numbers; None where it was not asked for."""

    log10_z: float | None = None
    marginals: list[np.ndarray] | None = None  # of each variable, as long as it has labels
    labels: np.ndarray | None = None  # [I]
    residual: float = 0.0  # the last change of what an approximate method iterates
    iterations: int = 0

    def to_text(self) -> str:
        """The answer in the format of the competition's results.

        Example:
            >>> print(Answer(labels=np.array([0, 1, 0])).to_text(), end="")
            MPE
            3 0 1 0
        """
        if self.log10_z is not None:
            return f"PR\n{self.log10_z:.12g}\n"
        if self.labels is not None:
            return "MPE\n" + " ".join(map(str, [len(self.labels), *self.labels.tolist()])) + "\n"
        words = [str(len(self.marginals or ()))]
        for p in self.marginals or ():
            words += [str(len(p)), *(f"{x:.10g}" for x in p.tolist())]
        return "MAR\n" + " ".join(words) + "\n"


def solve(
    model: MarkovModel | TableModel,
    query: str = "mar",
    method: str = "exact",
    evidence: dict[int, int] | None = None,
    options: graph.Options = OPTIONS,
) -> Answer:
    """Answers a question about a network, computing in float64.

    Args:
        model: of `rntn_jax.data.read_uai`, or of `rntn_jax.data.read_uai_tables`: with tables over
            three variables or more, only ``exact``.
        query: ``mar``, marginals; ``map``, the most probable labelling; ``pr``, the partition
            function.
        method: ``exact``; ``loopy`` belief propagation, for ``map`` max-product; or, not for
            ``map``, ``tree_reweighted`` (of ``pr`` an upper bound) or ``mean_field`` (a lower one).
        evidence: the labels of observed variables; every other label of theirs becomes impossible.
        options: how the approximate methods iterate.

    Returns:
        an `Answer`, whose residual says whether an approximate method has converged.

    Raises:
        ValueError: for another query or method, and one that cannot take the tables; where the
            graph is too wide for ``exact``; where no labelling is possible, so that there are no
            marginals and no labelling to name.

    Example:
        >>> import io
        >>> from rntn_jax.data import read_uai
        >>> model = read_uai(io.StringIO("MARKOV 2  2 2  1  2 0 1  4  1 2 3 4"))
        >>> solve(model).to_text().split()[1:]
        ['2', '2', '0.3', '0.7', '2', '0.4', '0.6']
        >>> solve(model, "map", evidence={1: 0}).labels.tolist()
        [1, 0]
    """
    if query not in QUERIES:
        raise ValueError(f"query must be one of {QUERIES}, got {query!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if query == "map" and method not in ("exact", "loopy"):
        raise ValueError(f"the most probable labelling is found by exact or loopy, not {method}")
    if isinstance(model, TableModel):
        if max(map(len, model.scopes), default=1) > 2:
            if method != "exact":
                raise ValueError(
                    f"method must be exact for tables over three variables, got {method}"
                )
            return _of_tables(model, query, evidence or {})
        model = as_pairs(model)
    node = np.array(model.node)
    for i, label in (evidence or {}).items():
        node[i, np.arange(node.shape[1]) != label] = -np.inf
    with jax.enable_x64(True):
        scores = graph.Scores(node, model.edge, model.edges)
        try:
            if method == "exact":
                answer, possible = _exact(scores, query)
            else:
                answer, possible = _approximate(scores, query, method, options)
        except ValueError as error:
            if method == "exact" and "max_bytes" in str(error):
                needs = str(error).partition(":")[0]
                raise ValueError(f"{needs}: take another method, loopy for one") from None
            raise
    if not possible and query != "pr":
        raise _impossible("there is" if method == "exact" else f"{method} found", evidence)
    if answer.marginals is not None:
        sizes = model.num_labels.tolist()
        answer = answer._replace(marginals=[p[:n] for p, n in zip(answer.marginals, sizes)])
    return answer


def _impossible(found: str, evidence: dict[int, int] | None) -> ValueError:
    agrees = " that agrees with the evidence" if evidence else ""
    return ValueError(f"{found} no labelling of positive probability{agrees}")


def _of_tables(model: TableModel, query: str, evidence: dict[int, int]) -> Answer:
    """The exact answer about tables over any number of variables."""
    alone = tuple(map(np.zeros, model.num_labels.tolist()))  # each stands in a table
    scopes = factor_graph.Scopes([*model.scopes, *((v,) for v in range(len(alone)))])
    with jax.enable_x64(True):
        scores = factor_graph.Scores((*model.tables, *alone), scopes)
        scores = factor_graph.clamp(scores, evidence)
        if query == "pr":
            return Answer(float(factor_graph.log_partition(scores)) / math.log(10))
        if query == "map":
            labels, best = jax.device_get(factor_graph.argmax(scores))
            answer, possible = Answer(labels=labels), bool(best > -np.inf)
        else:
            found = factor_graph.marginals(scores).tables[len(model.tables) :]
            answer = Answer(marginals=[np.asarray(p) for p in found])
            possible = all(p.sum() > 0.5 for p in found)
    if not possible:
        raise _impossible("there is", evidence)
    return answer


def _exact(scores: graph.Scores, query: str) -> tuple[Answer, bool]:
    """The answer, and whether any labelling is possible."""
    if query == "map":
        labels, best = jax.device_get(graph.argmax(scores))
        return Answer(labels=labels), bool(best > -np.inf)
    if query == "pr":
        return Answer(float(graph.log_partition(scores)) / math.log(10)), True
    found = np.asarray(graph.marginals(scores).node)
    return Answer(marginals=list(found)), bool((found.sum(axis=1) > 0.5).all())


def _approximate(
    scores: graph.Scores, query: str, method: str, options: graph.Options
) -> tuple[Answer, bool]:
    if query == "map":
        found = graph.argmax(scores, method="max_product", options=options)
        labels, best = jax.device_get(found)
        return Answer(labels=labels), bool(best > -np.inf)
    found = jax.device_get(graph.beliefs(scores, method=method, options=options))
    how: dict[str, Any] = {"residual": float(found.residual), "iterations": int(found.iterations)}
    possible = bool(found.log_partition > -np.inf)
    if query == "pr":
        return Answer(float(found.log_partition) / math.log(10), **how), possible
    return Answer(marginals=list(found.node), **how), possible


@cached()
def infer(
    source: str,
    *,
    query: str = "mar",
    method: str = "exact",
    evidence: str | None = None,
    output: str | None = None,
    options: graph.Options = OPTIONS,
) -> None:
    """Writes the answer about a file; what else there is to say goes to standard error.

    Args:
        source: a UAI file of the kind MARKOV; - for standard input. With tables over more than two
            variables, only by the method ``exact``.
        query: as `solve` takes it.
        method: likewise.
        evidence: a file of observed variables, ``.uai.evid``.
        output: the file to write; None: standard output.
        options: as `solve` takes them.

    Raises:
        DataError: for faults in a file, and for networks that cannot be read.
        OSError: when a file cannot be read or written.
        ValueError: as `solve`.
    """
    stream: Any = sys.stdin.buffer if source == "-" else source
    try:
        model = read_uai_tables(stream)
    except DataError as error:
        if "MARKOV networks" in error.message:
            raise DataError(
                f"{error.message}; a Markov network is needed",
                file=error.file,
                line=error.line,
                value=error.value,
            ) from None
        raise
    observed = {} if evidence is None else read_uai_evidence(evidence, model.num_labels)
    answer = solve(model, query, method, observed, options)
    if answer.residual > options.tolerance:
        print(
            f"warning: {method} has not converged: after {answer.iterations} iterations messages "
            f"still change by {answer.residual:.2g}; the answer may mean nothing",
            file=sys.stderr,
        )
    if output is None:
        sys.stdout.write(answer.to_text())
    else:
        Path(output).write_text(answer.to_text(), encoding="utf-8")
