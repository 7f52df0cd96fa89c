"""Raw texts: sentences a second to tokens, to labelled sentiment trees, and to UD trees."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import (
    COMMON,
    common,
    corpus,
    define_common_flags,
    define_corpus_flags,
    define_peers_python,
)
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
define_corpus_flags("sst")
_UDPIPE = flags.DEFINE_string(
    "udpipe_train", None, "CoNLL-U of which UDPipe's model is made (default: no UDPipe)"
)
_PYTHON = define_peers_python("NLTK and UDPipe")

COMMAND = Command(
    name="benchmark text",
    about=__doc__ or "",
    examples=(
        ("", "on the embedded sentences, ours and NumPy"),
        ("--corpus=sst --data_dir=DIR --udpipe_train=train.conllu", "all systems"),
        ("--systems=ours,numpy", "trees alone"),
    ),
    run=("corpus", "data_dir", "udpipe_train", *COMMON, "peers_python"),
)


def _main() -> None:
    values = common() | corpus()
    from experiments.benchmark.text.run import run as measure

    measure(**values, udpipe_train=_UDPIPE.value, python=_PYTHON.value)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
