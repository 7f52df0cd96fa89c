"""API reference: the public functions and classes as pages of HTML, by pdoc; README pictures."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from experiments.command import Command, check_flags, run
from experiments.flags import entry_point

_OUTPUT = flags.DEFINE_string("output", "runs/docs", "folder of the pages")
_PICTURES = flags.DEFINE_string(
    "pictures", None, "write the pictures of the README to this folder (.github/pictures)"
)

COMMAND = Command(
    name="docs",
    about=__doc__ or "",
    examples=(
        ("", "write the reference to runs/docs"),
        ("--output=FOLDER", "write elsewhere"),
        ("--pictures=.github/pictures", "draw the README's pictures anew"),
    ),
    verbs={"pictures": ()},
    run=("output",),
)


def _main() -> None:
    if check_flags(COMMAND):
        from experiments.docs import pictures

        for path in pictures.write(Path(_PICTURES.value or "")):
            print(path)
        return
    from experiments.docs import reference

    output = Path(_OUTPUT.value)
    modules = reference.public_modules()
    reference.write(modules, output)
    print(f"{len(modules)} modules: {output / 'index.html'}")


main = entry_point(_main, COMMAND)

if __name__ == "__main__":
    run(main, COMMAND)
