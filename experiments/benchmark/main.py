"""Benchmarks: speed and memory of the hand-derived rules against autodiff and other libraries."""

from __future__ import annotations

import sys

from absl import app, flags

_NAME = flags.DEFINE_enum(
    "name", "rntn", ["rntn", "rnn_lm", "crf", "graphs", "tagger", "parser"], "which benchmark"
)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "times each system is run, in turn", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", 2, "CPU threads for every system", lower_bound=1)
_SYSTEMS = flags.DEFINE_list("systems", [], "only these (a wrong name lists them)")
_PARTS = flags.DEFINE_list("parts", [], "only these parts (a wrong name lists them)")
_DIMS = flags.DEFINE_list(
    "dims",
    None,
    "widths of the states (default: rntn 25,50,100; rnn_lm 200,200,650), or of the hidden layer "
    "(parser 200,400)",
)
_BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes",
    None,
    "rntn: trees a minibatch (default 1,27,256), each for all widths; rnn_lm: streams "
    "(default 20,32,64), parser: steps (default 1024,2048), one for each width",
)
_OUTPUT = flags.DEFINE_string("output", None, "also write the figures to this JSON file")
_CORPUS = flags.DEFINE_enum(
    "corpus", "demo", ["demo", "sst", "ud_ewt"], "rntn (sst), parser (ud_ewt): whose trees"
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "rntn, tagger, parser: where the corpus lies")
_DYNET = flags.DEFINE_string(
    "dynet_python", None, "rntn: a Python with DyNet (other_rntn_baselines.py)"
)
_DGL = flags.DEFINE_string("dgl_python", None, "rntn: a Python with DGL and PyTorch")
_SHAPES = flags.DEFINE_multi_string(
    "shape",
    None,
    "crf: B,T,C; graphs: trees,1,1000,5 or grids,1,8,100,2; may be given several times",
)
_PEERS = flags.DEFINE_string(
    "peers_python", None, "crf, graphs, tagger, parser: a Python with baselines (*_baselines.py)"
)
_MODEL = flags.DEFINE_string("model", None, "parser: a trained one (default: random weights)")
_UDPIPE = flags.DEFINE_string(
    "udpipe_model", None, "parser: UDPipe's model, made there if absent (default: for this run)"
)
_STEPS = flags.DEFINE_integer("steps", 35, "rnn_lm: tokens of a segment", lower_bound=1)
_VOCAB = flags.DEFINE_integer("vocab_size", 10_000, "rnn_lm: words", lower_bound=2)
_CHUNKS = flags.DEFINE_list(
    "chunks", ["140", "140", "448"], "rnn_lm: rows whose logits exist at a time, for each width"
)


def _run() -> None:
    given = {
        "rounds": _ROUNDS.value,
        "threads": _THREADS.value,
        "systems": _SYSTEMS.value,
        "output": _OUTPUT.value,
    }
    known = {"rntn": "sst", "parser": "ud_ewt"}.get(_NAME.value)
    if _CORPUS.value not in ("demo", known):
        raise ValueError(f"{_NAME.value} does not know the corpus {_CORPUS.value!r}")
    if _NAME.value == "rntn":
        from experiments.benchmark import rntn

        pythons = {"dynet": _DYNET.value, "dgl": _DGL.value}
        rntn.run(
            **given,
            corpus=_CORPUS.value,
            data_dir=_DATA_DIR.value,
            dims=_numbers(_DIMS.value or ["25", "50", "100"]),
            batch_sizes=_numbers(_BATCH_SIZES.value or ["1", "27", "256"]),
            parts=_PARTS.value or ["speed", "epoch", "growth"],
            pythons={name: python for name, python in pythons.items() if python},
        )
    elif _NAME.value == "crf":
        from experiments.benchmark import crf

        crf.run(
            **given,
            shapes=_SHAPES.value or crf.SHAPES,
            parts=_PARTS.value or list(crf.TASKS),
            python=_PEERS.value,
        )
    elif _NAME.value == "graphs":
        from experiments.benchmark import graphs

        graphs.run(
            **given,
            shapes=_SHAPES.value or graphs.SHAPES,
            parts=_PARTS.value or list(graphs.TITLES),
            python=_PEERS.value,
        )
    elif _NAME.value == "tagger":
        from experiments.benchmark import tagger

        given.pop("rounds")
        tagger.run(**given, data_dir=_DATA_DIR.value, python=_PEERS.value)
    elif _NAME.value == "parser":
        from experiments.benchmark import parser

        parser.run(
            **given,
            corpus=_CORPUS.value,
            data_dir=_DATA_DIR.value,
            dims=_numbers(_DIMS.value or ["200", "400"]),
            batch_sizes=_numbers(_BATCH_SIZES.value or ["1024", "2048"]),
            parts=_PARTS.value or list(parser.SYSTEMS),
            model=_MODEL.value,
            udpipe_model=_UDPIPE.value,
            python=_PEERS.value,
        )
    else:
        from experiments.benchmark import rnn_lm

        rnn_lm.run(
            **given,
            dims=_numbers(_DIMS.value or ["200", "200", "650"]),
            batch_sizes=_numbers(_BATCH_SIZES.value or ["20", "32", "64"]),
            parts=_PARTS.value or ["speed", "growth"],
            steps=_STEPS.value,
            vocab_size=_VOCAB.value,
            chunks=_numbers(_CHUNKS.value),
        )


def _numbers(words: list[str]) -> list[int]:
    return [int(word) for word in words]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    try:
        _run()
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    app.run(main)
