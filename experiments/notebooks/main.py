"""Notebooks: run them and write them with their outputs, as .ipynb and as pages."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments.command import Command, run
from experiments.flags import entry_point
from experiments.notebooks import render

_NAME = flags.DEFINE_multi_enum(
    "name", None, render.names(), "notebook to render; may be given several times (default: all)"
)
_OUTPUT = flags.DEFINE_string("output", "runs/notebooks", "folder of the notebooks and pages")

COMMAND = Command(
    name="notebooks",
    about=__doc__ or "",
    examples=(
        ("", "run all and write them"),
        ("--name=marginals_are_gradients", "only this one"),
        ("--output=FOLDER", "write elsewhere"),
    ),
    run=("name", "output"),
)


def _main() -> None:
    from rntn_jax.training import ProgressBar

    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    wanted = _NAME.value or render.names()
    with ProgressBar(len(wanted), unit="notebooks") as bar:
        for done, name in enumerate(wanted, 1):
            render.render(name, output)
            bar.advance(1, 1, name)
            bar.say(f"{done} of {len(wanted)}: {output / name}.html")
    print(f"{len(wanted)} notebooks: {render.write_index(output, wanted)}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
