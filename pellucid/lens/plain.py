"""Results as plain data, and back: what every result of this room can do.

    result.to_dict(); result.to_json(); NextTokens.load("next.json"); result.show(); result.save("next.html")

A result is a frozen dataclass of numbers, texts, traces and such dataclasses. ``SCHEMA`` names its JSON form; keys that
are not known are passed over, so that a later release may add some.
"""

from __future__ import annotations

import json
import math
import types
import typing
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pellucid.errors import InputError, MissingExtraError, SchemaError
from pellucid.trace.result import Trace

if TYPE_CHECKING:
    import pandas

DIGITS = 7  # significant ones, in JSON alone


R = TypeVar("R", bound="Result")


@dataclass(frozen=True)
class Result(ABC):
    """Base of this room's results."""

    SCHEMA: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; numbers to seven significant figures, None for what is no number."""
        return {"schema": self.SCHEMA, **_plain(self)}

    def to_json(self, *, indent: int | None = None) -> str:
        """A JSON text (strict: no NaN), characters as they are."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_dict(cls: type[R], data: object) -> R:
        """From plain data. Raises ``SchemaError``."""
        if not isinstance(data, dict) or data.get("schema") != cls.SCHEMA:
            raise SchemaError(f'not a {cls.__name__}: expected an object with "schema": "{cls.SCHEMA}"')
        try:
            found: R = _read(cls, data)
        except (KeyError, TypeError, ValueError) as e:
            raise SchemaError(f"not a whole {cls.__name__}: {e}") from None
        return found

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """From a JSON file. Raises ``SchemaError``, or ``InputError`` where the file cannot be read."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as e:
            raise SchemaError(f"{path} is not a {cls.__name__}, or was cut short: {e}") from None
        return cls.from_dict(data)

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The result as a table: one dictionary a row."""

    def to_pandas(self) -> pandas.DataFrame:
        """``rows`` as a DataFrame. Needs the extra ``pandas``."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError(
                "to_pandas needs pandas, which is not installed: pip install 'pellucid[pandas]'"
            ) from None
        return pandas.DataFrame(self.rows())

    def show(self, *, lang: str | None = None) -> None:
        """Print it in the terminal."""
        from pellucid.render import show_lens

        show_lens(self, lang=lang)

    def save(self, path: str | Path, *, lang: str | None = None) -> Path:
        """Write to ``path``: ``.json``, ``.csv``, ``.html``, ``.md`` or ``.png`` by its ending. Whole or not at all.

        Raises ``OutputError`` for another ending or an unwritable path.
        """
        from pellucid.render import save_lens

        return save_lens(self, Path(path), lang=lang)

    def _repr_html_(self) -> str:
        from pellucid.render import lens_notebook

        return lens_notebook(self)


def _plain(x: Any) -> Any:
    if isinstance(x, Trace):
        return x.to_dict()
    if is_dataclass(x) and not isinstance(x, type):
        return {f.name: _plain(getattr(x, f.name)) for f in fields(x)}
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, float):
        return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
    return x


def _read(kind: Any, data: Any) -> Any:
    """``data`` as ``kind``: a dataclass, a tuple or dictionary of something, an optional, or plain."""
    if kind is Trace:
        return Trace.from_dict(data)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _read(next(k for k in inner if k is not type(None)), data)
    if origin is tuple:
        if not isinstance(data, list):
            raise TypeError(f"expected a list, got {type(data).__name__}")
        if inner[-1] is Ellipsis:
            return tuple(_read(inner[0], v) for v in data)
        return tuple(_read(k, v) for k, v in zip(inner, data, strict=True))
    if origin is dict:
        return {k: _read(inner[1], v) for k, v in data.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _read(hints[f.name], data[f.name]) for f in fields(kind)})
    if kind is float:
        return math.nan if data is None else float(data)
    if kind in (int, str, bool) and type(data) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {data!r}")
    return data


def json_schema(kind: Any) -> dict[str, Any]:
    """What ``to_dict`` of a result of this ``kind`` looks like, as a JSON Schema."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [json_schema(k) for k in inner if k is not type(None)] + [{"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": json_schema(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": json_schema(inner[1])}
    if kind is Trace:
        return {"type": "object", "description": "pellucid.trace/1, docs/trace.schema.json"}
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        parts = {f.name: json_schema(hints[f.name]) for f in fields(kind)}
        name = getattr(kind, "SCHEMA", None)
        if name:
            parts = {"schema": {"const": name}, **parts}
        about = " ".join((kind.__doc__ or "").split())
        return {"type": "object", "description": about, "properties": parts, "required": list(parts)}
    if kind is Any:
        return {}
    plain = {float: ["number", "null"], int: "integer", str: "string", bool: "boolean"}
    return {"type": plain[kind]}
