"""`rntn_jax.tagger.CRF` in scikit-learn's hands."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from rntn_jax import tagger
from rntn_jax.tagger import CRF

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.metrics import make_scorer  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402

X = [[["w=a"], ["w=b"]], [["w=b"]], [["w=a"], ["w=b"], ["w=b"]]] * 6
Y = [["A", "B"], ["B"], ["A", "B", "C"]] * 6
QUICK = CRF("pa", c=0.5, max_iterations=8)


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


def test_scikit_learn_can_copy_it():
    crf = CRF(c1=0.2, period=None)
    same = clone(crf).set_params(c1=0.3)
    assert (crf.c1, same.c1, same.period) == (0.2, 0.3, None)
    assert repr(same) == "CRF(c1=0.3)" and not hasattr(clone(QUICK).fit(X, Y), "_estimator_type")
    with pytest.raises(ValueError, match="no parameter 'c3'"):
        crf.set_params(c3=1)


def test_cross_validation():
    assert cross_val_score(QUICK, X, Y, cv=3).tolist() == [1.0] * 3
    scores = cross_validate(QUICK, X, Y, cv=2, return_train_score=True)
    assert scores["train_score"].tolist() == [1.0] * 2
    accuracy = make_scorer(lambda y, guess: np.mean([list(a) == b for a, b in zip(y, guess)]))
    assert cross_val_score(QUICK, X, Y, cv=2, scoring=accuracy).tolist() == [1.0] * 2
    _, learnt, _ = learning_curve(QUICK, X, Y, cv=2, train_sizes=[0.5, 1.0])
    assert learnt.shape == (2, 2)


@pytest.mark.parametrize("members", [slice(None), slice(1, None, 3)], ids=["ragged", "even"])
def test_predictions_of_all_folds(members):
    """Of sentences of several lengths, and of one length."""
    x, y = X[members], Y[members]
    predicted = cross_val_predict(QUICK, x, y, cv=2)
    assert predicted.shape == (len(x),) and predicted.tolist() == y


def test_searches():
    grid = GridSearchCV(QUICK, {"c": [0.1, 1.0], "pa_type": [0, 2]}, cv=2).fit(X, Y)
    assert grid.best_score_ == grid.score(X, Y) == 1.0 and grid.predict(X) == Y
    found = RandomizedSearchCV(QUICK, {"c": [0.1, 1.0, 2.0]}, n_iter=2, cv=2, random_state=0)
    assert found.fit(X, Y).best_params_["c"] in (0.1, 1.0, 2.0)


def bias(sentences):
    return [[[*token, "bias"] for token in sentence] for sentence in sentences]


def test_pipelines():
    pipe = make_pipeline(FunctionTransformer(bias), clone(QUICK))
    assert "bias" in pipe.fit(X, Y)[-1].attributes_ and pipe.score(X, Y) == 1.0
    check_is_fitted(pipe)
    assert cross_val_score(pipe, X, Y, cv=2).tolist() == [1.0] * 2
    assert GridSearchCV(pipe, {"crf__c": [0.5, 1.0]}, cv=2).fit(X, Y).best_score_ == 1.0
    assert "FunctionTransformer" in repr(pipe) and pipe._repr_html_()


def test_fitted_or_not(tmp_path):
    with pytest.raises(NotFittedError):
        check_is_fitted(clone(QUICK))
    crf = clone(QUICK).set_params(model_filename=tmp_path / "m").fit(X, Y)
    check_is_fitted(crf)
    check_is_fitted(clone(crf))  # by its file


def test_copies_of_a_fitted_one():
    crf = clone(QUICK).fit(X, Y)
    for same in (pickle.loads(pickle.dumps(crf)), copy.deepcopy(crf), copy.copy(crf)):
        assert same.predict(X) == Y and same.state_features_ == crf.state_features_
    assert clone(crf).classes_ is None


def test_with_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        assert cross_val_score(QUICK, X, Y, cv=2).tolist() == [1.0] * 2


def test_scikit_learn_stays_optional():
    """It is imported where it calls, nowhere else."""
    for path in Path(tagger.__file__).parent.glob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith(("import sklearn", "from sklearn"))]
