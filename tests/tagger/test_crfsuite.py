"""What sklearn-crfsuite and python-crfsuite promise: their tests' data and answers.

Weights and losses were printed by python-crfsuite 0.9.12 (CRFsuite rounds to six digits). With one
sentence there is no random order, so that ours must be equal.
"""

from __future__ import annotations

import pickle

import jax
import numpy as np
import pytest

from rntn_jax import data, tagger
from rntn_jax.models import sparse_crf
from rntn_jax.tagger import CRF
from rntn_jax.training import CheckpointError

# Weather, by what was done on a day: the sample data of both projects.
DAYS = [
    {"walk": 1, "shop": 0.5},
    {"walk": 1},
    {"walk": 1, "clean": 0.5},
    {"shop": 0.5, "clean": 0.5},
    {"walk": 0.5, "clean": 1},
    {"clean": 1, "shop": 0.1},
    {"walk": 1, "shop": 0.5},
    {},
    {"clean": 1},
    {"солнце": "не светит".encode(), "clean": 1},
]
WEATHER = [*["sunny"] * 3, *["rainy"] * 3, *["sunny"] * 2, *["rainy"] * 2]
ALGORITHMS = ("lbfgs", "l2sgd", "pa", "ap", "arow")


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


@pytest.fixture(scope="module", params=ALGORITHMS)
def crf(request):
    from tests.helpers import enable_x64

    with enable_x64(False):
        return CRF(request.param).fit([DAYS], [WEATHER])


# Of (walk, sunny), (shop, sunny), (clean, sunny), (the Russian attribute, rainy), and of the
# transitions; (walk, rainy) and so on are their negatives.
RECORDED = [
    (
        {"algorithm": "ap", "max_iterations": 7},
        0.0,
        (2.875, 0.225, -4.8125, 0.875),
        (-1.125, 1.375, -0.25, 0.0),
    ),
    (
        {"algorithm": "pa", "pa_type": 0, "averaging": False},
        0.0,
        (0.273187, -0.072337, -0.539453, 0.024116),
        (0.019644, 0.012277, -0.049918, 0.017997),
    ),
    (
        {"algorithm": "pa", "c": 0.05, "max_iterations": 9},
        0.0,
        (0.093498, 0.01744, -0.15244, 0.021705),
        (-0.003841, 0.034334, -0.017833, -0.012661),
    ),
    (
        {
            "algorithm": "pa",
            "pa_type": 2,
            "c": 0.05,
            "error_sensitive": False,
            "max_iterations": 4,
        },
        1.142894,
        (0.035877, 0.00698, -0.055181, 0.007788),
        (0.004693, 0.011527, -0.005126, -0.011094),
    ),
    (
        {"algorithm": "arow", "variance": 0.5, "gamma": 0.3, "max_iterations": 4},
        1.372437,
        (0.65415, 0.129597, -0.316867, 0.053579),
        (-0.243728, -0.020347, -0.494427, 0.07223),
    ),
    (
        {
            "algorithm": "l2sgd",
            "c2": 0.1,
            "max_iterations": 20,
            "calibration_eta": 0.3,
            "calibration_rate": 1.5,
            "calibration_candidates": 4,
        },
        6.865666,
        (0.007076, 0.000806, -0.008083, 0.002019),
        (0.003037, -0.00101, -0.005049, 0.003022),
    ),
    (
        {
            "algorithm": "l2sgd",
            "calibration_max_trials": 5,
            "max_iterations": 30,
            "all_possible_states": True,
        },
        5.01999,
        (0.308067, 0.027778, -0.345408, 0.077639),
        (0.137779, -0.040433, -0.201125, 0.103779),
    ),
]


@pytest.mark.parametrize(("arguments", "loss", "states", "transitions"), RECORDED)
def test_weights_are_those_of_crfsuite(arguments, loss, states, transitions):
    crf = CRF(**arguments).fit([DAYS], [WEATHER])
    assert crf.training_log_.last_iteration["loss"] == pytest.approx(loss, abs=1e-6)
    found = crf.state_features_
    names = (("walk", "sunny"), ("shop", "sunny"), ("clean", "sunny"))
    got = [found[name] for name in names] + [found["солнце:не светит", "rainy"]]
    np.testing.assert_allclose(got, states, atol=1e-6)
    for attribute, label in names:
        assert found[attribute, "rainy"] == pytest.approx(-found[attribute, label], abs=1e-6)
    pairs = [(a, b) for a in ("sunny", "rainy") for b in ("sunny", "rainy")]
    got = [crf.transition_features_.get(pair, 0.0) for pair in pairs]
    np.testing.assert_allclose(got, transitions, atol=1e-6)


def test_full_batch_training_ends_where_crfsuite_does():
    assert CRF().fit([DAYS], [WEATHER]).training_log_[-1]["loss"] == pytest.approx(
        4.738571, abs=1e-4
    )
    sparse = CRF(c1=0.3, c2=0.01).fit([DAYS], [WEATHER])
    assert sparse.training_log_[-1]["loss"] == pytest.approx(3.355026, abs=1e-4)
    assert sorted(sparse.attributes_) == ["clean", "walk"]
    assert len(sparse.state_features_) == 4 and len(sparse.transition_features_) == 1


# sklearn-crfsuite.


def test_it_fits_its_training_data(crf):
    """But the averaged perceptron, which one sentence leaves at 0.9."""
    assert crf.score([DAYS], [WEATHER]) == (0.9 if crf.algorithm == "ap" else 1.0)
    assert (crf.predict([DAYS]) == [WEATHER]) == (crf.algorithm != "ap")


def test_marginals(crf):
    (marginals,) = crf.predict_marginals([DAYS])
    assert len(marginals) == len(WEATHER)
    for token in marginals:
        assert set(token) == set(crf.tagger_.labels()) == {"sunny", "rainy"}
        assert sum(token.values()) == pytest.approx(1, abs=1e-6)


def test_pickled(crf):
    same = pickle.loads(pickle.dumps(crf, protocol=pickle.HIGHEST_PROTOCOL))
    assert same.algorithm == crf.algorithm
    assert same.score([DAYS], [WEATHER]) == crf.score([DAYS], [WEATHER])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_answers_before_training(algorithm):
    with pytest.raises(tagger.NotFittedError, match="not trained yet"):
        CRF(algorithm).predict([DAYS])


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("algorithm", ["l2sgd", "pa", "ap", "arow"])
def test_verbose_with_and_without_held_out_sentences(algorithm, held_out, capsys):
    dev = {"X_dev": [DAYS], "y_dev": [WEATHER]} if held_out else {}
    crf = CRF(algorithm, verbose=True, max_iterations=40).fit([DAYS] * 2, [WEATHER] * 2, **dev)
    assert algorithm == "ap" or crf.predict([DAYS]) == [WEATHER]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(crf.training_log_)
    assert all(("item accuracy" in line) == held_out for line in lines)


def test_model_filename(tmp_path):
    path = tmp_path / "days.model"
    crf = CRF("pa", model_filename=str(path)).fit([DAYS], [WEATHER])
    assert path.exists()
    assert CRF(model_filename=str(path)).score([DAYS], [WEATHER]) == 1.0
    assert pickle.loads(pickle.dumps(crf)).score([DAYS], [WEATHER]) == 1.0
    assert CRF.load(path).predict([DAYS]) == [WEATHER]
    with pytest.raises(tagger.NotFittedError):
        CRF(model_filename=str(tmp_path / "none")).predict([DAYS])


# python-crfsuite: the tagger.


def test_tagger_of_a_model(crf):
    one = crf.tagger_
    assert set(one.labels()) == set(WEATHER)
    assert (one.tag(DAYS) == WEATHER) == (crf.algorithm != "ap")
    whole, other = one.probability(one.tag(DAYS)), one.probability([WEATHER[0]] * len(WEATHER))
    assert 0 < other < whole < 1
    one.set(DAYS)
    for t, token in enumerate(crf.predict_marginals_single(DAYS)):
        assert one.marginal("rainy", t) == pytest.approx(token["rainy"])
    with pytest.raises(ValueError, match="no label 'windy'"):
        one.marginal("windy", 0)
    with pytest.raises(ValueError, match="no sentence yet"):
        crf.tagger_.tag()


def test_what_the_model_holds(crf):
    info = crf.tagger_.info()
    assert info.state_features["walk", "sunny"] > info.state_features["walk", "rainy"]
    assert ("солнце:не светит", "rainy") in info.state_features
    assert set(info.labels) == {"sunny", "rainy"} and info.header["num_labels"] == "2"
    assert set(info.attributes) == {"shop", "walk", "clean", "солнце:не светит"}
    assert info.header["num_attrs"] == "4" and int(info.header["size"]) == crf.size_ > 100
    if crf.algorithm == "lbfgs":
        assert info.transitions["sunny", "sunny"] > info.transitions["sunny", "rainy"]


def test_ways_to_write_the_same_features(crf):
    truth = [{k: bool(v) if v in (0, 1) else v for k, v in day.items()} for day in DAYS]
    assert crf.predict_single(truth) == crf.predict_single(DAYS)
    # Names alone weigh 1, which makes another sentence of it.
    names = [[*map(str, day)] for day in DAYS]
    assert crf.predict_marginals_single(names) != crf.predict_marginals_single(DAYS)
    equal = [dict.fromkeys(day, 1) for day in DAYS]
    again = CRF("pa").fit([equal], [WEATHER])
    assert again.predict_single(equal) == again.predict_single(map(list, equal)) == WEATHER


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(OSError):
        CRF.load(tmp_path / "foo")
    for content in (b"foo", b"lCRFfoo", b"lCRFfoo" * 100, b""):
        (tmp_path / "model").write_bytes(content)
        with pytest.raises(CheckpointError):
            CRF.load(tmp_path / "model")


@pytest.mark.parametrize("bad", ["foo", ["foo"], [[{"foo": 1.0}]], [[3]], [{"a": None}]])
def test_sentences_of_a_wrong_form(crf, bad):
    with pytest.raises(data.DataError):
        crf.predict([bad])


def test_text_and_truth_as_values():
    x = [{"foo": "bar"}, {"baz": False}, {"foo": "bar", "baz": True}, {"baz": 0.2}]
    crf = CRF("pa").fit([x], [["spam", "egg", "spam", "spam"]])
    assert set(crf.attributes_) == {"foo:bar", "baz"}
    assert crf.state_features_["foo:bar", "spam"] > 0


def test_features_within_features():
    first = {"bar": "baz", "spam": 0.5, "egg": ["x", "y"], "ham": {"x": -0.5, "y": -0.1}}
    second = {"bar": "ham", "spam": -0.5, "ham": {"x", "y"}}
    crf = CRF("l2sgd", max_iterations=30)
    crf.fit([[{"foo": first}, {"foo": second}]], [["first", "second"]])
    positive = {name for name, weight in crf.state_features_.items() if weight > 0}
    for name in ("foo:bar:baz", "foo:spam", "foo:egg:x", "foo:egg:y"):
        assert (name, "first") in positive and (name, "second") not in positive
    for name in ("foo:bar:ham", "foo:ham:x", "foo:ham:y"):
        assert (name, "second") in positive and (name, "first") not in positive


def test_arguments_of_each_algorithm():
    """As CRFsuite: ``l2sgd`` knows c2 and no c1, and nothing knows 'foo'."""
    for arguments in ({"algorithm": "l2sgd", "c1": 0.0}, {"algorithm": "foo"}):
        with pytest.raises(ValueError, match="algorithm"):
            CRF(**arguments).fit([DAYS], [WEATHER])
    with pytest.raises(TypeError, match="foo"):
        CRF(foo=1)  # pyright: ignore[reportCallIssue]


def test_objective_is_that_of_the_model():
    """The losses that L-BFGS and SGD log are `sparse_crf.loss`, here with all weights 0."""
    encoded, numbers = data.encode_attributes([DAYS])
    bags = np.repeat(np.arange(10), encoded.sizes)
    labels = np.array([WEATHER.index(label) // 3 for label in WEATHER])
    arrays = bags, encoded.ids, labels, encoded.lengths, len(numbers), 2
    found = sparse_crf.features(*arrays, weights=encoded.weights)
    packed = sparse_crf.pack_sentences(*arrays, weights=encoded.weights)
    nats = sparse_crf.loss(sparse_crf.init(found), jax.tree.map(np.asarray, packed), found)
    assert float(nats) == pytest.approx(10 * np.log(2), rel=1e-6)
