"""`CRF`: an estimator over sparse features, with the interface of sklearn-crfsuite."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import jax
import numpy as np

from rntn_jax.data import DataError
from rntn_jax.models import sparse_crf
from rntn_jax.tagger.arguments import defaults, resolve
from rntn_jax.tagger.checkpoints import Saves
from rntn_jax.tagger.encoding import Labels, Sentences, Token, as_lists, check_lengths, encode
from rntn_jax.tagger.model import Model, file_size, pruned, read, write
from rntn_jax.tagger.online import fit_online
from rntn_jax.tagger.optimize import fit_adagrad, fit_lbfgs
from rntn_jax.tagger.predictor import Predictor
from rntn_jax.tagger.sequence_tagger import SequenceTagger
from rntn_jax.tagger.training_log import Logger, TrainingLog, holdout_scores

__all__ = ["CRF", "NotFittedError"]


class NotFittedError(ValueError, AttributeError):
    """What is asked of a model that is not trained yet (bases as scikit-learn's error has)."""


class CRF:
    """A linear-chain CRF over features of tokens, with the interface of sklearn-crfsuite.

    The model and the objective are CRFsuite's (`rntn_jax.models.sparse_crf`). Sentences are lists
    of tokens, a token's features a list of strings or a dictionary, as
    `rntn_jax.data.token_attributes` says. Arguments are those of sklearn-crfsuite, in its order;
    None stands for the default of the algorithm (`rntn_jax.tagger.arguments.ALGORITHMS`). One that
    the algorithm does not take is refused by `fit`, as CRFsuite does.

    Args:
        algorithm: ``lbfgs`` (the default), on all data at once; ``l2sgd``, stochastic gradient
            descent; ``ap``, averaged perceptron; ``pa``, passive aggressive; ``arow``
            (`rntn_jax.tagger.online`); ``adagrad``, on minibatches, which CRFsuite does not have.
        min_freq: features that are rarer in the training data are left out.
        all_possible_states: every attribute with every label is a feature, seen or not.
        all_possible_transitions: every pair of labels is.
        c1: strength of the penalty ``c1 |w|_1`` (lbfgs).
        c2: strength of the penalty ``c2 |w|^2`` (lbfgs, l2sgd, adagrad).
        max_iterations: passes over the data at most (default: unlimited for lbfgs, 1000 for l2sgd,
            30 for adagrad, else 100).
        num_memories: pairs that L-BFGS remembers.
        epsilon: lbfgs: stop when the gradient's norm is below that times the weights' (1e-5); ap,
            pa, arow: when the mean loss is (0).
        period: number of iterations over which ``delta`` is measured.
        delta: stop when the loss gained less than that, relatively (1e-5; l2sgd: 1e-6).
        linesearch: conditions on a step of lbfgs: ``Backtracking``, those of Wolfe (the default),
            ``StrongBacktracking`` and ``MoreThuente``, the strong ones. Lengths that satisfy them
            are found by bisection; with ``c1`` by the search of Moré and Thuente.
        max_linesearch: lengths it tries at most.
        calibration_eta: first step size that l2sgd tries.
        calibration_rate: the ratio of one to the next.
        calibration_samples: sentences it tries them on.
        calibration_candidates: step sizes that lower the loss, upwards, and again downwards.
        calibration_max_trials: step sizes at most.
        pa_type: 0: no slack; 1: PA-I; 2: PA-II.
        c: aggressiveness of PA-I and PA-II.
        error_sensitive: pa: the margin wanted is the root of the number of wrong labels, else 1.
        averaging: pa: the weights' mean over all updates.
        variance: first variance of the weights in arow.
        gamma: arow's trade between the loss and the change of weights.
        verbose: print a line an iteration.
        model_filename: a file that `fit` writes, as `save` does. If it exists, a CRF that is not
            fitted answers by it. CRFsuite's own files are not read.
        keep_tempfiles: must be False: there are no temporary files.
        trainer_cls: must be None: `fit`'s ``report`` is called after each iteration.
        learning_rate: of adagrad (0.2).
        batch_size: tokens of its minibatches, about (2048).
        seed: of the order of sentences.

    Attributes:
        training_log_: a dictionary an iteration: ``num, loss, time``, norms, and the scores of
            held-out sentences; `TrainingLog`. This and the properties are None before training.

    Example:
        >>> X = [[{"word": "the"}, {"word": "film"}], [{"word": "a"}, {"word": "plot"}]] * 5
        >>> y = [["D", "N"], ["D", "N"]] * 5
        >>> crf = CRF(c2=0.1).fit(X, y)
        >>> crf.predict([[{"word": "the"}, {"word": "plot"}]])
        [['D', 'N']]
        >>> crf, crf.score(X, y)
        (CRF(c2=0.1), 1.0)
    """

    training_log_: TrainingLog = cast(Any, None)
    model_filename: str | os.PathLike[str] | None

    def __init__(
        self,
        algorithm: str | None = None,
        min_freq: float | None = None,
        all_possible_states: bool | None = None,
        all_possible_transitions: bool | None = None,
        c1: float | None = None,
        c2: float | None = None,
        max_iterations: int | None = None,
        num_memories: int | None = None,
        epsilon: float | None = None,
        period: int | None = None,
        delta: float | None = None,
        linesearch: str | None = None,
        max_linesearch: int | None = None,
        calibration_eta: float | None = None,
        calibration_rate: float | None = None,
        calibration_samples: int | None = None,
        calibration_candidates: int | None = None,
        calibration_max_trials: int | None = None,
        pa_type: int | None = None,
        c: float | None = None,
        error_sensitive: bool | None = None,
        averaging: bool | None = None,
        variance: float | None = None,
        gamma: float | None = None,
        verbose: bool | None = False,
        model_filename: str | os.PathLike[str] | None = None,
        keep_tempfiles: bool | None = False,
        trainer_cls: None = None,
        *,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
    ):
        given = dict(locals())
        for name in defaults(type(self)):
            setattr(self, name, given[name])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor; what scikit-learn's ``clone`` and searches read."""
        return {name: getattr(self, name) for name in defaults(type(self))}

    def set_params(self, **params: Any) -> CRF:
        """Changes arguments of the constructor.

        Args:
            **params: their names and new values.

        Returns:
            The estimator itself.

        Raises:
            ValueError: for one that there is not.
        """
        known = defaults(type(self))
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"CRF has no parameter {name!r}; it has {list(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        given, usual = self.get_params(), defaults(type(self))
        changed = [(n, v) for n, v in given.items() if v is not usual[n]]
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in changed)})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn (1.6 and later) wants to know; only it calls this."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False),
        )

    def __sklearn_is_fitted__(self) -> bool:
        """For scikit-learn's ``check_is_fitted``."""
        return hasattr(self, "_predictor") or os.path.exists(self.model_filename or "")

    def fit(
        self,
        X: Sentences,
        y: Labels,
        X_dev: Sentences | None = None,
        y_dev: Labels | None = None,
        *,
        report: Callable[[dict[str, Any]], None] | None = None,
        checkpoints: str | os.PathLike[str] | None = None,
    ) -> CRF:
        """Trains on sentences.

        Args:
            X: of each sentence, of each token, its features; anything iterable.
            y: of each sentence, of each token, its label.
            X_dev: held-out sentences, which are scored after each iteration.
            y_dev: their labels.
            report: called after each iteration with what is added to ``training_log_``.
            checkpoints: a folder in which lbfgs saves its state, every ten iterations, and from
                which it goes on where it was stopped: bit for bit, or, with ``c1``, to the same
                minimum.

        Returns:
            itself.

        Raises:
            CheckpointError: when the folder holds a training with other data or arguments.
            DataError: for features or labels of the wrong kind, naming sentence and token; when
                sentences and labels do not match; when there is no token.
            ValueError: for an argument of the constructor out of its range, or one that the
                algorithm does not take.
            NotFiniteError: when the loss is no number.
        """
        arguments = resolve(self.get_params())
        if (X_dev is None) != (y_dev is None):
            raise ValueError("X_dev and y_dev must be given together")
        data, numbers, classes = encode(as_lists(X), as_lists(y))
        features = sparse_crf.features(
            *data[:6],
            weights=data.weights,
            min_freq=arguments["min_freq"],
            all_states=bool(arguments["all_possible_states"]),
            all_transitions=bool(arguments["all_possible_transitions"]),
        )

        def model(params: sparse_crf.Params) -> Model:
            return Model(list(numbers), classes, features, jax.device_get(params))

        X_held, y_held = [as_lists(() if a is None else a) for a in (X_dev, y_dev)]
        check_lengths(X_held, y_held)

        def holdout(params: sparse_crf.Params) -> dict[str, Any]:
            return holdout_scores(y_held, Predictor(model(params)).labels(X_held), len(classes))

        logger = Logger(bool(arguments["verbose"]), report, holdout if X_held else None)
        self.training_log_ = logger.log
        train = {"adagrad": fit_adagrad}.get(arguments["algorithm"], fit_online)
        if arguments["algorithm"] == "lbfgs":
            train = partial(fit_lbfgs, saves=Saves(checkpoints, data, arguments, logger))
        elif checkpoints is not None:
            raise ValueError(f"checkpoints are lbfgs's, not those of {arguments['algorithm']}")
        self._predictor = Predictor(pruned(model(train(data, features, arguments, logger))))
        if self.model_filename is not None:
            self.save(self.model_filename)
        return self

    def _fitted(self) -> Predictor:
        if not hasattr(self, "_predictor"):
            path = self.model_filename
            if path is None or not os.path.exists(path):
                raise NotFittedError("this CRF is not trained yet: call fit, or CRF.load")
            self._predictor = Predictor(read(path)[0])
        return self._predictor

    def _holds(self, what: Callable[[Model], Any]) -> Any:
        """What the model holds; before training None, as in sklearn-crfsuite."""
        return what(self._fitted().model) if self.__sklearn_is_fitted__() else None

    @property
    def classes_(self) -> list[str]:
        """The labels, in the order of their first appearance."""
        return self._holds(lambda model: model.classes)

    @property
    def attributes_(self) -> list[str]:
        """The attributes that have a weight."""
        return self._holds(lambda model: list(model.attributes))

    @property
    def num_attributes_(self) -> int:
        """How many attributes there are."""
        return self._holds(lambda model: len(model.attributes))

    @property
    def size_(self) -> int:
        """Bytes of the file that `save` writes."""
        return self._holds(lambda model: file_size(model, self._saved_arguments()))

    @property
    def state_features_(self) -> dict[tuple[str, str], float]:
        """Weights of attributes with labels, where they are not 0."""
        return self._holds(Model.state_features)

    @property
    def transition_features_(self) -> dict[tuple[str, str], float]:
        """Weights of labels followed by labels, where they are not 0."""
        return self._holds(Model.transition_features)

    @property
    def tagger_(self) -> SequenceTagger:
        """One sentence at a time, as `pycrfsuite.Tagger` does it."""
        return self._holds(lambda _: SequenceTagger(self))

    @property
    def modelfile(self) -> Any:
        """sklearn-crfsuite's temporary file; there is none.

        Raises:
            AttributeError: always, saying what to use.
        """
        raise AttributeError("there is no modelfile: use save and load, or model_filename")

    def predict(
        self, X: Sentences, constraints: tuple[Any, Any, Any] | None = None
    ) -> list[list[str]]:
        """The best labels of each sentence (Viterbi); attributes not seen in training count 0.

        Args:
            X: of each sentence, of each token, its features.
            constraints: the transitions bool ``[C, C]``, the first labels ``[C]`` and the last ones
                ``[C]`` that are allowed (`rntn_jax.data.chunks.allowed_transitions` and its like,
                of ``classes_``).

        Returns:
            A list with a list of labels for each sentence.
        """
        return self._fitted().labels(as_lists(X), constraints)

    def predict_single(self, xseq: Sequence[Token]) -> list[str]:
        """The best labels of one sentence."""
        return self.predict([xseq])[0]

    def predict_marginals(self, X: Sentences) -> list[list[dict[str, float]]]:
        """Of each token, the probability of each label."""
        return self._fitted().marginals(as_lists(X))

    def predict_marginals_single(self, xseq: Sequence[Token]) -> list[dict[str, float]]:
        """The same of one sentence."""
        return self.predict_marginals([xseq])[0]

    def score(self, X: Sentences, y: Labels, sample_weight: Any = None) -> float:
        """Fraction of tokens that get the right label; one unseen in training never does.

        Args:
            X: of each sentence, of each token, its features.
            y: of each sentence, of each token, its label.
            sample_weight: ``[S]``, what a token of each sentence counts; None: 1.

        Returns:
            A number from 0 to 1.

        Raises:
            DataError: when sentences, labels and weights do not match.
        """
        X, y = as_lists(X), as_lists(y)
        check_lengths(X, y)
        weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
        if weights.shape != (len(X),):
            raise DataError(f"sample_weight must be [{len(X)}], got {list(weights.shape)}")
        right = [sum(map(str.__eq__, map(str, a), b)) for a, b in zip(y, self.predict(X))]
        total = weights @ list(map(len, y))
        return float(weights @ right / total) if total else 0.0

    def log_prob(self, X: Sentences, y: Labels) -> np.ndarray:
        """Log-probability of the labels of each sentence.

        Args:
            X: of each sentence, of each token, its features.
            y: of each sentence, of each token, its label.

        Returns:
            ``[S]`` nats; ``-inf`` where a label was not in the training data.

        Raises:
            DataError: when sentences and labels do not match.
        """
        return self._fitted().log_prob(as_lists(X), as_lists(y))

    def save(self, path: str | os.PathLike[str], info: Any = None) -> None:
        """Writes the model, and anything JSON can hold, to one safetensors file.

        Nothing is pickled.

        Args:
            path: the file; it is replaced if it exists.
            info: what is kept beside the model.
        """
        write(path, self._fitted().model, self._saved_arguments(), info)

    def _saved_arguments(self) -> dict[str, Any]:
        path = self.model_filename
        return self.get_params() | {"model_filename": path if path is None else os.fspath(path)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CRF:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: when there is no such file.
            CheckpointError: when the file is damaged or holds something else.
        """
        model, arguments = read(path)
        known = defaults(cls)
        crf = cls(**{n: v for n, v in arguments.items() if n in known})
        crf._predictor = Predictor(model)
        return crf
