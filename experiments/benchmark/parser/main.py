"""The parser: training steps a second of its network, and words a second of parsing."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import (
    COMMON,
    common,
    corpus,
    define_common_flags,
    define_corpus_flags,
    define_peers_python,
    numbers,
)
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
define_corpus_flags("ud_ewt")
_PARTS = flags.DEFINE_list("parts", ["training", "parsing"], "what to measure")
_DIMS = flags.DEFINE_list("dims", ["200", "400"], "widths of the hidden layer")
_BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes", ["1024", "2048"], "steps a minibatch, one for each width"
)
_MODEL = flags.DEFINE_string("model", None, "a trained parser (default: random weights)")
_UDPIPE = flags.DEFINE_string(
    "udpipe_model", None, "UDPipe's model, made there if absent (default: for this run)"
)
_PYTHON = define_peers_python("PyTorch and UDPipe")

COMMAND = Command(
    name="benchmark parser",
    about=__doc__ or "",
    examples=(
        ("", "on the embedded treebank"),
        ("--corpus=ud_ewt --data_dir=DIR", "on UD English-EWT"),
        ("--parts=parsing --model=FILE", "parsing alone, by a trained model"),
    ),
    run=(
        "corpus",
        "data_dir",
        "parts",
        "dims",
        "batch_sizes",
        *COMMON,
        "model",
        "udpipe_model",
        "peers_python",
    ),
)


def _main() -> None:
    values = common() | corpus()
    from experiments.benchmark.parser.run import run as measure

    measure(
        **values,
        dims=numbers(_DIMS),
        batch_sizes=numbers(_BATCH_SIZES),
        parts=_PARTS.value,
        model=_MODEL.value,
        udpipe_model=_UDPIPE.value,
        python=_PYTHON.value,
    )


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
