"""CRF over sparse features: seconds of a whole training on CoNLL-2000, against CRFsuite."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import COMMON, common, define_common_flags, define_peers_python
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "where CoNLL-2000 lies (default: a cache, else a download)"
)
_PYTHON = define_peers_python("python-crfsuite")

COMMAND = Command(
    name="benchmark tagger",
    about=__doc__ or "",
    examples=(
        ("--data_dir=DIR", "both systems"),
        ("--data_dir=DIR --systems=ours", "ours alone"),
        ("--data_dir=DIR --peers_python=PYTHON", "CRFsuite of another Python"),
    ),
    run=("data_dir", *(name for name in COMMON if name != "rounds"), "peers_python"),
)


def _main() -> None:
    if flags.FLAGS["rounds"].present:
        raise ValueError("--rounds does nothing: each system trains once")
    values = common()
    del values["rounds"]
    from experiments.benchmark.tagger.run import run as measure

    measure(**values, data_dir=_DATA_DIR.value, python=_PYTHON.value)


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
