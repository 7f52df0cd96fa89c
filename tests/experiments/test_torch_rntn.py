"""The PyTorch baselines of the benchmark compute what they claim, all of them the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra `benchmark` only")

from experiments.benchmark.rntn import other_baselines, torch_rntn  # noqa: E402

DIM, VOCAB, CLASSES = 4, 11, 3
TRAINERS = [torch_rntn.LevelHand, torch_rntn.LevelAutograd, torch_rntn.NodeByNode]


def _params(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "embedding": (VOCAB, DIM),
        "v": (DIM, 2 * DIM, 2 * DIM),
        "w": (2 * DIM, DIM),
        "b": (DIM,),
        "head_w": (DIM, CLASSES),
        "head_b": (CLASSES,),
    }
    return {name: rng.normal(0, 0.4, shape) for name, shape in shapes.items()}


def _tree(rng: np.random.Generator, leaves: int, shape: str = "random"):
    """A tree with every third label missing on average; internal nodes in post-order."""
    children: list[tuple[int, int]] = []

    def grow(lo: int, hi: int) -> int:
        if hi - lo == 1:
            return lo
        cuts = {"left": hi - 1, "right": lo + 1, "random": int(rng.integers(lo + 1, hi))}
        pair = grow(lo, cuts[shape]), grow(cuts[shape], hi)
        children.append(pair)
        return leaves + len(children) - 1

    grow(0, leaves)
    labels = rng.integers(0, CLASSES, 2 * leaves - 1)
    labels[rng.random(len(labels)) < 0.3] = -1
    return (
        rng.integers(0, VOCAB, leaves).astype(np.int32),
        np.array(children, np.int32).reshape(-1, 2),
        labels.astype(np.int32),
    )


def _batches() -> dict[str, list]:
    rng = np.random.default_rng(0)
    random = [_tree(rng, int(n)) for n in rng.integers(1, 15, 9)]
    chains = [_tree(rng, 12, "left"), _tree(rng, 12, "right"), _tree(rng, 2)]
    single = [_tree(rng, 1)]
    unlabelled = [(ids, children, np.full_like(y, -1)) for ids, children, y in chains]
    return {
        "random": random,
        "chains": chains,
        "one leaf": single,
        "one-leaf trees among others": [*single, *chains, *single, *random, *single],
        "many rows": [_tree(rng, 40) for _ in range(8)],
        "no label": unlabelled,
        "no label in some trees": unlabelled + random,
    }


BATCHES = _batches()


def _oracle(params: dict[str, np.ndarray], batch) -> tuple[float, dict[str, np.ndarray]]:
    """The model as its equations, node by node and product by product, under autograd."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    total = torch.zeros((), dtype=torch.float64)
    for value in p.values():
        total = total + 0 * value.sum()  # so that every parameter has a gradient
    for ids, children, labels in batch:
        h = [torch.tanh(p["embedding"][i]) for i in ids.tolist()]
        for left, right in children.tolist():
            x = torch.cat((h[left], h[right]))
            form = torch.einsum("i,kij,j->k", x, p["v"], x)
            h.append(torch.tanh(form + torch.einsum("i,ik->k", x, p["w"]) + p["b"]))
        for state, label in zip(h, labels.tolist(), strict=True):
            if label >= 0:
                logits = torch.einsum("i,ic->c", state, p["head_w"]) + p["head_b"]
                total = total + torch.logsumexp(logits, 0) - logits[label]
    loss = total / len(batch)
    loss.backward()
    return loss.item(), {name: value.grad.numpy() for name, value in p.items()}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_loss_and_gradients_are_the_oracles(trainer, name):
    params = _params(np.random.default_rng(1))
    want_loss, want = _oracle(params, BATCHES[name])
    loss, found = trainer(params, 0.1).gradients(BATCHES[name])
    np.testing.assert_allclose(loss, want_loss, rtol=1e-9, atol=1e-9)
    assert found.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_training_is_adagrad(trainer):
    rng = np.random.default_rng(2)
    params = _params(rng)
    mine = trainer(params, 0.1, initial_accumulator=0.2)
    want = {name: value.copy() for name, value in params.items()}
    squares = {name: np.full_like(value, 0.2) for name, value in params.items()}
    for name in ("random", "one leaf", "chains", "many rows", "random"):
        want_loss, gradients = _oracle(want, BATCHES[name])
        np.testing.assert_allclose(mine.step(BATCHES[name]), want_loss, rtol=1e-9)
        for key, gradient in gradients.items():
            squares[key] += gradient**2
            want[key] -= 0.1 * gradient / np.sqrt(squares[key] + 1e-7)
    for key, value in mine.parameters().items():
        np.testing.assert_allclose(value, want[key], rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_float32_stays_float32(trainer):
    params = {k: v.astype(np.float32) for k, v in _params(np.random.default_rng(3)).items()}
    mine = trainer(params, 0.1)
    mine.step(BATCHES["random"])
    assert all(value.dtype == np.float32 for value in mine.parameters().values())
    loss, found = mine.gradients(BATCHES["random"])
    assert np.isfinite(loss) and all(value.dtype == np.float32 for value in found.values())


def test_packing_puts_children_before_parents_and_levels_in_order():
    batch = BATCHES["one-leaf trees among others"]
    packed = torch_rntn.pack(batch)
    nodes = sum(len(labels) for _, _, labels in batch)
    slots = torch.cat((packed.leaf_slots, packed.out_slots))
    assert sorted(slots.tolist()) == list(range(nodes))
    assert sum(packed.sizes) == len(packed.out_slots)
    level = np.repeat(np.arange(len(packed.sizes)), packed.sizes)
    for row, slot in enumerate(packed.out_slots.tolist()):
        parent = slot // 2
        assert parent >= len(level) or level[parent] == level[row] + 1


def test_a_saved_problem_reads_back(tmp_path):
    params = _params(np.random.default_rng(4))
    batches = [BATCHES["random"], BATCHES["one leaf"], BATCHES["chains"]]
    problem = other_baselines.Problem(batches, params, 0.25, 0.1)
    other_baselines.save_problem(tmp_path / "problem.npz", problem)
    found, found_params, *rates = other_baselines.load_problem(tmp_path / "problem.npz")
    assert rates == [0.25, 0.1]
    assert [len(batch) for batch in found] == [len(batch) for batch in batches]
    for mine, theirs in zip(batches, found, strict=True):
        for a, b in zip(itertools.chain(*mine), itertools.chain(*theirs), strict=True):
            np.testing.assert_array_equal(a, b)
    for name, value in params.items():
        np.testing.assert_array_equal(found_params[name], value)


def test_schedule_numbers_children_before_parents():
    batch = BATCHES["one-leaf trees among others"]
    ids, levels, labels = other_baselines.schedule(batch)
    done = len(ids)
    assert done == sum(len(tree[0]) for tree in batch)
    for children in levels:
        assert len(children) and (children < done).all()
        done += len(children)
    assert done == len(labels)
    assert sorted(labels) == sorted(np.concatenate([tree[2] for tree in batch]))
