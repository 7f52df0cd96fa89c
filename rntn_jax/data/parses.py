"""Trees of other parsers: Penn Treebank brackets with syntactic labels, made binary.

CoreNLP, Stanza, benepar and the Penn Treebank itself write a sentence as `(ROOT (S (NP (PRP It))
(VP (VBZ works))))`. The sentiment models want its shape only, as a binary tree without unary nodes:
what CoreNLP makes of it before it applies its sentiment model. The rule is the same one:

- A node of three or more children is parted around its head: the children right of the head join
  it one after the other, the nearest first, then those left of it. With the head `VP`,
  `(S NP ADVP VP .)` becomes `(NP (ADVP (VP .)))`.
- Nodes with one child are merged with it.

The head is found by the table that CoreNLP uses for English, Collins' (1999, appendix A) as amended
there, restricted to the categories of the Penn Treebank and `NML`. Other differences: a category
that is not in the table takes its leftmost child that is no punctuation (CoreNLP refuses it), and
the root is parted like any other node (CoreNLP leaves it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from typing import IO, Literal, get_args

from rntn_jax.data._bracket_parser import NaryTree, to_binary
from rntn_jax.data.errors import DataError, shown
from rntn_jax.data.text import place, read_text
from rntn_jax.data.tree import Tree

__all__ = ["parse_constituents", "read_parses"]

Rule = Literal["head", "left", "right"]

# A row: the categories of a node, then searches among its children, tried in turn. `<` and `>` seek
# the first category named, then the second, ..., from the left or from the right; `>>` takes the
# rightmost child of any of the categories. The last search also says from where to take any child.
_NOUNS = ">> NN NNP NNPS NNS NML NX POS JJR"
_HEAD_TABLE = f"""
ADJP; < $; >> NNS NN JJ JJR JJS QP VBN VBG; < ADJP; >> DT RB RBR CD IN VBD; < ADVP NP
ADVP; < ADVP IN; >> RB RBR RBS JJ JJR JJS; >> RP DT NN CD NP VBN NNP CC FW NNS ADJP NML
CONJP; > CC RB IN
FRAG UCP; >
INTJ; <
LST; > LS :
NAC; >> NN NNS NNP NNPS; < NML NP NAC EX $ CD QP PRP VBG JJ JJS JJR ADJP FW
NP NX NML; {_NOUNS}; < NP PRP; >> $ ADJP PRN FW; > CD; >> JJ JJS RB QP DT WDT RBR ADVP
PP; > IN TO VBG VBN RP FW JJ SYM; < PP
PRN; < VP NP PP SQ S SINV SBAR ADJP ADVP INTJ WHNP NAC VBP JJ NN NNP
PRT; > RP
QP; < $ IN NNS NN JJ CD PDT DT RB QP JJR JJS
ROOT TOP; < S SQ SINV SBAR FRAG
RRC; < RRC; > VP ADJP NP PP ADVP
S; < TO VP S FRAG SBAR ADJP UCP NP
SBAR; < WHNP WHPP WHADVP WHADJP IN DT S SQ SINV SBAR FRAG
SBARQ; < SQ S SINV SBARQ FRAG SBAR
SINV; < VBZ VBD VBP VB MD VBN VP S SINV ADJP NP
SQ; < VBZ VBD VBP VB MD VP SQ
VP; < TO VBD VBN MD VBZ VB VBG VBP VP ADJP NN NNS JJ NP NNP
WHADJP; < WRB WHADVP RB JJ ADJP JJR
WHADVP; > WRB WHADVP
WHNP; < WDT WP WP$ WHADJP WHPP WHNP
WHPP; > IN TO FW
X; > S VP ADJP NP SBAR PP X
"""
_HEADS = {
    category: [search.split() for search in searches]
    for categories, *searches in (row.split(";") for row in _HEAD_TABLE.strip().split("\n"))
    for category in categories.split()
}
_PUNCTUATION = {"''", "``", "-LRB-", "-RRB-", ".", ":", ","}
_PIECE = re.compile(r"[()]|[^\s()]+", re.ASCII)
_TAGS = re.compile(r"(?<=.)[-=|#^~_\[].*")  # what may follow a category: functions, indices


def parse_constituents(text: str, *, binarize: Rule = "head") -> Tree:
    """Reads one constituency tree and makes it a binary tree without labels.

    Args:
        text: exactly one tree, such as `(ROOT (S (NP (PRP It)) (VP (VBZ works))))`, on any number
            of lines; the outermost bracket may have no category. Function tags are ignored; traces
            (`-NONE-`) are left out, with the nodes that hold nothing else. Words are kept as they
            stand, escapes such as `-LRB-` among them.
        binarize: how nodes of three or more children are parted: "head" as CoreNLP does (see the
            head of this module), "left" as `((a b) c)`, "right" as `(a (b c))`.

    Returns:
        The tree, every label -1. O(length) time, no recursion.

    Raises:
        DataError: with line, column and value, when the text is not exactly one such tree: brackets
            that do not match, text outside of them, a bracket without word and subtrees, with two
            words, or with a word beside subtrees, a tree without words, no tree at all.
        ValueError: for another `binarize`.

    Example:
        >>> tree = parse_constituents("(ROOT (S (NP (PRP It)) (VP (VBZ works)) (. !)))")
        >>> tree.to_brackets()
        '(-1 (-1 It) (-1 (-1 works) (-1 !)))'
    """
    return _parse_all(text, None, binarize, single=True)[0]


def read_parses(
    source: str | os.PathLike[str] | IO[str] | IO[bytes], *, binarize: Rule = "head"
) -> list[Tree]:
    """Reads all constituency trees of a file and makes them binary trees without labels.

    Trees may span lines, and several may stand on one; blank lines are skipped.

    Args:
        source: a path, or an open text or binary stream, read to its end; UTF-8.
        binarize: as in `parse_constituents`.

    Returns:
        The trees in the order of the file, at least one.

    Raises:
        DataError: with file, line, column and value; the cases of `parse_constituents`, and what
            `rntn_jax.data.text.read_text` refuses.
        OSError: when the file cannot be opened.
        ValueError: for another `binarize`.

    Example:
        >>> import io
        >>> text = "( (S\\n  (NP (DT A) (NN film))))\\n(FRAG (UH Yes) (. .))"
        >>> [tree.text for tree in read_parses(io.StringIO(text))]
        ['A film', 'Yes .']
    """
    file, text = read_text(source)
    return _parse_all(text, file, binarize, single=False)


class _Open:
    """A bracket that is not closed yet."""

    __slots__ = ("at", "categories", "category", "children", "traces", "word")

    def __init__(self, at: int):
        self.at = at
        self.category = ""
        self.word: str | None = None
        self.children: list[int] = []  # the subtrees that hold words,
        self.categories: list[str] = []  # and their categories
        self.traces = False  # whether there was another subtree


def _parse_all(text: str, file: str | None, binarize: Rule, single: bool) -> list[Tree]:
    if binarize not in get_args(Rule):
        raise ValueError(f"binarize must be 'head', 'left' or 'right', not {binarize!r}")

    def fault(message: str, at: int, value: object) -> DataError:
        line, column = place(text, at)
        return DataError(message, file=file, line=line, column=column, value=value)

    text = text.removeprefix("\ufeff")
    trees: list[Tree] = []
    stack: list[_Open] = []
    tree = NaryTree([], [], [])
    for match in _PIECE.finditer(text):
        piece, at = match.group(), match.start()
        if single and trees:
            raise fault(f"text after the end of the tree, from {shown(piece, 20)}", at, piece)
        node = stack[-1] if stack else None
        if piece == "(":
            if node is not None and node.word is not None:
                raise fault(f"a subtree beside the word {shown(node.word)}", at, node.word)
            stack.append(_Open(at))
        elif node is None:
            closing = piece == ")"
            message = (
                "`)` closes nothing" if closing else f"text outside of brackets: {shown(piece)}"
            )
            raise fault(message, at, piece)
        elif piece == ")":
            stack.pop()
            if node.word is None and not node.children and not node.traces:
                message = f"a bracket without word and subtrees, of {shown(node.category)}"
                raise fault(message, node.at, node.category)
            literal = node.category.startswith("-")  # as `-LRB-` and `-NONE-`
            category = node.category if literal else _TAGS.sub("", node.category)
            finished = None if category == "-NONE-" else _finish(node, category, binarize, tree)
            if finished is None:
                if not stack:
                    raise fault("a tree without words", node.at, node.category)
                stack[-1].traces = True
            elif stack:
                stack[-1].children.append(finished)
                stack[-1].categories.append(category)
            else:
                trees.append(to_binary(tree, "right"))
                tree = NaryTree([], [], [])
        elif node.children or node.traces:
            raise fault(f"a word beside subtrees: {shown(piece)} needs its own bracket", at, piece)
        elif node.word is not None:
            raise fault(f"a bracket holds one word, here is a second: {shown(piece)}", at, piece)
        elif node.category:
            node.word = piece
        else:
            node.category = piece
    if stack:
        message = f"unbalanced brackets: {len(stack)} never closed, the first is here"
        raise fault(message, stack[0].at, len(stack))
    if not trees:
        raise fault("no tree: the text is empty", 0, text)
    return trees


def _finish(node: _Open, category: str, binarize: Rule, tree: NaryTree) -> int | None:
    """Adds a closed bracket to `tree`; returns the id of its top node, None for traces only."""

    def add(word: str | None, *children: int) -> int:
        tree.labels.append(-1)
        tree.words.append(word)
        tree.children.append(list(children))
        return len(tree.labels) - 1

    if node.word is not None:
        return add(node.word)
    if not node.children:
        return None
    if binarize == "head":
        head = _head(category, node.categories)
    else:
        head = 0 if binarize == "left" else len(node.children) - 1
    top = node.children[head]
    for child in node.children[head + 1 :]:
        top = add(None, top, child)
    for child in reversed(node.children[:head]):
        top = add(None, child, top)
    return top


def _head(category: str, children: Sequence[str]) -> int:
    """The place of the head among the children of a node."""
    found, way = None, "<"
    for way, *wanted in _HEADS.get(category, [["<"]]):
        found = _search(way, wanted, children)
        if found is not None:
            break
    if found is None:  # any child but punctuation
        found = _search("<<" if way == "<" else ">>", set(children) - _PUNCTUATION, children)
    if found is None:
        return 0 if way == "<" else len(children) - 1
    # Of coordinated children the first is the head: that before the conjunction.
    if found >= 2 and children[found - 1] in ("CC", "CONJP"):
        before = found - 2
        while before >= 0 and children[before] in _PUNCTUATION:
            before -= 1
        return before if before >= 0 else found
    return found


def _search(way: str, wanted: Collection[str], children: Sequence[str]) -> int | None:
    """The first child found by one search of the table, `<<` being the mirror of `>>`."""
    places = range(len(children)) if way[0] == "<" else range(len(children) - 1, -1, -1)
    if len(way) == 2:
        return next((i for i in places if children[i] in wanted), None)
    return next((i for one in wanted for i in places if children[i] == one), None)
