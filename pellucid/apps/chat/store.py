"""A conversation in a file: JSON Lines, settings in the first line with the format's version, then a turn a line.

    {"format": "pellucid.chat", "version": 1, "model": "...", "system": null, "turns": 2, ...}
    {"id": 1, "role": "user", "content": "...", "pinned": false, "intent": "question"}
    {"id": 2, "role": "assistant", "content": "...", "pinned": false, "system": null, "end": "stop"}

Written beside its place and moved there, so it is the old file or the new one. The first line says how many turns
follow: of a file that lost its end (a copy that broke off, a disk that filled up) the whole exchanges are read, and
what is missing is told. A damaged line with whole ones after it is an error: nobody knows what else was changed.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pellucid.apps.chat.history import Turn
from pellucid.apps.speaker import Decoding
from pellucid.errors import InputError, OptionError, OutputError, SchemaError

if TYPE_CHECKING:
    from pellucid.apps.chat.chat import Chat

FORMAT, VERSION = "pellucid.chat", 1
OWN = "own"  # intents by a function, which no file holds

C = TypeVar("C", bound="Chat")


@dataclass(frozen=True)
class Lost:
    """What could not be read: of ``turns`` written, ``loaded`` are whole; ``line`` is the first that is not."""

    path: str
    turns: int
    loaded: int
    line: int

    def __str__(self) -> str:
        return (
            f"{self.path} was cut short at line {self.line}: {self.loaded} of {self.turns} turns were whole and are "
            f"loaded, {self.turns - self.loaded} are lost"
        )


def save(chat: Chat, path: Path) -> Path:
    """See ``Chat.save``."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "model": chat.speaker.name,
        "system": chat.system,
        "max_history_tokens": chat.max_history_tokens,
        "decoding": asdict(chat.decoding),
        "intents": OWN if callable(chat.intents) else chat.intents,
        "manners": {name: asdict(m) for name, m in chat.manners.items()},
        "slots": chat.slots,
        "turns": len(chat.turns),
    }
    try:
        lines = [json.dumps(x, ensure_ascii=False, allow_nan=False) for x in (head, *map(_plain, chat.turns))]
    except (TypeError, ValueError) as e:
        raise OptionError(f"the slots cannot be saved as JSON: {e}; keep plain data in them") from None
    # A lone surrogate becomes the escape that JSON has for it.
    data = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
    target = Path(os.path.realpath(path))
    scratch = target.with_name(f".pellucid-{secrets.token_hex(8)}.tmp")
    try:
        if target.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from None
    finally:
        with suppress(OSError):  # after a success it is not there any more
            scratch.unlink()
    return path


def _plain(turn: Turn) -> dict[str, Any]:
    own = ("intent",) if turn.role == "user" else ("system", "end")
    return {name: getattr(turn, name) for name in ("id", "role", "content", "pinned", *own)}


def load(
    kind: type[C], path: Path, model: Any, on_loss: Callable[[Lost], None] | None, options: Mapping[str, Any]
) -> C:
    """See ``Chat.load``."""
    head, turns, lost = read(path)
    how = _settings(head, path)
    if how["intents"] == OWN and "intents" not in options:
        raise OptionError(f"{path} was saved with intents by a function, which no file holds: give intents again")
    chat = kind(model, **{**how, **options})
    try:
        chat.restore(turns)
    except InputError as e:
        raise SchemaError(f"{path} is not a conversation that can be gone on with: {e}") from None
    chat.lost = lost
    if lost is not None and on_loss is not None:
        on_loss(lost)
    elif lost is not None:
        import warnings

        warnings.warn(str(lost), UserWarning, stacklevel=3)
    return chat


def read(path: Path) -> tuple[dict[str, Any], tuple[Turn, ...], Lost | None]:
    """(first line, turns, what is missing). Raises ``InputError``, ``SchemaError``."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from None
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    head = _object(lines[0])
    if head is None or head.get("format") != FORMAT:
        raise SchemaError(f'{path} is not a saved conversation: expected a first line with "format": "{FORMAT}"')
    version, written = head.get("version"), head.get("turns")
    if not isinstance(version, int) or version > VERSION:
        raise SchemaError(f"{path} has version {version!r}, and this release reads {VERSION}: use a newer pellucid")
    if not isinstance(written, int):
        raise SchemaError(f"{path} does not say how many turns it holds: expected a number in its first line")
    turns: list[Turn] = []
    for k, line in enumerate(lines[1:], 2):
        found = _object(line)
        if found is None and k < len(lines):
            raise SchemaError(f"line {k} of {path} is damaged, and others follow it: expected a turn as JSON")
        if found is None:
            break
        turns.append(_turn(found, f"line {k} of {path}"))
    if len(turns) < written and len(turns) % 2:
        turns.pop()  # its answer is lost, and a question alone is none
    lost = Lost(str(path), written, len(turns), len(turns) + 2) if len(turns) < written else None
    return head, tuple(turns), lost


def _object(line: bytes) -> dict[str, Any] | None:
    """A line as an object; None where it is none, or was cut."""
    try:
        found = json.loads(line.decode("utf-8"))
    except ValueError:  # of both
        return None
    return found if isinstance(found, dict) else None


def _turn(found: Mapping[str, Any], where: str) -> Turn:
    text: tuple[type, ...] = (str, type(None))
    kinds: dict[str, tuple[type, ...]] = {"id": (int,), "role": (str,), "content": (str,), "pinned": (bool,)}
    kinds |= {"intent": text, "system": text, "end": text}
    given = {"pinned": False, "intent": None, "system": None, "end": None, **found}
    for name, allowed in kinds.items():
        value = given.get(name)
        if type(value) not in allowed:
            raise SchemaError(f"{where} is no turn: '{name}' should be {allowed[0].__name__}, given {value!r}")
    return Turn(**{name: given[name] for name in kinds})


def _settings(head: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Keywords of ``Chat``. Raises ``SchemaError``."""
    from pellucid.apps.chat.chat import Manner

    def decoding(x: Any) -> Decoding | None:
        return None if x is None else Decoding(**{**x, "stop": tuple(x.get("stop", ()))})

    try:
        return {
            "system": head.get("system"),
            "max_history_tokens": head.get("max_history_tokens"),
            "decoding": decoding(head.get("decoding")) or Decoding(),
            "intents": head.get("intents"),
            "manners": {
                str(name): Manner(m.get("system"), decoding(m.get("decoding")))
                for name, m in dict(head.get("manners") or {}).items()
            },
            "slots": dict(head.get("slots") or {}),
        }
    except (TypeError, ValueError, AttributeError) as e:
        raise SchemaError(f"the first line of {path} is not that of a conversation: {e}") from None
