"""Writes docs/configuration.md from the models in vidrestore/config.py: `python docs/make_configuration.py`."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vidrestore.config import RunConfig, preset_names

TARGET = Path(__file__).with_name("configuration.md")

HEAD = """# Configuration

<!-- Written by docs/make_configuration.py from vidrestore/config.py: change it there. -->

`vidrestore run --config FILE` reads a TOML file with any of these keys; `--preset NAME` reads one that comes with
vidrestore ({presets}). Flags win over the file, the file over the defaults. An unknown key is an error.
From Python they are keyword arguments of `vidrestore.restore`, tables as dicts.
"""


def page() -> str:
    """The whole page."""
    text = HEAD.format(presets=", ".join(f"`{name}`" for name in preset_names()))
    return text + section("Top level", RunConfig, "")


def section(title: str, model: type[BaseModel], path: str) -> str:
    """A heading, the model's docstring, a table of its keys, then the tables it holds."""
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    tables: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        if inner is not None:
            tables.append((name, inner))
        rows.append(f"| `{name}` | {values(field)} | {default(field)} | {meaning(field, inner, path + name)} |")
    intro = (model.__doc__ or "").strip()
    parts = [f"\n## {title}\n\n{intro}\n\n" + "\n".join(rows) + "\n"]
    parts += [section(f"`{heading(model, name, path)}`", inner, f"{path}{name}.") for name, inner in tables]
    return "".join(parts)


def heading(model: type[BaseModel], name: str, path: str) -> str:
    repeated = get_origin(model.model_fields[name].annotation) is tuple
    return f"[[{path}{name}]]" if repeated else f"[{path}{name}]"


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, directly or in a tuple."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def values(field: FieldInfo) -> str:
    """Type and range in words."""
    limits = {
        sign: getattr(rule, key)
        for rule in field.metadata
        for key, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if hasattr(rule, key)
    }
    return ", ".join([type_name(field.annotation), *(f"{sign} {limit}" for sign, limit in limits.items())])


def type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(argument) for argument in arguments if argument is not type(None)) + ", or left out"
    if origin is tuple:
        return f"list of {type_name(arguments[0])}"
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    return names.get(annotation, "table")


def default(field: FieldInfo) -> str:
    value = field.get_default()
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "below"
    return "left out" if value is None else f"`{json.dumps(value)}`"


def meaning(field: FieldInfo, inner: type[BaseModel] | None, path: str) -> str:
    if field.description:
        return field.description
    return (inner.__doc__ or "").strip().partition("\n")[0] if inner is not None else ""


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
