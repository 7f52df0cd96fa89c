"""Files to plain Python and numpy objects; nothing here imports JAX.

- `Tree`: a labelled binary tree over a sentence.
- `parse_tree`, `read_trees`, `write_trees`: trees as Penn Treebank brackets; `binarize` reads trees
  with nodes of any arity.
- `bracket_scores`: how well trees over the same sentences agree.
- `Vocabulary`: words to ids and back.
- `read_word_vectors`: word vectors of GloVe or word2vec, of the words that are needed.
- `DataError`: what all readers raise for a fault in the data, with file, line and column.
- `corpora`: finds published corpora in a directory or the cache, or downloads them.
- `read_sentences`: a text, one sentence a line.
- `shards`, `stream_sentences`, `TokenFile`: texts larger than memory, of several files.
- `parse_constituents`, `read_parses`: the parses of CoreNLP, Stanza, benepar, ... as binary trees.
- `read_labelled_text`, `label_tree`: labels of sentences and phrases, into trees for training.
- `tokenize`, `sentences`: raw text to the tokens of the sentiment treebank; `token_spans`,
  `sentence_spans`: the same with their places in the text, as `Span(text, begin, end)`.
- `read_columns`, `write_columns`: tokens with tags in columns, one token a line.
- `read_conllu`, `write_conllu`, `ConlluSentence`: sentences with syntactic trees, exactly as they
  stand in CoNLL-U files of Universal Dependencies.
- `treebank_text`: the raw text of a treebank, and where in it its tokens are; `text_scores`,
  `segmentation_scores`: how well raw text was analysed, as CoNLL 2018 has it.
- `dependencies`: checks of such trees, projectivity, and attachment scores as CoNLL 2018 has them.
- `read_uai`, `read_uai_tables`, `read_uai_evidence`, `write_uai`, `MarkovModel`, `TableModel`:
  models on graphs, as other programs
  have them.
- `encode_attributes`: features of tokens, as dictionaries or lists, to numbered attributes.
- `chunks`: tags to chunks, the schemes BIO, IOB1 and BIOES, and scores as CoNLL-2000 has them.
- `demo_sentiment`, `demo_text`, `demo_tags`: an embedded treebank with exact labels, a text of
  known entropy and tagged sentences of a known chain, for trying things without any download.
"""

from rntn_jax.data import (
    chunks,
    corpora,
    demo_dependencies,
    demo_sentiment,
    demo_tags,
    demo_text,
    dependencies,
)
from rntn_jax.data.attributes import Encoded, encode_attributes, token_attributes
from rntn_jax.data.bracket_scores import BracketScores, bracket_scores
from rntn_jax.data.columns import read_columns, write_columns
from rntn_jax.data.conllu import ConlluSentence, read_conllu, write_conllu
from rntn_jax.data.errors import DataError
from rntn_jax.data.labelling import LabelledText, label_tree, read_labelled_text
from rntn_jax.data.parses import parse_constituents, read_parses
from rntn_jax.data.text import read_sentences
from rntn_jax.data.text_scores import TextScores, segmentation_scores, text_scores
from rntn_jax.data.token_files import TokenFile, shards, stream_sentences
from rntn_jax.data.tokenizer import Span, sentence_spans, sentences, token_spans, tokenize
from rntn_jax.data.tree import Tree
from rntn_jax.data.treebank_text import TextToken, TreebankText, treebank_text
from rntn_jax.data.trees_io import binarize, parse_tree, read_trees, write_trees
from rntn_jax.data.uai import (
    MarkovModel,
    TableModel,
    read_uai,
    read_uai_evidence,
    read_uai_tables,
    write_uai,
)
from rntn_jax.data.vocabulary import Vocabulary
from rntn_jax.data.word_vectors import WordVectors, read_word_vectors

__all__ = [
    "BracketScores",
    "ConlluSentence",
    "DataError",
    "Encoded",
    "MarkovModel",
    "LabelledText",
    "Span",
    "TextScores",
    "TextToken",
    "TokenFile",
    "Tree",
    "TreebankText",
    "Vocabulary",
    "WordVectors",
    "binarize",
    "bracket_scores",
    "chunks",
    "corpora",
    "demo_sentiment",
    "demo_dependencies",
    "demo_tags",
    "demo_text",
    "dependencies",
    "encode_attributes",
    "label_tree",
    "parse_constituents",
    "parse_tree",
    "read_columns",
    "read_conllu",
    "read_labelled_text",
    "read_parses",
    "read_sentences",
    "read_trees",
    "read_uai",
    "read_uai_evidence",
    "read_uai_tables",
    "read_word_vectors",
    "segmentation_scores",
    "sentence_spans",
    "sentences",
    "shards",
    "stream_sentences",
    "text_scores",
    "token_attributes",
    "token_spans",
    "tokenize",
    "treebank_text",
    "write_columns",
    "write_conllu",
    "write_trees",
    "write_uai",
    "TableModel",
]


def __dir__() -> list[str]:
    return sorted(__all__)
