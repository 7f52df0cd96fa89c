"""From raw text to labelled trees, with the models that come in the package.

- `sentiment`: answers for texts (also `rntn_jax.sentiment`); `Sentiment`, `SentimentTree`.
- `build_trees`: tokens to binary trees, by a `BinaryParser`.
- `label_trees`: class probabilities of all nodes of trees, by a `SentimentClassifier`, any of the
  recursive models, or by several together: `ensemble`, an `Ensemble`.
- `Pipeline`: both; `annotate` for texts, `predict` for trees; `default_model` is in the package.
- `load_parser`, `load_classifier`, `load_pipeline` and their `save_...`: one safetensors file each.
- `parse`: Universal Dependencies of raw text (also `rntn_jax.parse`), by a `UDParser`: sentences,
  words, tags, features, trees, as `ParsedText` of `ParsedSentence`; `evaluate_text` scores it.
- `segment`, `predict_tags`, `parse_tagged`: its parts, by a `Segmenter`, a `Morphology` and a
  `DependencyParser`.
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
    Ensemble,
    SentimentClassifier,
    class_probabilities,
    ensemble,
    label_trees,
    load_classifier,
    num_classes,
    save_classifier,
    two_classes,
)
from rntn_jax.annotate.dependency_parser import (
    DependencyParser,
    load_dependency_parser,
    parse_tagged,
    save_dependency_parser,
)
from rntn_jax.annotate.morphology import Morphology, predict_tags
from rntn_jax.annotate.parsed_text import ParsedSentence, ParsedText
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
from rntn_jax.annotate.segmenter import Segmenter, segment
from rntn_jax.annotate.ud import (
    UDParser,
    default_ud_parser,
    evaluate_text,
    load_ud_parser,
    parse,
    save_ud_parser,
    with_tags,
)

__all__ = [
    "CLASS_NAMES",
    "BinaryParser",
    "DependencyParser",
    "Ensemble",
    "Morphology",
    "ParsedSentence",
    "ParsedText",
    "Pipeline",
    "Segmenter",
    "Sentiment",
    "SentimentClassifier",
    "SentimentTree",
    "UDParser",
    "annotate",
    "build_trees",
    "class_probabilities",
    "default_model",
    "default_ud_parser",
    "ensemble",
    "evaluate_text",
    "label_trees",
    "load_classifier",
    "load_dependency_parser",
    "load_parser",
    "load_pipeline",
    "load_ud_parser",
    "num_classes",
    "pad",
    "parse",
    "parse_tagged",
    "predict",
    "predict_tags",
    "save_classifier",
    "save_dependency_parser",
    "save_parser",
    "save_pipeline",
    "save_ud_parser",
    "segment",
    "sentiment",
    "two_classes",
    "with_tags",
    "word_features",
]


def __dir__() -> list[str]:
    return sorted(__all__)
