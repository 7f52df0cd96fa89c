"""`CRF`: an estimator over sparse features, with the interface of sklearn-crfsuite."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rntn_jax.crf import chain
from rntn_jax.data import DataError, Encoded, encode_attributes
from rntn_jax.models import sparse_crf
from rntn_jax.training import (
    CheckpointError,
    NotFiniteError,
    Stopping,
    init_state,
    lbfgs,
    load_pytree,
    make_train_step,
    minimize_l1,
    read_info,
    save_pytree,
)

__all__ = ["CRF"]

Token = Mapping[str, Any] | Iterable[str]


class _File(NamedTuple):
    """What a saved model holds."""

    attributes: np.ndarray  # uint8, their names as UTF-8, a line each
    features: sparse_crf.Features
    params: sparse_crf.Params


class CRF:
    """A linear-chain CRF over features of tokens, with the interface of sklearn-crfsuite.

    The model and the objective are CRFsuite's (`rntn_jax.models.sparse_crf`): the loss is
    ``-sum ln P(y) + c1 |w|_1 + c2 |w|^2``. Features are lists of strings or dictionaries, as
    `rntn_jax.data.token_attributes` says.

    Args:
        algorithm: ``lbfgs``, on all data at once, or ``l2sgd``, on minibatches (AdaGrad, with the
            L2 penalty; ``c1`` must be 0).
        min_freq: features that are rarer in the training data are left out.
        all_possible_states: every attribute with every label is a feature, seen or not.
        all_possible_transitions: every pair of labels is.
        c1: strength of the L1 penalty.
        c2: strength of the L2 penalty.
        max_iterations: of L-BFGS (default 1000), or passes over the data (default 30).
        num_memories: pairs that L-BFGS remembers.
        epsilon: stop when the gradient's norm is below that times the weights'.
        period: number of iterations over which ``delta`` is measured.
        delta: stop when the loss gained less than that, relatively.
        learning_rate: of ``l2sgd``.
        batch_size: tokens of its minibatches, about.
        seed: of their order.
        verbose: print a line an iteration.

    Attributes:
        classes_: the labels, in the order of their first appearance.
        attributes_: the attributes.
        num_attributes_: their number.
        state_features_: ``{(attribute, label): weight}``, where it is not 0.
        transition_features_: ``{(label, label after): weight}``.
        training_log_: a dictionary an iteration: ``num, loss, error_norm, time``.

    Example:
        >>> X = [[{"word": "the"}, {"word": "film"}], [{"word": "a"}, {"word": "plot"}]] * 5
        >>> y = [["D", "N"], ["D", "N"]] * 5
        >>> crf = CRF(c2=0.1).fit(X, y)
        >>> crf.predict([[{"word": "the"}, {"word": "plot"}]])
        [['D', 'N']]
        >>> crf.score(X, y)
        1.0
    """

    def __init__(
        self,
        algorithm: str | None = "lbfgs",
        min_freq: float | None = 0,
        all_possible_states: bool | None = False,
        all_possible_transitions: bool | None = False,
        c1: float | None = 0.0,
        c2: float | None = 1.0,
        max_iterations: int | None = None,
        num_memories: int | None = 6,
        epsilon: float | None = 1e-5,
        period: int | None = 10,
        delta: float | None = 1e-5,
        learning_rate: float = 0.2,
        batch_size: int = 2048,
        seed: int = 0,
        verbose: bool = False,
    ):
        self.algorithm = algorithm
        self.min_freq = min_freq
        self.all_possible_states = all_possible_states
        self.all_possible_transitions = all_possible_transitions
        self.c1 = c1
        self.c2 = c2
        self.max_iterations = max_iterations
        self.num_memories = num_memories
        self.epsilon = epsilon
        self.period = period
        self.delta = delta
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor; what scikit-learn's ``clone`` and searches read."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> CRF:
        """Changes arguments of the constructor.

        Raises:
            ValueError: for one that there is not.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"CRF has no parameter {name!r}; it has {list(self.get_params())}")
            setattr(self, name, value)
        return self

    def _checked(self) -> dict[str, Any]:
        """The arguments, None being the default, in their ranges."""
        defaults = {n: p.default for n, p in inspect.signature(type(self)).parameters.items()}
        values = {n: defaults[n] if v is None else v for n, v in self.get_params().items()}
        if values["algorithm"] not in ("lbfgs", "l2sgd"):
            raise ValueError(f"algorithm must be 'lbfgs' or 'l2sgd', got {self.algorithm!r}")
        if values["max_iterations"] is None:
            values["max_iterations"] = 1000 if values["algorithm"] == "lbfgs" else 30
        for name in ("min_freq", "c1", "c2", "epsilon", "delta", "seed"):
            if not values[name] >= 0:
                raise ValueError(f"{name} must not be negative, got {values[name]!r}")
        for name in ("max_iterations", "num_memories", "period", "batch_size"):
            if values[name] < 1:
                raise ValueError(f"{name} must be at least 1, got {values[name]!r}")
        if not values["learning_rate"] > 0:
            raise ValueError(f"learning_rate must be positive, got {values['learning_rate']!r}")
        if values["c1"] and values["algorithm"] != "lbfgs":
            raise ValueError("c1 needs algorithm='lbfgs'")
        return values

    def fit(
        self,
        X: Sequence[Sequence[Token]],
        y: Sequence[Sequence[str]],
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> CRF:
        """Trains on sentences.

        Args:
            X: of each sentence, of each token, its features.
            y: of each sentence, of each token, its label.
            report: called after each iteration with what is added to ``training_log_``.

        Returns:
            itself.

        Raises:
            DataError: for features or labels of the wrong kind, naming sentence and token; when
                sentences and labels do not match; when there is no token.
            ValueError: for an argument of the constructor out of its range.
            NotFiniteError: when the loss is no number.
        """
        values = self._checked()
        labels, classes = _encode_labels(X, y)
        encoded, numbers = encode_attributes(X)
        if not len(encoded.sizes):
            raise DataError("there is no token to train on")
        bags = np.repeat(np.arange(len(encoded.sizes)), encoded.sizes)
        arrays = bags, encoded.ids, labels, encoded.lengths, len(numbers), len(classes)
        features = sparse_crf.features(
            *arrays,
            weights=encoded.weights,
            min_freq=values["min_freq"],
            all_states=bool(values["all_possible_states"]),
            all_transitions=bool(values["all_possible_transitions"]),
        )
        self.training_log_: list[dict[str, Any]] = []
        train = _fit_lbfgs if values["algorithm"] == "lbfgs" else _fit_minibatches
        params = train(
            arrays, encoded.weights, features, values, self._log(values["verbose"], report)
        )
        self._set(numbers, classes, features, jax.device_get(params))
        return self

    def _log(self, verbose: bool, report):
        start = time.monotonic()

        def log(number: int, value: float, error_norm: float) -> None:
            seconds = time.monotonic() - start
            row = {"num": number, "loss": value, "error_norm": error_norm, "time": seconds}
            self.training_log_.append(row)
            if verbose:
                print(
                    f"iteration {number}  loss {value:.6f}  error norm {error_norm:.6f}  "
                    f"seconds {seconds:.1f}",
                    flush=True,
                )
            if report is not None:
                report(row)

        return log

    def _set(self, numbers: dict[str, int], classes: list[str], features, params) -> None:
        self.classes_ = classes
        self._numbers = numbers
        self._features: sparse_crf.Features = features
        self._params: sparse_crf.Params = params
        table = np.zeros((len(numbers) + 1, len(classes)), np.float32)
        table[features.attribute, features.label] = params.state
        self._table = table

    @property
    def attributes_(self) -> list[str]:
        """The attributes."""
        return list(self._fitted()._numbers)

    @property
    def num_attributes_(self) -> int:
        """How many attributes there are."""
        return len(self._fitted()._numbers)

    @property
    def state_features_(self) -> dict[tuple[str, str], float]:
        """Weights of attributes with labels, where they are not 0."""
        names, features = self.attributes_, self._features
        return {
            (names[a], self.classes_[c]): float(w)
            for a, c, w in zip(features.attribute, features.label, self._params.state)
            if w
        }

    @property
    def transition_features_(self) -> dict[tuple[str, str], float]:
        """Weights of labels followed by labels."""
        self._fitted()
        pairs = np.argwhere(self._features.transition)
        return {
            (self.classes_[i], self.classes_[j]): float(self._params.edge[i, j]) for i, j in pairs
        }

    def _fitted(self) -> CRF:
        if not hasattr(self, "_params"):
            raise ValueError("this CRF is not trained yet: call fit, or CRF.load")
        return self

    def predict(
        self, X: Sequence[Sequence[Token]], constraints: tuple[Any, Any, Any] | None = None
    ) -> list[list[str]]:
        """The best labels of each sentence (Viterbi); attributes not seen in training count 0.

        ``constraints`` may name the transitions bool ``[C, C]``, the first labels ``[C]`` and the
        last ones ``[C]`` that are allowed (`rntn_jax.data.chunks.allowed_transitions` and its
        like, of ``classes_``).
        """
        labels = self._run(X, partial(_decode, constraints or (None, None, None)))
        return [[self.classes_[c] for c in row] for row in labels]

    def predict_single(self, xseq: Sequence[Token]) -> list[str]:
        """The best labels of one sentence."""
        return self.predict([xseq])[0]

    def predict_marginals(self, X: Sequence[Sequence[Token]]) -> list[list[dict[str, float]]]:
        """Of each token, the probability of each label."""
        rows = self._run(X, _marginals)
        return [[dict(zip(self.classes_, map(float, p))) for p in row] for row in rows]

    def predict_marginals_single(self, xseq: Sequence[Token]) -> list[dict[str, float]]:
        """The same of one sentence."""
        return self.predict_marginals([xseq])[0]

    def score(self, X: Sequence[Sequence[Token]], y: Sequence[Sequence[str]]) -> float:
        """Fraction of tokens that get the right label; one unseen in training never does."""
        gold = [str(label) for row in y for label in row]
        _check_lengths(X, y)
        predicted = [label for row in self.predict(X) for label in row]
        right = sum(a == b for a, b in zip(gold, predicted))
        return right / len(gold) if gold else 0.0

    def log_prob(self, X: Sequence[Sequence[Token]], y: Sequence[Sequence[str]]) -> np.ndarray:
        """Log-probability ``[S]`` of the labels of each sentence, in nats; ``-inf`` of unseen ones.

        Raises:
            DataError: when sentences and labels do not match.
        """
        _check_lengths(X, y)
        number = {label: i for i, label in enumerate(self._fitted().classes_)}
        labels = [[number.get(label, -1) for label in row] for row in y]
        nats = self._run(X, _log_prob, [[max(label, 0) for label in row] for row in labels])
        unseen = np.array([min(row, default=0) < 0 for row in labels], bool)
        return np.where(unseen, -np.inf, [row[0] if len(row) else 0.0 for row in nats])

    def _run(self, X: Sequence[Sequence[Token]], query, labels: Any = None) -> list[np.ndarray]:
        """Rows of answers, one a token, of each sentence."""
        self._fitted()
        encoded, _ = encode_attributes(X, self._numbers)
        node = _node_scores(encoded, self._table)
        ends = np.cumsum(encoded.lengths)
        answers: list[Any] = [np.zeros(0, int)] * len(encoded.lengths)
        edge = jnp.asarray(self._params.edge)
        for members, rows, steps in _groups(encoded.lengths):
            padded: Any = np.zeros((rows, steps, node.shape[1]), np.float32)
            mask: Any = np.zeros((rows, steps), bool)
            gold = np.zeros((rows, steps), np.int32)
            for row, s in enumerate(members):
                size = encoded.lengths[s]
                padded[row, :size] = node[ends[s] - size : ends[s]]
                mask[row, :size] = True
                if labels is not None:
                    gold[row, :size] = labels[s]
            out = np.asarray(query(chain.Scores(padded, edge, mask=mask), gold))
            for row, s in enumerate(members):
                answers[s] = out[row, : encoded.lengths[s]]
        return answers

    def save(self, path: str | os.PathLike[str], info: Any = None) -> None:
        """Writes the model, and anything JSON can hold, to one safetensors file.

        Nothing is pickled.
        """
        self._fitted()
        text = "\n".join(name.replace("\\", "\\\\").replace("\n", "\\n") for name in self._numbers)
        content = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
        info = {
            "kind": "sparse_crf",
            "classes": self.classes_,
            "sizes": [len(content), self.num_attributes_, len(self._features.label)],
            "arguments": self.get_params(),
            "info": info,
        }
        save_pytree(path, _File(content, self._features, self._params), info)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CRF:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: when there is no such file.
            CheckpointError: when the file is damaged or holds something else.
        """
        info = read_info(path)
        if info.get("kind") != "sparse_crf":
            raise CheckpointError(f"{path} does not hold a CRF over sparse features")
        (size, num_attributes, f), c = info["sizes"], len(info["classes"])
        state, edge = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((f,), (c, c)))
        like = _File(
            np.empty(size, np.uint8),
            sparse_crf.Features(
                np.empty(f, np.int32), np.empty(f, np.int32), np.empty((c, c), bool)
            ),
            sparse_crf.Params(cast(Any, state), cast(Any, edge)),
        )
        file, _ = load_pytree(path, like)
        text = file.attributes.tobytes().decode("utf-8", "surrogatepass")
        lines = text.split("\n") if num_attributes else []
        names = ["\\".join(p.replace("\\n", "\n") for p in x.split("\\\\")) for x in lines]
        if len(names) != num_attributes:
            raise CheckpointError(f"{path} holds {len(names)} attributes, not {num_attributes}")
        crf = cls(**info["arguments"])
        numbers = {name: number for number, name in enumerate(names)}
        crf._set(numbers, info["classes"], file.features, file.params)
        return crf


def _check_lengths(X: Sequence[Sequence[Any]], y: Sequence[Sequence[str]]) -> None:
    if len(X) != len(y):
        raise DataError(f"{len(X)} sentences, but labels of {len(y)}")
    for number, (tokens, labels) in enumerate(zip(X, y)):
        if isinstance(labels, str) or len(tokens) != len(labels):
            raise DataError(
                f"sentence {number} (from 0) has {len(tokens)} tokens, labels {labels!r:.60}",
                value=labels,
            )


def _encode_labels(X, y) -> tuple[np.ndarray, list[str]]:
    _check_lengths(X, y)
    numbers: dict[str, int] = {}
    ids = []
    for place, row in enumerate(y):
        for label in row:
            if not isinstance(label, str):
                raise DataError(f"sentence {place} (from 0): label {label!r} is no string")
            ids.append(numbers.setdefault(label, len(numbers)))
    return np.array(ids, np.int32), list(numbers)


# One program for all models of the same data, whatever the penalties.
_evaluate = jax.jit(jax.value_and_grad(sparse_crf.loss))


def _fit_lbfgs(arrays, weights, features, values, report) -> sparse_crf.Params:
    corpus, features = jax.tree.map(
        jnp.asarray, (sparse_crf.corpus(*arrays, weights=weights), features)
    )
    stopping = Stopping(
        values["max_iterations"], values["delta"], values["period"], values["epsilon"]
    )
    params = sparse_crf.init(features)
    data = corpus, features, jnp.float32(values["c2"])
    if values["c1"]:
        return minimize_l1(
            _evaluate,
            params,
            data,
            values["c1"],
            stopping,
            memory=values["num_memories"],
            report=report,
        )[0]
    method = lbfgs(_evaluate, values["num_memories"])
    state = method.init(params, *data)
    losses = [float(state.value)]
    while True:
        norm = float(optax.tree.norm(state.params))
        error_norm = float(optax.tree.norm(state.grad))
        if not np.isfinite(losses[-1]):
            raise NotFiniteError(f"the loss is {losses[-1]} after {len(losses) - 1} iterations")
        if stopping.done(losses, error_norm, norm):
            return state.params
        state = method.step(state, *data)
        losses.append(float(state.value))
        report(len(losses) - 1, losses[-1], float(optax.tree.norm(state.grad)))


def _fit_minibatches(arrays, weights, features, values, report) -> sparse_crf.Params:
    tokens, num_attributes = len(arrays[2]), arrays[4]
    corpus = sparse_crf.corpus(*arrays, weights=weights, minibatches=True)
    rows, steps = corpus.labels.shape
    size = max(1, min(rows, values["batch_size"] // steps))
    features = jax.tree.map(jnp.asarray, features)
    share = size * steps / (rows * steps)

    def objective(params, batch):
        value = sparse_crf.loss(params, batch, features, values["c2"] * share, num_attributes)
        return value / (tokens * share), None

    optimizer = optax.adagrad(values["learning_rate"], initial_accumulator_value=0.0)
    step = make_train_step(objective, optimizer)
    state = init_state(sparse_crf.init(features), optimizer, jax.random.key(0))
    for number in range(1, values["max_iterations"] + 1):
        order = np.random.default_rng((values["seed"], number)).permutation(rows)
        losses, norms = [], []
        for at in range(0, rows - size + 1, size):
            batch = jax.tree.map(lambda a: a[order[at : at + size]], corpus)  # noqa: B023
            state, metrics = step(state, batch)
            losses.append(metrics["loss"])
            norms.append(metrics["grad_norm"])
        value = float(np.mean(jax.device_get(losses))) * tokens
        if not np.isfinite(value):
            raise NotFiniteError(f"the loss is {value} in pass {number}: a smaller learning_rate?")
        report(number, value, float(np.mean(jax.device_get(norms))))
    return state.params


def _node_scores(encoded: Encoded, table: np.ndarray) -> np.ndarray:
    """Scores ``[N, C]`` of all tokens."""
    # An entry of the last, empty row after each token, so that none is without entries.
    places = np.cumsum(encoded.sizes)
    ids = np.insert(encoded.ids, places, len(table) - 1)
    rows = table[ids]
    if encoded.weights is not None:
        rows *= np.insert(encoded.weights, places, 1.0)[:, None]
    starts = places - encoded.sizes + np.arange(len(places))
    return np.add.reduceat(rows, starts) if len(places) else np.zeros((0, table.shape[1]))


def _groups(lengths: np.ndarray):
    """Sentences of like length, and an array shape they fit into; few different shapes."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    while len(order):
        steps = max(32, 1 << int(lengths[order[0]] - 1).bit_length())
        fitting = int(np.searchsorted(lengths[order], steps, side="right"))
        rows = 1 if fitting == 1 else 64 if fitting <= 64 else 512
        members = order[: min(fitting, rows)]
        yield members, rows, steps
        order = order[len(members) :]


@jax.jit
def _decode(constraints: tuple[Any, Any, Any], scores: chain.Scores, _: Any):
    return chain.argmax(chain.constrain(scores, *constraints))[0]


@jax.jit
def _marginals(scores: chain.Scores, _: Any):
    return chain.marginals(scores).node


@jax.jit
def _log_prob(scores: chain.Scores, labels: jax.Array):
    return chain.log_prob(scores, labels)[:, None]
