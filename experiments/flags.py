"""absl flags made from a frozen dataclass: the dataclass is the one place for names and defaults.

A field is described by ``field(metadata={"help": ...})``; its flag has the field's name and type.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from absl import flags

__all__ = ["config_from_flags", "define_config_flags", "option"]

Config = TypeVar("Config")


flags.disclaim_key_flags()


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with a help text, and the values it may take."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def define_config_flags(cls: type, presets: dict[str, dict[str, Any]], default: str) -> None:
    """Defines ``--preset`` and one flag for each field of ``cls``.

    A flag's default is None, meaning: as the preset has it, else as the dataclass has it.
    """
    flags.DEFINE_enum("preset", default, list(presets), "a named set of settings to start from")
    types_of = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kinds = [t for t in typing.get_args(types_of[field.name]) if t is not types.NoneType]
        kind = kinds[0] if kinds else types_of[field.name]
        text = f"{field.metadata['help']} (default: {field.default})"
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
    """The dataclass that preset and flags describe."""
    values = dict(presets[str(flags.FLAGS["preset"].value)])
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if flags.FLAGS[field.name].value is not None:
            values[field.name] = flags.FLAGS[field.name].value
    return cls(**values)
