"""From raw text to labelled trees, with the model that comes in the package.

- `sentiment`: answers for texts (also `rntn_jax.sentiment`); `Sentiment`, `SentimentTree`.
- `build_trees`: tokens to binary trees, by a `TreeBuilder`.
- `label_trees`: class probabilities of all nodes of trees, by a `Labeller` (an RNTN).
- `Annotator`: both; `annotate` answers for texts with it, `answers` for trees.
- `load_builder`, `load_labeller`, `load_annotator` and their `save_...`: one safetensors file each.
"""

from rntn_jax.annotate.annotator import (
    Annotator,
    Sentiment,
    SentimentTree,
    annotate,
    answers,
    load_annotator,
    save_annotator,
    sentiment,
    shipped,
)
from rntn_jax.annotate.builder import (
    TreeBuilder,
    build_trees,
    describe,
    load_builder,
    pad,
    save_builder,
)
from rntn_jax.annotate.labeller import (
    CLASS_NAMES,
    Labeller,
    label_trees,
    load_labeller,
    predict,
    save_labeller,
    two_classes,
)

__all__ = [
    "CLASS_NAMES",
    "Annotator",
    "Labeller",
    "Sentiment",
    "SentimentTree",
    "TreeBuilder",
    "annotate",
    "answers",
    "build_trees",
    "describe",
    "label_trees",
    "load_annotator",
    "load_builder",
    "load_labeller",
    "pad",
    "predict",
    "save_annotator",
    "save_builder",
    "save_labeller",
    "sentiment",
    "shipped",
    "two_classes",
]
