"""From raw text to labelled trees, with the model that comes in the package.

- `sentiment`: answers for texts (also `rntn_jax.sentiment`); `Sentiment`, `SentimentTree`.
- `build_trees`: tokens to binary trees, by a `BinaryParser`.
- `label_trees`: class probabilities of all nodes of trees, by a `SentimentClassifier` (an RNTN).
- `Pipeline`: both; `annotate` for texts, `predict` for trees; `default_model` is in the package.
- `load_parser`, `load_classifier`, `load_pipeline` and their `save_...`: one safetensors file each.
"""

from rntn_jax.annotate.binary_parser import (
    BinaryParser,
    build_trees,
    load_parser,
    pad,
    save_parser,
    word_features,
)
from rntn_jax.annotate.classifier import (
    CLASS_NAMES,
    SentimentClassifier,
    class_probabilities,
    label_trees,
    load_classifier,
    save_classifier,
    two_classes,
)
from rntn_jax.annotate.pipeline import (
    Pipeline,
    Sentiment,
    SentimentTree,
    annotate,
    default_model,
    load_pipeline,
    predict,
    save_pipeline,
    sentiment,
)

__all__ = [
    "CLASS_NAMES",
    "BinaryParser",
    "Pipeline",
    "Sentiment",
    "SentimentClassifier",
    "SentimentTree",
    "annotate",
    "build_trees",
    "class_probabilities",
    "default_model",
    "label_trees",
    "load_classifier",
    "load_parser",
    "load_pipeline",
    "pad",
    "predict",
    "save_classifier",
    "save_parser",
    "save_pipeline",
    "sentiment",
    "two_classes",
    "word_features",
]
