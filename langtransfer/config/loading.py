"""Reading a config file: strict YAML, then the typed models, every mistake one clear line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from langtransfer.config.base import SECRET
from langtransfer.config.references import nearest
from langtransfer.config.root import Config
from langtransfer.errors import UserError


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where PyYAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise UserError(f"line {line}", key, "the key is given twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_config(path: Path) -> Config:
    """Read and validate a config file. UserError names the field, the value and the remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("config", str(path), "no such file; give one with --configfile") from None
    except UnicodeDecodeError as error:
        raise UserError("config", str(path), f"not UTF-8 ({error.reason}); save it so") from None
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise UserError("config", str(path), f"not YAML: {error}") from None
    return parse_config(content, str(path))


def parse_config(content: object, name: str = "config") -> Config:
    """Validate a config's content."""
    if not isinstance(content, dict):
        raise UserError(name, type(content).__name__, "a config is a mapping of sections")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise _first_mistake(error, Config) from None


def _first_mistake(error: ValidationError, model: type[BaseModel]) -> UserError:
    """The first mistake, unknown keys before the missing ones they probably caused."""
    mistakes = error.errors(include_url=False)
    mistake = min(mistakes, key=lambda m: m["type"] != "extra_forbidden")
    field = ".".join(str(part) for part in mistake["loc"]) or "config"
    if mistake["type"] == "extra_forbidden":
        known = _fields_at(model, mistake["loc"][:-1])
        return UserError(
            field, mistake["input"], f"unknown key; {nearest(str(mistake['loc'][-1]), known)}"
        )
    if mistake["type"] == SECRET:
        return UserError(field, "(not shown)", mistake["msg"])
    if mistake["type"] == "missing":
        return UserError(field, None, "is required; add it")
    remedy = mistake["msg"].removeprefix("Value error, ")
    if isinstance(mistake["input"], bool):  # YAML 1.1 reads no, on, off, yes as booleans
        remedy += "; YAML reads this word as true or false: quote it"
    return UserError(field, mistake["input"], remedy)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model at a location inside another."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = (
                current.model_fields[str(part)].annotation if part in current.model_fields else None
            )
        else:  # an item of a mapping or a list: its model is among the type's arguments
            current = _model_within(current)
    found = (
        current
        if isinstance(current, type) and issubclass(current, BaseModel)
        else _model_within(current)
    )
    return list(found.model_fields) if found is not None else []


def _model_within(annotation: Any) -> type[BaseModel] | None:
    for argument in getattr(annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
        if (inner := _model_within(argument)) is not None:
            return inner
    return None
