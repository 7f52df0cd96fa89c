"""Skip-chains on a few small sentences."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.graphs import names, scoring, skip_chain, text, text_report, train
from experiments.graphs.config import CHUNKING_PRESETS, Config
from experiments.workdir import read_json
from rntn_jax.data import DataError
from rntn_jax.tagger.column_features import attributes
from rntn_jax.training import MetricsWriter, load_pytree, read_metrics
from tests.helpers import enable_x64

CONFIG = Config(
    task="chunking", method="exact", max_sentences=100, epochs=6, batch_size=20, average=0.5
)


@pytest.fixture(scope="module")
def corpus() -> text.Text:
    return text.read(CONFIG)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run")
    with enable_x64(False):
        train.run(CONFIG, workdir)
    return workdir


def _planned(corpus: text.Text, **options: Any) -> Any:
    """Members and arrays of the training minibatches with skip edges."""
    return text.skip_batches(corpus, dataclasses.replace(CONFIG, **options))["train"]


def _random_params(corpus: text.Text, seed: int = 0) -> skip_chain.Params:
    rng = np.random.default_rng(seed)
    like = skip_chain.init(corpus.num_attributes, len(corpus.labels))
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape)), like)


@pytest.mark.parametrize(
    ("words", "edges"),
    [
        ("Green said Mr. Green", [(0, 3)]),
        ("the the the the", []),  # small letters
        ("He said Green Green left", []),  # neighbours, whom the chain joins
        ("A b A c A", [(0, 2), (0, 4), (2, 4)]),
        ("A A A", [(0, 2)]),
        ("GREEN Green green GREEN", [(0, 3)]),
        ("1 Ünal 1 Ünal 1", [(1, 3)]),
        ("", []),
    ],
)
def test_edges_join_equal_capitalised_words_that_are_not_neighbours(words, edges):
    assert text.skips(words.split()) == edges


def test_graphs_of_minibatches_have_the_edges_of_their_sentences(corpus):
    sentences, found = corpus.splits["train"], set()
    for members, batch in _planned(corpus):
        steps = batch.mask.shape[1]
        expected = []
        for b, n in enumerate(members):
            length = len(sentences[n].rows)
            pairs = [(t, t + 1) for t in range(length - 1)] + sentences[n].edges
            expected += [(b * steps + i, b * steps + j) for i, j in pairs]
            assert batch.mask[b].sum() == length
            found.add(n)
        real = batch.skips.edges[batch.skips.edge_mask]
        assert sorted(map(tuple, real.tolist())) == sorted(expected)
        assert batch.skips.plan.width == 3
    linked = {n for n, sentence in enumerate(sentences) if sentence.edges}
    others = {n for ns, _ in text.chain_batches(sentences, CONFIG, 3) for n in ns.tolist()}
    assert found == linked
    assert others == set(range(len(sentences))) - linked and len(others) > 5


@pytest.mark.parametrize("method", ["exact", pytest.param("loopy", marks=pytest.mark.slow)])
def test_without_scores_of_skip_edges_it_is_the_chain(corpus, method):
    """On minibatches of graphs; with them it is not."""
    params = _random_params(corpus)
    _, batch = _planned(corpus)[0]
    ask = jax.jit(skip_chain.answers, static_argnums=(0, 1))
    rows = len(batch.mask)
    alone = text.without_skips(batch, rows + 2)
    marginals, expected = ask("chain", CONFIG, params, alone)
    careful = dataclasses.replace(CONFIG, tolerance=1e-9, iterations=200)
    p, nats = ask(method, careful, params._replace(skip=0 * params.skip), batch)
    assert float(nats) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(p[batch.mask], marginals[:rows][batch.mask], atol=1e-6)
    assert not np.asarray(p)[~batch.mask].any()
    p, nats = ask(method, careful, params, batch)
    assert abs(float(nats) - float(expected)) > 0.1


def test_scores_of_a_labelling_by_hand(corpus):
    params = _random_params(corpus, 1)
    state, edge, skip = (np.asarray(weights) for weights in params)
    members, batch = _planned(corpus)[0]
    rows = [corpus.splits["train"][n] for n in members]
    total = 0.0
    for sentence in rows:
        y = sentence.labels
        total += sum(state[a, y[t]] for t, ids in enumerate(sentence.ids) for a in ids if a)
        total += edge[y[:-1], y[1:]].sum()
        for i, j in sentence.edges:
            words = ["", *(row[0] for row in sentence.rows), ""]
            same = 1, words[i] == words[j], words[i + 2] == words[j + 2]
            total += sum(skip[f, y[i], y[j]] for f in range(3) if same[f])
    scores = skip_chain.graph_scores(params, batch)
    found = skip_chain.graph.score(scores, jnp.asarray(batch.labels).reshape(-1))
    assert float(found) == pytest.approx(float(total), rel=1e-6)


def test_wide_sentences_are_left_to_loopy_propagation(monkeypatch):
    crowd = [(word, "O") for word in "A b A c A d A e A".split()]  # each joined to each
    pair = [(word, "B-PER") for word in "A b A".split()]
    splits = {"train": [crowd, pair], "dev": [pair], "test": [crowd]}
    monkeypatch.setattr(names, "splits", lambda seed: splits)
    corpus = text.read(dataclasses.replace(CONFIG, min_count=1))
    assert [s.width for s in corpus.splits["train"]] == [5, 3]
    batches = [batch for _, batch in _planned(corpus)]
    assert sorted(batch.skips.plan is None for batch in batches) == [False, True]
    wider = _planned(corpus, max_width=5)
    assert sorted(batch.skips.plan.width for _, batch in wider) == [3, 5]
    wide = next(batch for batch in batches if batch.skips.plan is None)
    assert skip_chain.method_for("exact", CONFIG, wide.skips)["method"] == "loopy"
    by_width = {batch.skips.plan.width: batch for _, batch in wider}
    assert skip_chain.method_for("exact", CONFIG, by_width[5].skips)["method"] == "exact"


@pytest.mark.slow
def test_smoke_run_of_the_chain(tmp_path):
    config = dataclasses.replace(CONFIG, method="chain")
    with enable_x64(False):
        train.run(config, tmp_path)
        result = train.run(config, tmp_path)  # is there already
    losses = [row["train_loss"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert len(losses) == 6 and losses[-1] < 0.5 * losses[0]
    test = result["splits"]["test"]
    assert test["sentences"] == 100 and 50 < test["linked"] == test["edges"] < 100
    scores = result["models"]["chain"]
    assert 0 < scores["all"]["f1"] < 1 and scores["all"]["more"] == 0
    assert "<path" in (tmp_path / "report.html").read_text()
    assert list(text_report.table(result)) == ["linear chain, exact"]


@pytest.mark.slow
def test_skip_edges_tell_of_names_never_seen(trained):
    rows = read_metrics(trained / "metrics.jsonl")
    losses = [row["train_loss"] for row in rows if row["model"] == "exact"]
    assert len(losses) == 6 and losses[-1] < 0.5 * losses[0]
    models = read_json(trained / "result.json")["models"]
    gain = models["exact"]["linked"]
    assert gain["more"] > 0.1 and gain["more"] > 2 * gain["more_standard_error"]
    assert gain["nats"] < models["chain"]["linked"]["nats"]
    page = (trained / "report.html").read_text()
    assert "same word before" in page and "skip-chain, exact" in page


@pytest.mark.slow
def test_training_resumes_bit_for_bit(trained, tmp_path, monkeypatch, corpus):
    written = MetricsWriter.write

    def stop(*args, **options):
        if (options["model"], options["epoch"]) == ("exact", 3):
            raise KeyboardInterrupt
        written(*args, **options)

    with enable_x64(False):
        with monkeypatch.context() as patch:
            patch.setattr(MetricsWriter, "write", stop)
            with pytest.raises(KeyboardInterrupt):
                train.run(CONFIG, tmp_path)
        train.run(CONFIG, tmp_path)
        init = skip_chain.init(corpus.num_attributes, len(corpus.labels))
        like = dict.fromkeys(CONFIG.methods, init)
        first, second = (load_pytree(p / "model.safetensors", like)[0] for p in (trained, tmp_path))
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)
    assert np.abs(first["exact"].skip).max() > 0 and not np.abs(first["chain"].skip).any()


def test_names_need_skip_edges():
    splits = names.splits(50, 20, 30)
    words = {k: {row[0] for rows in v for row in rows if row[-1] != "O"} for k, v in splits.items()}
    assert not words["train"] & words["test"] and not words["train"] & words["dev"]
    for rows in splits["train"]:
        places = [t for t, row in enumerate(rows) if row[-1] != "O"]
        assert len({rows[t] for t in places}) == 1 and len(places) in (1, 2)
        # No feature sees both.
        assert len(places) == 1 or places[1] - places[0] >= 4
        other = attributes([row[:2] for row in rows], "crfsuite")[places[-1]]
        assert not any("[-3]" in name for name in other)


def test_f1_and_its_error():
    gold = [["B-NP", "I-NP", "O"], ["B-VP", "O"]]
    right = scoring.counts(gold, gold)
    wrong = scoring.counts(gold, [["B-NP", "O", "O"], ["B-VP", "B-NP"]])
    assert right.tolist() == [[1, 1, 1]] * 2 and wrong.tolist() == [[1, 1, 0], [1, 2, 1]]
    found = scoring.compare(wrong, right)
    assert found["f1"] == pytest.approx(2 / 5) and found["more"] == pytest.approx(-3 / 5)
    assert found["more_standard_error"] == found["f1_standard_error"] > 0
    assert scoring.compare(right, right)["more_standard_error"] == 0
    assert scoring.compare(right[:0], right[:0])["f1"] == 0


def test_bad_settings_and_missing_things(tmp_path):
    for preset in CHUNKING_PRESETS.values():
        assert Config(**preset).methods[0] == "chain"
    for options, message in (
        ({"method": "cd"}, "task chunking knows no method 'cd'"),
        ({"task": "images", "method": "chain"}, "task images knows no method 'chain'"),
        ({"task": "speech"}, "task must be one of"),
        ({"max_width": 2}, "max_width must be at least 3"),
        ({"c2": -1.0}, "c2 must not be negative"),
        ({"max_sentences": 0}, "max_sentences must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(CONFIG, **options)
    there = dataclasses.replace(CONFIG, corpus="conll2000", data_dir=str(tmp_path))
    with pytest.raises((DataError, OSError), match=r"conll2000|train"):
        train.run(there, tmp_path / "run")
