"""CRFsuite's online algorithms: one sentence at a time, in NumPy and float64.

``F(x, y)`` counts the features of a sentence with its labels: the weights' product with it is the
score. Sentences come in a new random order in each epoch. With ``y`` the right labels, ``y'`` the
best ones under the weights ``w`` (Viterbi), ``d`` the number of tokens at which they differ,
``delta = F(x, y) - F(x, y')`` and ``e = w F(x, y') - w F(x, y) >= 0``, a sentence with ``d > 0``
changes the weights:

- ``ap``, averaged perceptron (Collins 2002): ``w += delta``; the result is the mean of the weights
  after each sentence.
- ``pa``, passive aggressive (Crammer et al. 2006): ``w += tau delta``, of all weights that would
  give ``y`` the margin the nearest; ``cost = e + sqrt(d)`` (or ``e + 1``), and ``tau`` is
  ``cost / |delta|^2`` (type 0), at most ``c`` (1), ``cost / (|delta|^2 + 1 / 2c)`` (2).
- ``arow``, adaptive regularisation (Crammer et al. 2009), a mean and a variance ``s`` for each
  weight: ``w += s delta (e + d) / (gamma + sum s delta^2)``, ``1 / s += delta^2 / gamma``.
- ``l2sgd``, stochastic gradient descent on ``-ln P(y) + lambda / 2 |w|^2`` with
  ``lambda = 2 c2 / N`` (Pegasos, Shalev-Shwartz et al. 2007, without the projection): step size
  ``1 / (lambda (t_0 + t))`` at the t-th sentence; ``t_0`` by trials on some sentences.

Differs from CRFsuite: the order of the sentences, which is drawn by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rntn_jax.models import sparse_crf
from rntn_jax.tagger.encoding import TrainingData
from rntn_jax.training import NotFiniteError

__all__ = ["expectations", "fit_online", "viterbi"]

Report = Callable[..., None]


def viterbi(node: np.ndarray, edge: np.ndarray) -> tuple[np.ndarray, float]:
    """The best labels of a sentence, of equals the first, and their score.

    Args:
        node: ``[T, C]``, T at least 1.
        edge: ``[C, C]``.

    Returns:
        Int ``[T]``, and the score. Cost O(T C^2).

    Example:
        >>> node, edge = np.array([[1.0, 0.0], [0.0, 0.5]]), np.array([[1.0, 0.0], [0.0, 0.0]])
        >>> labels, score = viterbi(node, edge)
        >>> labels.tolist(), float(score)
        ([0, 0], 2.0)
    """
    best = np.empty_like(node)  # of all labellings that end in a label
    best[0] = node[0]
    into = np.ascontiguousarray(edge.T)
    for t in range(1, len(node)):
        np.add((into + best[t - 1]).max(axis=1), node[t], out=best[t])
    labels = np.empty(len(node), np.intp)
    labels[-1] = best[-1].argmax()
    for t in range(len(node) - 1, 0, -1):
        labels[t - 1] = (into[labels[t]] + best[t - 1]).argmax()
    return labels, float(best[-1, labels[-1]])


def expectations(node: np.ndarray, edge: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-partition and marginals of a sentence, by the forward-backward recursion.

    ``a_t = f_t (a_{t-1} M) / c_t``, ``b_{t-1} = M (f_t b_t) / c_t`` with ``f = exp(node)`` and
    ``M = exp(edge)``, both divided by their maxima, and ``c_t`` such that ``a_t`` sums to 1.

    Source: 004, forward-backward.

    Args:
        node: ``[T, C]``, T at least 1.
        edge: ``[C, C]``.

    Returns:
        ``ln Z``; probabilities ``[T, C]`` of labels; expected numbers ``[C, C]`` of transitions.
        Cost O(T C^2).

    Example:
        >>> log_z, labels, pairs = expectations(np.zeros((2, 2)), np.zeros((2, 2)))
        >>> round(float(np.exp(log_z)), 6), labels.tolist(), pairs.tolist()
        (4.0, [[0.5, 0.5], [0.5, 0.5]], [[0.25, 0.25], [0.25, 0.25]])
    """
    top, edge_top = node.max(axis=1, keepdims=True), edge.max()
    f, m = np.exp(node - top), np.exp(edge - edge_top)
    a, b, c = np.empty_like(f), np.ones_like(f), np.empty(len(f))
    a[0] = f[0]
    for t in range(len(f)):
        if t:
            np.multiply(a[t - 1] @ m, f[t], out=a[t])
        c[t] = a[t].sum()
        a[t] /= c[t]
    for t in range(len(f) - 1, 0, -1):
        f[t] *= b[t] / c[t]
        np.matmul(m, f[t], out=b[t - 1])
    log_z = np.log(c).sum() + top.sum() + (len(f) - 1) * edge_top
    return float(log_z), a * b, m * (a[:-1].T @ f[1:])


class _Sentence(NamedTuple):
    """A sentence's attributes, token by token and attribute by attribute."""

    ids: np.ndarray  # [E], attributes of all tokens; each token ends with the empty attribute A
    values: np.ndarray  # [E]
    tokens: np.ndarray  # [E], whose they are
    starts: np.ndarray  # [T], where a token's begin
    labels: np.ndarray  # [T], the right ones


class _Problem:
    """The sentences, and the weights ``[(A + 1) C + C C]`` as one vector: states, transitions."""

    def __init__(self, data: TrainingData, features: sparse_crf.Features):
        rows, c = data.num_attributes + 1, data.num_labels
        self.features, self.num_labels, self.num_states = features, c, rows * c
        exists = np.zeros((rows, c), bool)
        exists[features.attribute, features.label] = True
        self.exists = np.concatenate([exists.ravel(), np.ravel(features.transition)])
        self.sentences = list(_sentences(data))

    def split(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights of states ``[A + 1, C]`` and of transitions ``[C, C]``, not copied."""
        c = self.num_labels
        return w[: self.num_states].reshape(-1, c), w[self.num_states :].reshape(c, c)

    def node_scores(self, states: np.ndarray, sentence: _Sentence) -> np.ndarray:
        """``[T, C]``."""
        rows = states[sentence.ids] * sentence.values[:, None]
        return np.add.reduceat(rows, sentence.starts)

    def difference(self, sentence: _Sentence, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``F(x, y) - F(x, y')`` as the numbers of the features and their counts."""
        gold, c = sentence.labels, self.num_labels
        wrong = (gold != guess)[sentence.tokens]
        at, values = sentence.ids[wrong] * c, sentence.values[wrong]
        tokens = sentence.tokens[wrong]
        moved = (gold[:-1] != guess[:-1]) | (gold[1:] != guess[1:])
        pairs = [self.num_states + (y[:-1] * c + y[1:])[moved] for y in (gold, guess)]
        ones = np.ones(len(pairs[0]))
        k, place = np.unique(
            np.concatenate([at + gold[tokens], at + guess[tokens], *pairs]), return_inverse=True
        )
        counts = np.bincount(place, np.concatenate([values, -values, ones, -ones]), len(k))
        return k[self.exists[k]], counts[self.exists[k]]

    def params(self, w: np.ndarray) -> sparse_crf.Params:
        """The weights of the features."""
        states, edge = self.split(w)
        found = states[self.features.attribute, self.features.label], edge.copy()
        return sparse_crf.Params(*(np.asarray(x, np.float32) for x in found))  # pyright: ignore


def _sentences(data: TrainingData) -> Iterator[_Sentence]:
    """Those with tokens."""
    sizes = np.bincount(data.bags, minlength=len(data.labels))
    places = np.cumsum(sizes)
    ids = np.insert(data.ids, places, data.num_attributes).astype(np.intp)
    values = np.ones(len(data.ids)) if data.weights is None else data.weights.astype(np.float64)
    values = np.insert(values, places, 0.0)
    starts = np.append(places - sizes + np.arange(len(sizes)), len(ids))
    labels, end = data.labels.astype(np.intp), 0
    for length in data.lengths[data.lengths > 0]:
        begin, end = end, end + length
        first, last = starts[begin], starts[end]
        tokens = np.repeat(np.arange(length), sizes[begin:end] + 1)
        yield _Sentence(
            ids[first:last],
            values[first:last],
            tokens,
            starts[begin:end] - first,
            labels[begin:end],
        )


# Each rule has the weights ``w``, and counts sentences; ``update`` changes the weights after a
# sentence with mistakes (delta is that of the features k) and returns its share of the loss.


class _AveragedPerceptron:
    """Collins 2002; the mean of all weights so far is ``w - sum / count``."""

    def __init__(self, size: int):
        self.w, self.sum = np.zeros(size), np.zeros(size)
        self.count = 1  # sentences so far, and 1

    def update(self, k: np.ndarray, delta: np.ndarray, e: float, d: int, length: int) -> float:
        self.w[k] += delta
        self.sum[k] += self.count * delta
        return d / length

    def result(self) -> np.ndarray:
        return self.w - self.sum / self.count


class _PassiveAggressive:
    """Crammer et al. 2006."""

    def __init__(self, size: int, pa_type: int, c: float, error_sensitive: bool, averaging: bool):
        self.w, self.sum = np.zeros(size), np.zeros(size)
        self.count = 1
        self.error_sensitive, self.averaging = error_sensitive, averaging
        self.step = {
            0: lambda cost, norm: cost / norm,
            1: lambda cost, norm: min(c, cost / norm),
            2: lambda cost, norm: cost / (norm + 0.5 / c),
        }[pa_type]

    def update(self, k: np.ndarray, delta: np.ndarray, e: float, d: int, length: int) -> float:
        cost = e + (d**0.5 if self.error_sensitive else 1.0)
        norm = float(delta @ delta)
        if norm:  # else no feature tells the labels apart
            change = self.step(cost, norm) * delta
            self.w[k] += change
            self.sum[k] += self.count * change
        return cost

    def result(self) -> np.ndarray:
        return self.w - self.sum / self.count if self.averaging else self.w


class _Arow:
    """Crammer et al. 2009, with a diagonal covariance."""

    def __init__(self, size: int, variance: float, gamma: float):
        self.w, self.variance = np.zeros(size), np.full(size, float(variance))
        self.gamma, self.count = gamma, 1

    def update(self, k: np.ndarray, delta: np.ndarray, e: float, d: int, length: int) -> float:
        s, squares = self.variance[k], delta * delta
        cost = e + d
        self.w[k] += cost / (self.gamma + s @ squares) * s * delta
        self.variance[k] = 1 / (1 / s + squares / self.gamma)
        return cost

    def result(self) -> np.ndarray:
        return self.w


def fit_online(
    data: TrainingData, features: sparse_crf.Features, arguments: dict[str, Any], report: Report
) -> sparse_crf.Params:
    """Trains by ``ap``, ``pa``, ``arow`` or ``l2sgd``.

    Args:
        data: sentences and labels.
        features: of `sparse_crf.features`.
        arguments: of `arguments.resolve`.
        report: called after each epoch with its number, the loss, the weights and their norm.

    Returns:
        The weights; of ``l2sgd`` those of the epoch with the least loss.

    Raises:
        NotFiniteError: when the loss is no number.
    """
    problem, algorithm = _Problem(data, features), arguments["algorithm"]
    size = len(problem.exists)
    if algorithm == "l2sgd":
        return _l2sgd(problem, arguments, report)
    rule: Any
    if algorithm == "ap":
        rule = _AveragedPerceptron(size)
    elif algorithm == "pa":
        names = ("pa_type", "c", "error_sensitive", "averaging")
        rule = _PassiveAggressive(size, **{name: arguments[name] for name in names})
    else:
        rule = _Arow(size, arguments["variance"], arguments["gamma"])
    return _by_mistakes(problem, rule, arguments, report)


def _by_mistakes(
    problem: _Problem, rule: Any, arguments: dict[str, Any], report: Report
) -> sparse_crf.Params:
    """Epochs of Viterbi and updates; ends when the mean loss is below ``epsilon``."""
    states, edge = problem.split(rule.w)
    number, w = len(problem.sentences), rule.w
    for epoch in range(1, arguments["max_iterations"] + 1):
        loss = 0.0
        for s in np.random.default_rng((arguments["seed"], epoch)).permutation(number):
            sentence = problem.sentences[s]
            gold, node = sentence.labels, problem.node_scores(states, sentence)
            guess, score = viterbi(node, edge)
            wrong = int((guess != gold).sum())
            if wrong:
                steps = np.arange(len(gold))
                gold_score = node[steps, gold].sum() + edge[gold[:-1], gold[1:]].sum()
                k, delta = problem.difference(sentence, guess)
                loss += rule.update(k, delta, score - gold_score, wrong, len(gold))
            rule.count += 1
        if not np.isfinite(loss):
            raise NotFiniteError(f"the loss is {loss} in epoch {epoch}")
        w = rule.result()
        report(epoch, float(loss), problem.params(w), feature_norm=float(np.linalg.norm(w)))
        # As in CRFsuite, which lets only AROW end when there is no mistake at all.
        mean, least = loss / number, arguments["epsilon"]
        if mean < least or (arguments["algorithm"] == "arow" and mean == least):
            break
    return problem.params(w)


def _l2sgd(problem: _Problem, arguments: dict[str, Any], report: Report) -> sparse_crf.Params:
    """Epochs of gradient steps; ends when ``period`` epochs gained too little."""
    number = len(problem.sentences)
    strength = 2 * arguments["c2"] / number
    order = np.random.default_rng((arguments["seed"], 0)).permutation(number)
    start = _calibrate(problem, order, strength, arguments)
    w, best, steps = np.zeros(len(problem.exists)), np.zeros(len(problem.exists)), 0
    losses: list[float] = []
    for epoch in range(1, arguments["max_iterations"] + 1):
        order = np.random.default_rng((arguments["seed"], epoch)).permutation(number)
        loss = _epoch(problem, w, order, strength, start + steps)
        steps += number
        if not np.isfinite(loss):
            raise NotFiniteError(f"the loss is {loss} in epoch {epoch}: a smaller calibration_eta?")
        if loss < min(losses, default=np.inf):
            best = w.copy()
        losses.append(loss)
        report(epoch, loss, problem.params(w), feature_norm=float(np.linalg.norm(w)))
        period = arguments["period"]
        if epoch > period and losses[-1 - period] - loss < arguments["delta"] * loss:
            break
    return problem.params(best)


def _calibrate(
    problem: _Problem, order: np.ndarray, strength: float, arguments: dict[str, Any]
) -> float:
    """``t_0`` for the first step size that leaves the least loss after an epoch of some sentences.

    Step sizes grow from ``calibration_eta`` by ``calibration_rate`` while the loss falls below that
    of weights 0, then shrink from there, as many candidates again.
    """
    order = order[: int(arguments["calibration_samples"])]
    tokens = sum(len(problem.sentences[s].labels) for s in order)
    at_zero = tokens * np.log(problem.num_labels)
    eta = best_eta = arguments["calibration_eta"]
    best, growing, left = np.inf, True, int(arguments["calibration_candidates"])
    for _ in range(max(1, int(arguments["calibration_max_trials"]) - 1)):
        w = np.zeros(len(problem.exists))
        loss = _epoch(problem, w, order, strength, 1 / (strength * eta))
        better = np.isfinite(loss) and loss < at_zero
        left -= better
        if np.isfinite(loss) and loss < best:
            best, best_eta = loss, eta
        if growing and not (better and left):
            growing, left = False, int(arguments["calibration_candidates"])
            eta = arguments["calibration_eta"]
        eta = (
            eta * arguments["calibration_rate"] if growing else eta / arguments["calibration_rate"]
        )
        if not (left or growing):
            break
    return 1 / (strength * best_eta)


@np.errstate(all="ignore")  # steps that are too long end in a loss that is no number
def _epoch(
    problem: _Problem, w: np.ndarray, order: Sequence[int] | np.ndarray, strength: float, t: float
) -> float:
    """A gradient step a sentence, in place; returns the loss met on the way, and the penalty.

    The weights are ``scale v``: a step changes the few entries of ``v`` that the sentence has, and
    shrinks all others by ``scale`` alone.
    """
    states, edge = problem.split(w)
    exists, edge_exists = problem.split(problem.exists)
    scale, total = np.float64(1.0), 0.0
    for s in order:
        sentence = problem.sentences[s]
        gold = sentence.labels
        eta = 1 / (strength * t)
        scale *= 1 - eta * strength
        node = scale * problem.node_scores(states, sentence)
        log_z, labels, pairs = expectations(node, scale * edge)
        steps = np.arange(len(gold))
        score = node[steps, gold].sum() + scale * edge[gold[:-1], gold[1:]].sum()
        total += log_z - score
        # Observed minus expected counts.
        labels, pairs = -labels, -pairs
        labels[steps, gold] += 1
        np.add.at(pairs, (gold[:-1], gold[1:]), 1)
        by_id = np.argsort(sentence.ids, kind="stable")
        ids = sentence.ids[by_id]
        first = np.flatnonzero(np.diff(ids, prepend=-1))
        counts = labels[sentence.tokens[by_id]] * sentence.values[by_id, None]
        counts = np.add.reduceat(counts, first)
        states[ids[first]] += eta / scale * counts * exists[ids[first]]
        edge += eta / scale * pairs * edge_exists
        t += 1
    w *= scale
    return float(total + strength / 2 * (w @ w) * len(order))
