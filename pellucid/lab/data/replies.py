"""Conversations to tokens: which of them a model reads, and which it learns to say.

    from pellucid.lab.data.chats import read
    examples, left = encode(loaded, read(["chats.jsonl"]), length=1024)

Learned is what the assistant says, and the token that ends it; everything else is read and not asked for. A reply is
what the chat template writes behind the prompt that it makes of the messages before it: the rendered prompt must be how
the rendered chat begins, or the model would learn behind another prompt than it is asked with. A template that breaks
this is refused. What users wrote is text, control tokens' names too (``models/encode.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, TemplateError
from pellucid.lab.data.chats import ASSISTANT, Chat, Example
from pellucid.models.encode import Segment, encode_target, follow_template, tokenize
from pellucid.models.encode import encode as encode_prompt
from pellucid.models.generate import end_tokens
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

LONG = ("cut", "drop")


@dataclass(frozen=True)
class Left:
    """Conversations longer than the block: how many were ``cut`` to it, and how many are left out."""

    cut: int = 0
    out: int = 0


def encode(
    loaded: LoadedModel,
    chats: Sequence[Chat],
    *,
    length: int,
    long: str = "cut",
    raw: bool = False,
    last_reply: bool = False,
    progress: Progress = silent,
) -> tuple[list[Example | None], Left]:
    """An ``Example`` a conversation (None: left out), and what became of those over ``length`` + 1 tokens.

    ``long``: ``cut`` them at the end (without the token that would end the reply; where that leaves no reply they are
    left out), or ``drop`` them. ``raw``: prompts and completions are joined as they are, without the chat template.
    ``last_reply``: learn each conversation's last reply alone. Raises ``TemplateError``, ``InputError``.
    """
    if loaded.tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of '{loaded.name}' has no token that ends a text, so replies would never end")
    found: list[Example | None] = []
    cut = out = 0
    for number, chat in enumerate(chats, 1):
        try:
            example: Example | None = _example(loaded, chat, raw, last_reply)
        except (InputError, TemplateError) as e:
            raise type(e)(f"{chat.where}: {e}") from e
        assert example is not None
        if len(example.ids) > length + 1:
            short = replace(example, ids=example.ids[: length + 1], learned=example.learned[: length + 1])
            example = short if long == "cut" and short.targets else None
            cut, out = cut + (example is not None), out + (example is None)
        found.append(example)
        progress("reading conversations", number, len(chats))
    return found, Left(cut, out)


def _example(loaded: LoadedModel, chat: Chat, raw: bool, last_reply: bool) -> Example:
    template = getattr(loaded.tokenizer, "chat_template", None)
    if chat.messages and not template:
        raise TemplateError(
            f"'{loaded.name}' has no chat template, so it cannot read messages: give prompts and completions, or "
            "a chat model"
        )
    if not chat.messages and (raw or not template):
        return _joined(loaded, chat)
    messages = chat.messages or (
        {"role": "user", "content": chat.prompt},
        {"role": ASSISTANT, "content": chat.completion},
    )
    return _templated(loaded, messages, last_reply)


def _joined(loaded: LoadedModel, chat: Chat) -> Example:
    """Prompt and completion one behind the other, with what the tokenizer puts before a text, and its end."""
    import numpy as np

    prompt = encode_prompt(loaded, chat.prompt, raw=True)
    reply = [*encode_target(loaded, prompt, chat.completion), int(loaded.tokenizer.eos_token_id)]
    ids = np.asarray([*prompt.ids, *reply], dtype=np.int64)
    return Example(ids, np.arange(len(ids)) >= len(prompt.ids), len(prompt.ids), chat.prompt)


def _templated(loaded: LoadedModel, messages: Sequence[dict[str, str]], last_reply: bool) -> Example:
    """The chat as its template renders it, up to the last token that is learned."""
    import numpy as np

    whole = _render(loaded, messages, prompt=False)
    segments = _up_to(loaded, follow_template(loaded, messages), whole)
    last = len(messages) - 1
    replies = [i for i, m in enumerate(messages) if m["role"] == ASSISTANT and (not last_reply or i == last)]
    spans = {i: _reply(loaded, messages, i, whole) for i in replies}
    pieces = _pieces(loaded.tokenizer, segments, [start for start, _ in spans.values()])
    said, ends = _contents(segments), end_tokens(loaded)
    learned = np.zeros(len(pieces), dtype=bool)
    stop = None
    for i, (start, end) in spans.items():
        stop = next((p.span[1] for p in pieces if said[i] <= p.span[0] < end and p.id in ends), None)
        learned |= [start <= p.span[0] and p.span[1] <= (stop or end) for p in pieces]
    ids = [p.id for p in pieces]
    if stop is None:  # a template that ends no reply: the last one ends as a text does
        ids, learned = [*ids, int(loaded.tokenizer.eos_token_id)], np.append(learned, True)
    count = int(learned.nonzero()[0][-1]) + 1
    prompt = sum(p.span[0] < spans[last][0] for p in pieces)
    asked = messages[last - 1]["content"]
    return Example(np.asarray(ids[:count], dtype=np.int64), learned[:count], prompt, asked)


def _render(loaded: LoadedModel, messages: Sequence[dict[str, str]], *, prompt: bool) -> str:
    """The messages as text; ``prompt``: up to where the assistant would begin."""
    try:
        text = loaded.tokenizer.apply_chat_template(
            [dict(m) for m in messages], tokenize=False, add_generation_prompt=prompt
        )
    except Exception as e:  # a template is a program of the model's maker, and may raise anything
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise TemplateError(f"the chat template of '{loaded.name}' refuses these messages: {reason}") from e
    return str(text)


def _reply(loaded: LoadedModel, messages: Sequence[dict[str, str]], i: int, whole: str) -> tuple[int, int]:
    """Where reply ``i`` and what ends it stand in ``whole``. Raises ``TemplateError`` where they do not."""
    before = _render(loaded, messages[:i], prompt=True)
    after = _render(loaded, messages[: i + 1], prompt=False)
    if not after.startswith(before):
        raise TemplateError(
            f"the chat template of '{loaded.name}' asks for reply {i} behind another text than the one that it puts "
            "before the reply when it is given: what is learned there would not be what is asked for"
        )
    if not whole.startswith(after):
        raise TemplateError(
            f"the chat template of '{loaded.name}' writes reply {i} differently once the chat goes on: give it each "
            "reply in a line of its own and learn last replies alone (--last-reply)"
        )
    return len(before), len(after)


def _up_to(loaded: LoadedModel, segments: list[Segment], whole: str) -> list[Segment]:
    """The segments without the beginning of another reply."""
    if not "".join(s.text for s in segments).startswith(whole):
        raise TemplateError(
            f"the chat template of '{loaded.name}' changes a chat when it asks for a reply: what is learned there "
            "would not be what is asked for"
        )
    return _slice(segments, 0, len(whole))


def _slice(segments: Sequence[Segment], start: int, end: int) -> list[Segment]:
    """Characters ``start`` to ``end`` of the joined segments."""
    found, at = [], 0
    for s in segments:
        a, b = max(start - at, 0), min(end - at, len(s.text))
        if a < b:
            found.append(replace(s, text=s.text[a:b], offset=s.offset + a))
        at += len(s.text)
    return found


def _contents(segments: Sequence[Segment]) -> dict[int, int]:
    """Where the text of each message ends."""
    found, at = {}, 0
    for s in segments:
        at += len(s.text)
        if s.message is not None:
            found[s.message] = at
    return found


@dataclass(frozen=True)
class _Piece:
    """A token and its characters in the rendered chat."""

    id: int
    span: tuple[int, int]


def _pieces(tokenizer: Any, segments: list[Segment], starts: Sequence[int]) -> list[_Piece]:
    """Tokens of the rendered chat. Where one would reach across a reply's beginning (two line breaks in one), the text
    is cut: the prompt that the reply is asked for with has a token of its own there."""
    found = [_Piece(p.id, p.span) for p in tokenize(tokenizer, segments)]
    begins = {p.span[0] for p in found}
    cuts = [s for s in starts if s not in begins]
    if not cuts:
        return found
    total = sum(len(s.text) for s in segments)
    found = []
    for a, b in zip([0, *cuts], [*cuts, total], strict=True):
        found += [_Piece(p.id, (p.span[0] + a, p.span[1] + a)) for p in tokenize(tokenizer, _slice(segments, a, b))]
    return found
