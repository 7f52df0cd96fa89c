"""Tree: its members against slow recursive oracles, and what its constructor refuses."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given

from rntn_jax.data import DataError, Tree, parse_tree
from tests.data.treegen import brackets

TEXT = "(3 (2 It) (4 (2 's) (4 good)))"


def oracle(tree):
    """Per node: span, height, brackets and parent, by recursion from the root."""
    spans, heights, texts = {}, {}, {}
    parents = {tree.num_nodes - 1: -1}
    numbered = []

    def visit(node, start):
        if node < tree.num_leaves:
            assert node == start  # leaves in sentence order
            spans[node], heights[node] = (start, start + 1), 0
            texts[node] = f"({tree.labels[node]} {tree.tokens[node]})"
            return start + 1
        left, right = map(int, tree.children[node - tree.num_leaves])
        parents[left] = parents[right] = node
        end = visit(right, visit(left, start))
        spans[node], heights[node] = (start, end), 1 + max(heights[left], heights[right])
        texts[node] = f"({tree.labels[node]} {texts[left]} {texts[right]})"
        numbered.append(node)
        return end

    assert visit(tree.num_nodes - 1, 0) == tree.num_leaves
    assert numbered == list(range(tree.num_leaves, tree.num_nodes))  # post-order
    return [[per_node[n] for n in range(tree.num_nodes)] for per_node in (spans, heights, parents)]


@given(brackets())
def test_members_equal_oracle(text):
    tree = parse_tree(text)
    spans, heights, parents = oracle(tree)
    assert tree.spans().tolist() == [list(span) for span in spans]
    assert tree.heights().tolist() == heights
    assert tree.parents().tolist() == parents
    assert len(tree) == tree.num_nodes == 2 * tree.num_leaves - 1 == len(tree.labels)
    assert tree.text.split(" ") == list(tree.tokens)
    for array, shape in [
        (tree.children, (tree.num_leaves - 1, 2)),
        (tree.labels, (tree.num_nodes,)),
        (tree.spans(), (tree.num_nodes, 2)),
        (tree.heights(), (tree.num_nodes,)),
        (tree.parents(), (tree.num_nodes,)),
    ]:
        assert array.dtype == np.int32 and array.shape == shape


@given(brackets())
def test_constructor_accepts_what_the_reader_makes(text):
    tree = parse_tree(text)
    again = Tree(tree.tokens, tree.children.tolist(), tree.labels.tolist())
    assert again == tree and hash(again) == hash(tree)


def test_equality_and_hash():
    tree = parse_tree(TEXT)
    assert tree == parse_tree(TEXT) and len({tree, parse_tree(TEXT)}) == 1
    for other in (
        "(3 (2 It) (4 (2 is) (4 good)))",
        "(2 (2 It) (4 (2 's) (4 good)))",
        "(3 (4 (2 It) (2 's)) (4 good))",
    ):
        assert tree != parse_tree(other)
    assert tree != TEXT


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, "pickle"])
def test_copies_are_equal_and_read_only(duplicate):
    tree = parse_tree(TEXT)
    again = pickle.loads(pickle.dumps(tree)) if duplicate == "pickle" else duplicate(tree)
    assert again == tree
    assert not again.labels.flags.writeable and not again.children.flags.writeable


def test_is_immutable():
    labels = np.array([2, 4, 3], np.int32)
    for tree in (parse_tree(TEXT), Tree(("very", "good"), [[0, 1]], labels)):
        with pytest.raises(ValueError):
            tree.labels[0] = 1
        with pytest.raises(ValueError):
            tree.children[0, 0] = 1
        with pytest.raises(AttributeError):
            tree.labels = labels
    labels[0] = 0
    assert tree.labels[0] == 2  # a copy


def test_repr_is_short():
    assert repr(parse_tree("(2 a)")) == "Tree('(2 a)')"
    assert len(repr(parse_tree("(1 " * 99 + "(2 a)" + " (2 b))" * 99))) < 100


@pytest.mark.parametrize(
    ("tokens", "children", "labels", "message"),
    [
        ((), [], [], "empty tree"),
        ("ab", [[0, 1]], [2, 2, 2], "not one string"),
        (("a", ""), [[0, 1]], [2, 2, 2], "token ''"),
        (("a", "b c"), [[0, 1]], [2, 2, 2], "token 'b c'"),
        (("a", "b("), [[0, 1]], [2, 2, 2], r"token 'b\('"),
        (("a", 7), [[0, 1]], [2, 2, 2], "token 7"),
        (("a", "b"), [], [2, 2, 2], r"children \[1, 2\]"),
        (("a", "b"), [[0, 1, 1]], [2, 2, 2], r"children \[1, 2\]"),
        (("a", "b"), [[0.0, 1.0]], [2, 2, 2], "integers"),
        (("a", "b"), [[0, 1]], [2, 2], "3 labels"),
        (("a", "b"), [[0, 1]], [2, -2, 2], "label -2"),
        (("a", "b"), [[0, 1]], [2, 2**40, 2], "int32"),
        (("a", "b"), [[1, 0]], [2] * 3, "node 2 cannot have children 1 and 0"),
        (("a", "b"), [[0, 0]], [2] * 3, "node 2"),
        (("a", "b"), [[0, 2]], [2] * 3, "node 2"),
        (("a", "b"), [[-1, 1]], [2] * 3, "node 2"),
        (("a", "b", "c"), [[0, 1], [0, 2]], [2] * 5, "node 4"),
        (("a", "b", "c"), [[0, 2], [3, 1]], [2] * 5, "node 3"),
        (("a", "b", "c", "d"), [[2, 3], [0, 1], [5, 4]], [2] * 7, "node 5"),  # not post-order
    ],
)
def test_constructor_refuses(tokens, children, labels, message):
    with pytest.raises(DataError, match=message):
        Tree(tokens, children, labels)
