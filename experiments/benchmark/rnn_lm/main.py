"""Language model training: milliseconds a segment, temporary memory, growth; gated layers."""

from __future__ import annotations

from absl import flags

from experiments.benchmark.options import COMMON, common, define_common_flags, numbers
from experiments.command import Command, run
from experiments.flags import entry_point

define_common_flags()
_PARTS = flags.DEFINE_list("parts", ["speed", "growth", "layers"], "what to measure")
_DIMS = flags.DEFINE_list("dims", ["200", "200", "650"], "widths of the states")
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["20", "32", "64"], "streams, for each width")
_CHUNKS = flags.DEFINE_list(
    "chunks", ["140", "140", "448"], "rows whose logits exist at a time, for each width"
)
_STEPS = flags.DEFINE_integer("steps", 35, "tokens of a segment", lower_bound=1)
_VOCAB = flags.DEFINE_integer("vocab_size", 10_000, "words", lower_bound=2)

COMMAND = Command(
    name="benchmark rnn_lm",
    about=__doc__ or "",
    examples=(
        ("", "three sizes, and growth"),
        ("--systems=ours,autodiff --threads=1", "two systems"),
        ("--parts=layers", "one gated layer: ours, autodiff, flax, PyTorch"),
    ),
    run=("parts", "dims", "batch_sizes", "chunks", "steps", "vocab_size", *COMMON),
)


def _main() -> None:
    values = common()
    from experiments.benchmark.rnn_lm.run import run as measure

    measure(
        **values,
        dims=numbers(_DIMS),
        batch_sizes=numbers(_BATCH_SIZES),
        chunks=numbers(_CHUNKS),
        parts=_PARTS.value,
        steps=_STEPS.value,
        vocab_size=_VOCAB.value,
    )


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
