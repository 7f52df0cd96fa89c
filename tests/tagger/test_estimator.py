"""`rntn_jax.tagger.CRF`: the estimator."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from rntn_jax import data, tagger
from rntn_jax.crf import chain
from rntn_jax.training import CheckpointError, save_pytree
from tests.helpers import compilations

TRAIN = data.demo_tags.splits(60, 0, 20)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def as_users_run_it(float32):
    """In float32."""


def features(rows):
    """A dictionary a token, with a number among the values."""
    words = [row[0] for row in rows]
    return [
        {"bias": 1.0, "word": row[0], "pos": row[1], "next": {"word": after}, "length": len(word)}
        for row, word, after in zip(rows, words, [*words[1:], "END"])
    ]


def split(name):
    return [features(rows) for rows in TRAIN[name]], [[r[-1] for r in rows] for rows in TRAIN[name]]


X, Y = split("train")
XT, YT = split("test")


@pytest.fixture(scope="module")
def crf():
    from tests.helpers import enable_x64

    with enable_x64(False):
        return tagger.CRF(c2=0.1).fit(X, Y)


def test_learns(crf):
    assert crf.score(X, Y) > 0.95 and crf.score(XT, YT) > 0.7
    losses = [row["loss"] for row in crf.training_log_]
    assert losses == sorted(losses, reverse=True) and len(losses) > 10
    assert [row["num"] for row in crf.training_log_] == list(range(1, len(losses) + 1))


def test_every_answer_follows_from_the_weights(crf):
    """Scores of a sentence by dictionary lookups, all labellings by hand."""
    sentence = XT[0][:4]
    labels, state, transition = crf.classes_, crf.state_features_, crf.transition_features_
    node = [
        [sum(w * state.get((a, c), 0.0) for a, w in data.token_attributes(t)) for c in labels]
        for t in sentence
    ]
    every = {}
    for path in itertools.product(range(len(labels)), repeat=4):
        score = sum(node[t][c] for t, c in enumerate(path))
        score += sum(
            transition.get((labels[i], labels[j]), 0.0) for i, j in itertools.pairwise(path)
        )
        every[path] = score
    total = np.logaddexp.reduce(list(every.values()))
    best = max(every, key=every.__getitem__)
    assert crf.predict_single(sentence) == [labels[c] for c in best]
    marginals = crf.predict_marginals_single(sentence)
    for t, name in ((0, labels[0]), (2, labels[3]), (3, labels[-1])):
        at = labels.index(name)
        mass = sum(np.exp(s - total) for path, s in every.items() if path[t] == at)
        assert marginals[t][name] == pytest.approx(mass, abs=1e-4)
    assert all(sum(token.values()) == pytest.approx(1, abs=1e-5) for token in marginals)
    gold = [labels[c] for c in best]
    assert crf.log_prob([sentence], [gold])[0] == pytest.approx(every[best] - total, abs=1e-3)


def test_sentences_of_any_length_together_or_alone(crf):
    several = [XT[1], [], XT[2][:1], XT[3] * 9]
    together = crf.predict(several)
    assert [len(row) for row in together] == [len(row) for row in several]
    assert together == [crf.predict_single(row) for row in several]
    assert crf.predict([]) == []
    assert crf.log_prob([[]], [[]]).tolist() == [0.0]


def test_unknown_attributes_and_labels(crf):
    strange = [{"word": "never seen", "zzz": 3.0}]
    assert crf.predict([strange])[0][0] in crf.classes_
    assert crf.score([strange], [["no such label"]]) == 0.0
    assert crf.log_prob([strange], [["no such label"]])[0] == -np.inf


def test_constraints(crf):
    rules = data.chunks.allowed_transitions, data.chunks.allowed_start, data.chunks.allowed_end
    constraints = tuple(rule(crf.classes_, "bio") for rule in rules)
    unlike = [[{"word": "of"}] * 5, [{"pos": "NN"}] * 3]
    for tags in crf.predict(XT + unlike, constraints):
        data.chunks.validate(tags, "bio")


def test_saved_and_loaded(crf, tmp_path):
    path = tmp_path / "model.safetensors"
    crf.save(path, info={"note": 1})
    again = tagger.CRF.load(path)
    assert again.predict(XT) == crf.predict(XT) and again.classes_ == crf.classes_
    assert again.state_features_ == crf.state_features_
    assert again.get_params() == crf.get_params()
    save_pytree(path, {"w": np.ones(1)}, {"kind": "other"})
    with pytest.raises(CheckpointError, match="does not hold a CRF"):
        tagger.CRF.load(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(CheckpointError):
        tagger.CRF.load(path)


def test_names_of_attributes_survive(tmp_path):
    names = ["a\nb", "a\\nb", "\\", "\n", "", "ü", "\ud800"]
    crf = tagger.CRF(max_iterations=2).fit([[[name] for name in names]], [["x", "y"] * 3 + ["x"]])
    crf.save(tmp_path / "m")
    assert tagger.CRF.load(tmp_path / "m").attributes_ == names == crf.attributes_


def test_penalties():
    weak, strong = (tagger.CRF(c2=c2, max_iterations=30).fit(X, Y) for c2 in (0.1, 10.0))
    norms = [sum(w * w for w in c.state_features_.values()) for c in (weak, strong)]
    assert norms[1] < norms[0] / 4
    sparse = tagger.CRF(c1=1.0, c2=0.01, max_iterations=60).fit(X, Y)
    assert len(sparse.state_features_) < len(weak.state_features_) / 2
    assert sparse.score(X, Y) > 0.9


def test_minibatches():
    crf = tagger.CRF(algorithm="adagrad", c2=0.1, max_iterations=12, batch_size=100).fit(X, Y)
    again = tagger.CRF(algorithm="adagrad", c2=0.1, max_iterations=12, batch_size=100).fit(X, Y)
    assert crf.score(X, Y) > 0.9 and len(crf.training_log_) == 12
    assert again.state_features_ == crf.state_features_


@pytest.mark.slow
def test_features_asked_for():
    crf = tagger.CRF(all_possible_transitions=True, all_possible_states=True, max_iterations=3)
    crf.fit(X, Y)
    labels = len(crf.classes_)
    assert len(crf.transition_features_) == labels**2
    assert len(crf.state_features_) == labels * crf.num_attributes_
    rare = tagger.CRF(min_freq=3, max_iterations=3).fit(X, Y)
    assert 0 < len(rare.state_features_) < len(crf.state_features_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "foo"}, "algorithm must be 'lbfgs', 'l2sgd', .* or 'adagrad', got 'foo'"),
        ({"c2": -1.0}, "c2 must not be negative, got -1.0"),
        ({"max_iterations": 0}, "max_iterations must be at least 1"),
        ({"algorithm": "l2sgd", "c1": 0.1}, "c1 needs algorithm='lbfgs'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"algorithm": "pa", "c2": 0.0}, "c2 needs algorithm='lbfgs', 'l2sgd' or 'adagrad', got"),
        ({"algorithm": "pa", "gamma": 0.5}, "gamma needs algorithm='arow'"),
        ({"algorithm": "l2sgd", "c2": 0.0}, "c2 must be positive for algorithm='l2sgd'"),
        ({"variance": 0}, "variance must be positive, got 0"),
        ({"calibration_rate": 1.0}, "calibration_rate must be above 1"),
        ({"pa_type": 3}, "pa_type must be 0, 1 or 2, got 3"),
        ({"c1": "much"}, "c1 must be a number, got 'much'"),
        ({"linesearch": "Armijo"}, "linesearch must be 'MoreThuente', 'Backtracking' or"),
        ({"linesearch": "Backtracking", "c1": 1.0}, "linesearch must be 'MoreThuente' or None"),
        ({"keep_tempfiles": True}, "no temporary files .* model_filename"),
        ({"trainer_cls": object}, r"fit\(X, y, report=function\)"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tagger.CRF(**options).fit(X, Y)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[["a"]]], [], "1 sentences, but labels of 0"),
        ([[["a"], ["b"]]], [["x"]], r"sentence 0 \(from 0\) has 2 tokens"),
        ([[["a"]]], ["x"], r"sentence 0 \(from 0\) has 1 tokens, labels 'x'"),
        ([[["a"]]], [[3]], "label 3 is no string"),
        (
            [[{"a": float("nan")}]],
            [["x"]],
            r"sentence 0, token 0 \(from 0\): feature 'a' weighs nan",
        ),
        ([], [], "no token"),
        ("ab", [["x"]], "sentences must be a list of sentences, got 'ab'"),
        (["ab"], [["x", "y"]], r"sentence 0 \(from 0\) is no list of tokens: 'ab'"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(data.DataError, match=message):
        tagger.CRF().fit(x, y)


def test_not_trained_yet():
    with pytest.raises(ValueError, match="not trained"):
        tagger.CRF().predict(X)
    for name in ("classes_", "attributes_", "num_attributes_", "size_", "tagger_", "training_log_"):
        assert getattr(tagger.CRF(), name) is None  # as in sklearn-crfsuite
    with pytest.raises(AttributeError, match="use save and load, or model_filename"):
        tagger.CRF().modelfile  # noqa: B018


def test_whatever_is_iterable(crf):
    """Sentences and tokens from generators, tuples and arrays."""
    expected = tagger.CRF("ap", max_iterations=2).fit(X, Y)
    found = tagger.CRF("ap", max_iterations=2).fit(((t for t in s) for s in X), map(tuple, Y))
    assert found.state_features_ == expected.state_features_
    rows = np.empty(len(XT), object)
    rows[:] = XT
    assert crf.predict(rows) == crf.predict(iter(XT)) == crf.predict(XT)
    assert crf.score((s for s in XT), iter(YT)) == crf.score(XT, YT)


def test_weights_of_sentences_in_the_score(crf):
    first = [crf.score(XT[:1], YT[:1]), crf.score(XT[1:], YT[1:])]
    assert crf.score(XT, YT, sample_weight=[1] + [0] * (len(XT) - 1)) == pytest.approx(first[0])
    assert crf.score(XT, YT, sample_weight=[0] + [1] * (len(XT) - 1)) == pytest.approx(first[1])
    with pytest.raises(data.DataError, match=r"sample_weight must be \[20\], got \[1\]"):
        crf.score(XT, YT, sample_weight=[1])


def test_held_out_sentences_are_scored_after_each_iteration(capsys):
    seen = []
    crf = tagger.CRF("pa", max_iterations=3, verbose=True)
    crf.fit(X, Y, XT, YT, report=seen.append)
    assert seen == crf.training_log_ == crf.training_log_.iterations
    last = crf.training_log_.last_iteration
    assert last["item_accuracy_float"] == pytest.approx(crf.score(XT, YT))
    predicted = crf.predict(XT)
    whole = sum(a == b for a, b in zip(predicted, YT))
    assert last["instance_accuracy"] * len(YT) == whole
    of_noun = last["scores"]["B-NP"]
    pairs = [pair for rows in zip(YT, predicted) for pair in zip(*rows)]
    assert of_noun.match == pairs.count(("B-NP", "B-NP"))
    assert of_noun.ref == sum(gold == "B-NP" for gold, _ in pairs)
    assert of_noun.model == sum(guess == "B-NP" for _, guess in pairs)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "avg f1" in lines[0]
    with pytest.raises(ValueError, match="X_dev and y_dev must be given together"):
        crf.fit(X, Y, XT)


def test_a_model_keeps_what_has_a_weight(tmp_path):
    """An attribute whose features are all rare is none of the model's."""
    crf = tagger.CRF("l2sgd", min_freq=2, max_iterations=3)
    crf.fit([[["a", "rare"], ["b"]], [["a"], ["b"]]], [["x", "y"]] * 2)
    assert crf.attributes_ == ["a", "b"] and crf.num_attributes_ == 2
    crf.save(tmp_path / "m")
    assert (tmp_path / "m").stat().st_size == crf.size_


def test_files_whose_contents_are_mad(crf, tmp_path):
    """The checksum is right, and what is in the file is not."""
    from rntn_jax.tagger import model as files
    from rntn_jax.training import read_info

    path = tmp_path / "model.safetensors"
    crf.save(path)
    model, _ = files.read(path)
    whole = files._arrays(model)
    info = read_info(path)
    for change in (
        {"sizes": [10**18, 10**18, 10**18]},
        {"sizes": None},
        {"sizes": [-1, 2, 3]},
        {"classes": 7},
        {"classes": [1] * len(model.classes)},
        {"arguments": []},
    ):
        save_pytree(path, whole, info | change)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            tagger.CRF.load(path)
    wild = model.features._replace(attribute=model.features.attribute + 10**6)
    save_pytree(path, whole._replace(features=wild), info)
    with pytest.raises(CheckpointError, match="that there are not"):
        tagger.CRF.load(path)
    path.write_bytes(b"lCRF" + bytes(100))
    with pytest.raises(CheckpointError, match="is a model of CRFsuite"):
        tagger.CRF.load(path)


def test_line_searches():
    """Stronger conditions on the steps lead to the same minimum."""
    one, other = (
        [row["loss"] for row in tagger.CRF(c2=1.0, linesearch=name).fit(X, Y).training_log_]
        for name in ("Backtracking", "MoreThuente")
    )
    assert one[-1] == pytest.approx(other[-1], rel=1e-3) and one != other


def test_a_second_call_compiles_nothing(crf):
    """Sentences of the same padded shapes, and another model of the same size."""
    calls = (
        crf.predict,
        crf.predict_marginals,
        lambda x: crf.log_prob(x, [["O"] * len(s) for s in x]),
    )
    for call in calls:
        call(XT[:10])
    with compilations() as compiled:
        for call in calls:
            call(XT[10:])
        tagger.CRF(c2=0.2, max_iterations=3).fit(X, Y)
        tagger.CRF(c2=0.3, max_iterations=4).fit(X, Y)
    assert not compiled


def test_neural_functions_are_at_hand():
    config = tagger.Config(vocab_sizes=(5,), embed_dims=(2,), num_classes=3)
    batch = tagger.Batch(np.ones((1, 2, 1), int), np.zeros((1, 2), int), np.ones((1, 2), bool))
    scores = tagger.apply(tagger.init(jax.random.key(0), config), batch)
    assert isinstance(scores, chain.Scores)
