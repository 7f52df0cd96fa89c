"""Files to plain Python and numpy objects; nothing here imports JAX.

- `Tree`: a labelled binary tree over a sentence.
- `parse_tree`, `read_trees`, `write_trees`: trees as Penn Treebank brackets; `binarize` reads trees
  with nodes of any arity.
- `Vocabulary`: words to ids and back.
- `DataError`: what all readers raise for a fault in the data, with file, line and column.
- `corpora`: finds published corpora in a directory or the cache, or downloads them.
- `read_sentences`: a text, one sentence a line.
- `demo`, `demo_text`: an embedded treebank with exact labels, and a text of known entropy, for
  trying things without any download.
"""

from rntn_jax.data import corpora, demo, demo_text
from rntn_jax.data.brackets import binarize, parse_tree, read_trees, write_trees
from rntn_jax.data.errors import DataError
from rntn_jax.data.text import read_sentences
from rntn_jax.data.tree import Tree
from rntn_jax.data.vocabulary import Vocabulary

__all__ = [
    "DataError",
    "Tree",
    "Vocabulary",
    "binarize",
    "corpora",
    "demo",
    "demo_text",
    "parse_tree",
    "read_sentences",
    "read_trees",
    "write_trees",
]
