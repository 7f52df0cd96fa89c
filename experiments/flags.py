"""absl flags made from a frozen dataclass: the dataclass is the one place for names and defaults.

A field is described by ``field(metadata={"help": ...})``; its flag has the field's name and type.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import types
import typing
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from experiments import processes
from experiments.command import Command, slip
from rntn_jax.cli.process import messages

__all__ = [
    "GIVEN",
    "check_ranges",
    "config_from_flags",
    "define_config_flags",
    "define_run_flags",
    "entry_point",
    "option",
]

Config = TypeVar("Config")


flags.disclaim_key_flags()


class _Given:
    """Holds every value but None."""

    def __contains__(self, value: Any) -> bool:
        return value is not None


GIVEN = _Given()


def option(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    *,
    group: str | None = None,
    needs: Mapping[str, Container[Any]] | None = None,
    free: bool = False,
) -> Any:
    """A dataclass field that becomes a flag.

    Args:
        default: the value when neither flag nor preset says another.
        help: what it is.
        choices: the values it may take.
        group: heading in the help of this field and those after it.
        needs: of other fields, the values without which this one does nothing.
        free: whether a run may go on with another value.
    """
    metadata = {"help": help, "choices": choices, "group": group, "needs": needs, "free": free}
    return dataclasses.field(default=default, metadata=metadata)


def define_config_flags(cls: type, presets: dict[str, dict[str, Any]], default: str) -> None:
    """Defines ``--preset`` and one flag for each field of ``cls``.

    A flag's default is None, meaning: as the preset has it, else as the dataclass has it. Its help
    shows the latter; where that is None, the field's own text says what happens.
    """
    flags.DEFINE_enum("preset", default, list(presets), "a named set of settings to start from")
    types_of = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kinds = [t for t in typing.get_args(types_of[field.name]) if t is not types.NoneType]
        kind = kinds[0] if kinds else types_of[field.name]
        text = field.metadata["help"]
        if field.default is not None:
            text += f" (default: {field.default})"
        if field.metadata["choices"]:
            flags.DEFINE_enum(field.name, None, list(field.metadata["choices"]), text)
        else:
            define = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
                str: flags.DEFINE_string,
            }[kind]
            define(field.name, None, text)


def config_from_flags(cls: type[Config], presets: dict[str, dict[str, Any]]) -> Config:
    """The dataclass that preset and flags describe; with its ``devices``, where there is a CPU."""
    values = dict(presets[str(flags.FLAGS["preset"].value)])
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if flags.FLAGS[field.name].value is not None:
            values[field.name] = flags.FLAGS[field.name].value
    config = cls(**values)
    devices = getattr(config, "devices", 1)
    if devices > 1:
        _make_virtual_devices(devices)
    return config


def _make_virtual_devices(count: int) -> None:
    """Lets JAX, which must not have begun, make that many devices of the CPU; others stay."""
    given = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in given:
        flag = f"--xla_force_host_platform_device_count={count}"
        os.environ["XLA_FLAGS"] = f"{given} {flag}".strip()


def check_ranges(
    config: Any,
    *,
    at_least_one: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    rates: Sequence[str] = (),
    positive: Sequence[str] = (),
) -> None:
    """Checks fields of a configuration, and all that have choices; None passes.

    Raises:
        ValueError: naming the field and its value.
    """
    for field in dataclasses.fields(config):
        value, choices = getattr(config, field.name), field.metadata["choices"]
        if choices and value is not None and value not in choices:
            raise ValueError(f"{field.name} must be one of {choices}, got {value!r}")
    for names, holds, must in (
        (at_least_one, lambda x: x >= 1, "be at least 1"),
        (not_negative, lambda x: x >= 0, "not be negative"),
        (rates, lambda x: 0 <= x < 1, "be in [0, 1)"),
        (positive, lambda x: x > 0, "be positive"),
    ):
        for name in names:
            value = getattr(config, name)
            if value is not None and not holds(value):
                raise ValueError(f"{name} must {must}, got {value}")


def define_run_flags(folder: str) -> tuple[flags.FlagHolder[str | None], flags.FlagHolder[bool]]:
    """Defines and returns ``--workdir`` and ``--fresh``; and the flags of several processes.

    Args:
        folder: where a run lies by default, for the help.
    """
    processes.define()
    return (
        flags.DEFINE_string(
            "workdir", None, f"folder of the run (default: {folder}); resumed if it exists"
        ),
        flags.DEFINE_bool("fresh", False, "start the run over instead of resuming it"),
    )


def entry_point(body: Callable[[], None], command: Command) -> Callable[[list[str]], None]:
    """What `absl.app.run` takes: no stray arguments, and errors as messages for the user."""

    def main(argv: list[str]) -> None:
        if len(argv) > 1:
            sys.exit(slip(command, argv[1:]))
        with messages():
            if processes.are_several() and not hasattr(command.settings, "devices"):
                raise ValueError(
                    f"{command.name} trains in one process; --processes=1 starts that again when "
                    "it dies"
                )
            if (count := processes.wanted()) is not None:
                sys.exit(processes.supervise([sys.executable, *sys.orig_argv[1:]], count))
            processes.join()
            body()

    return main
