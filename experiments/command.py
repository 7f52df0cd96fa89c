"""What a command says of itself: its help, which flags go together, and what was meant by a slip.

A `main.py` describes its flags by one `Command`: the verbs, and which other flags each of them
reads. Everything here follows from that table and from the flags' own definitions.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import shlex
import sys
import textwrap
import traceback
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from experiments import processes
from rntn_jax.cli.process import check_output

__all__ = ["Command", "check_flags", "check_output", "help_text", "model_file", "run", "slip"]

WIDTH = 90  # columns of the help


class Command(NamedTuple):
    """What is to be known of a command besides the definitions of its flags."""

    name: str  # as ./launch.sh calls it
    about: str  # what it does; the first line of the help
    examples: Sequence[tuple[str, str]]  # arguments, and what they do
    settings: type | None = None  # dataclass whose fields are flags, which training reads
    verbs: Mapping[str, Sequence[str]] = {}  # flags that do something else, and what these read
    run: Sequence[str] = ()  # flags besides the settings that no verb needs
    for_text: str = ""  # what was meant by a text that stands alone: '--predict={}'
    for_file: str = ""  # and by a file
    notes: str = ""  # the end of the help


# --- the help ---


def help_text(command: Command) -> str:
    """The help: examples, the verbs, what these read, then the settings by groups."""
    calls = [(f"./launch.sh {command.name} {arguments}".strip(), what)
             for arguments, what in command.examples]  # fmt: skip
    width = max(len(call) for call, _ in calls)
    parts = [
        command.about.strip().split("\n")[0],
        "examples:\n" + "\n".join(f"  {call:{width}}  {what}" for call, what in calls),
    ]
    rest = "; without one of these it trains" if command.settings else ""
    groups: dict[str, list[str]] = {f"what to do{rest}:": list(command.verbs)}
    read = dict.fromkeys(name for names in command.verbs.values() for name in names)
    fields = _fields(command)
    groups["the run:" if command.verbs or command.settings else "flags:"] = list(command.run)
    groups["flags of the verbs:"] = [n for n in read if n not in command.run and n not in fields]
    heading = ""
    for name, field in fields.items():
        heading = field.metadata["group"] or heading or "settings"
        groups.setdefault(f"{heading[0].lower()}{heading[1:]}:", []).append(name)
    for heading, names in groups.items():
        if names:
            parts.append("\n".join([heading, *(_flag_help(command, name) for name in names)]))
    if command.notes:
        parts.append(textwrap.dedent(command.notes).strip())
    return "\n\n".join(parts) + "\n"


def _fields(command: Command) -> dict[str, dataclasses.Field[Any]]:
    if command.settings is None:
        return {}
    return {field.name: field for field in dataclasses.fields(command.settings)}


def _flag_help(command: Command, name: str) -> str:
    flag = flags.FLAGS[name]
    shown = f"--[no]{name}" if flag.boolean else f"--{name}"
    values = getattr(flag.parser, "enum_values", None)
    text = " ".join((flag.help or "").split())
    text = text.removeprefix(f"<{'|'.join(values)}>: ") if values else text
    text = re.sub(r"[;:] ?repeat this option to specify a list of values$", "", text)
    choices = f"<{'|'.join(values)}>: " if values else ""
    default = flag.default not in (None, [], "", False) and "(default: " not in text
    value = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
    text = f"{shown}: {choices}{text}" + (f" (default: {value})" if default else "")
    field = _fields(command).get(name)
    if field is not None and field.metadata["needs"]:
        text += f" [{_needed(field.metadata['needs'])}]"
    verbs = [verb for verb, names in command.verbs.items() if name in names]
    if verbs and field is None and name not in command.run:
        text += f" [with {_listed([f'--{verb}' for verb in verbs], 'or')}]"
    return textwrap.fill(
        text, WIDTH, initial_indent="  ", subsequent_indent="      ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _needed(needs: Mapping[str, Container[Any]]) -> str:
    """For the help: which values of other settings a setting needs."""
    said = []
    for name, values in needs.items():
        if isinstance(values, range):
            said.append(f"with --{name} of {values.start} or more")
        elif not isinstance(values, tuple):
            said.append(f"with --{name}")
        elif values == (None,):
            said.append(f"not with --{name}")
        else:
            said.append(f"with --{name}={'|'.join(str(v) for v in values if v is not None)}")
    return ", ".join(said)


def _listed(words: Sequence[str], joint: str) -> str:
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last


# --- which flags go together ---


def check_flags(command: Command, settings: Any = None) -> list[str]:
    """The verbs that were given, after a check that every given flag does something.

    Args:
        command: the table of flags.
        settings: the settings that preset and flags describe; None where there are none.

    Returns:
        Names of the verbs, in the order of the table; none: train.

    Raises:
        ValueError: naming the flags that would do nothing, and what they go with.
    """
    verbs = [verb for verb in command.verbs if flags.FLAGS[verb].value is not None]
    fields = _fields(command)
    of_verbs = {name for names in command.verbs.values() for name in names}
    read = {*verbs, *(name for verb in verbs for name in command.verbs[verb])}
    if not verbs:
        read = {*fields, *command.run}
    known = [*dict.fromkeys([*command.verbs, *of_verbs, *command.run, *fields])]
    for name in known:
        if not flags.FLAGS[name].present or name in read:
            continue
        for_it = [f"--{verb}" for verb, names in command.verbs.items() if name in names]
        if not verbs:
            raise ValueError(f"--{name} does nothing without {_listed(for_it, 'or')}")
        message = f"--{name} does nothing with {_listed([f'--{verb}' for verb in verbs], 'and')}"
        if name in fields or name in command.run:
            message += ": it is for training"
        raise ValueError(message + (f"; it goes with {_listed(for_it, 'or')}" if for_it else ""))
    for name, field in fields.items() if not verbs else ():
        for other, values in (field.metadata["needs"] or {}).items():
            value = getattr(settings, other)
            if flags.FLAGS[name].present and value not in values:
                found = f"without --{other}" if value is None else f"with --{other}={value}"
                raise ValueError(f"--{name} does nothing {found}")
    return verbs


def model_file(
    command: Command, named: str | None, workdir: str | Path, flag: str = "model"
) -> Path:
    """The model file that was named, or that of a run.

    Raises:
        FileNotFoundError: when there is none, with the command that makes one.
    """
    path = Path(named) if named is not None else Path(workdir, "model.safetensors")
    if not path.exists():
        given = [f"--{name}={flags.FLAGS[name].value}" for name in ("preset", "train")
                 if name in flags.FLAGS and flags.FLAGS[name].value is not None]  # fmt: skip
        train = shlex.join(["./launch.sh", command.name, *given])
        raise FileNotFoundError(
            f"there is no model {path}: train one first ({train}), or name one with --{flag}"
        )
    return path


# --- slips ---


def slip(command: Command, words: Sequence[str]) -> str:
    """One line about arguments that are no flags, with what was probably meant."""
    text = " ".join(words)
    meant = _meant(command, words)
    return f"unexpected argument {text!r}" + (f": did you mean {meant}?" if meant else "")


def _meant(command: Command, words: Sequence[str]) -> str:
    text, names = " ".join(words), _names(command)
    name, equals, value = words[0].partition("=")
    near = difflib.get_close_matches(name.lstrip("-–—"), names, 1, 0.8)
    if near and (equals or len(words) == 1):
        return f"--{near[0]}{equals}{shlex.quote(value) if value else ''}"
    for verb in command.verbs:  # --predict This film is great
        if flags.FLAGS[verb].present and f"--{verb}" in command.for_text:
            return command.for_text.format(shlex.quote(f"{flags.FLAGS[verb].value} {text}"))
    for flag in names:
        if text in (getattr(flags.FLAGS[flag].parser, "enum_values", None) or ()):
            return f"--{flag}={text}"
    is_file = os.path.exists(text) or re.fullmatch(r"\S*/\S*|\S+\.(\w{2,5}|conllu)", text)
    template = command.for_file if is_file else command.for_text
    return template.format(shlex.quote(text)) if template else "--help"


def _names(command: Command) -> list[str]:
    of_verbs = [name for names in command.verbs.values() for name in names]
    return [*dict.fromkeys([*command.verbs, *of_verbs, *command.run, *_fields(command)])]


# --- running it ---


def run(main: Callable[[list[str]], Any], command: Command) -> None:
    """`absl.app.run`, with the help of the command, and wrong flags told in a line or two."""

    def parse(argv: Sequence[str]) -> list[str]:
        before = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
        if {"--help", "-help", "-h", "--helpshort", "--helpfull", "--help=true"} & set(before):
            print(help_text(command), end="")
            sys.exit(0)
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            sys.exit(f"{error}\nPass --help to see the flags.")

    try:
        app.run(main, flags_parser=parse)
    except SystemExit as stop:
        # Stopped from outside: a thread that compiles or packs can crash where it outlives JAX.
        # And who refuses does not wait for the other processes, which wait for it.
        worker = processes.is_worker() and stop.code not in (None, 0)
        if stop.code not in (130, 143) and not worker:
            raise
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        _leave(stop.code if isinstance(stop.code, int) else 1)
    except Exception:
        if not processes.is_worker():
            raise
        traceback.print_exc()
        _leave(processes.CRASHED)


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
