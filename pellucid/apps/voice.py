"""A real model as a speaker: what it writes, with the keys and values of what it has read kept between turns.

    me = ModelSpeaker(loaded)
    me.write(messages).text

Models without a chat template read the messages as one text: contents with blank lines between them, roles named where
there is more than one turn. Encoder-decoders write through transformers' ``generate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.apps.speaker import Decoding, Messages, OnText, Said
from pellucid.errors import ContextError, InputError, OptionError
from pellucid.models.encode import encode, encode_target
from pellucid.models.load import LoadedModel
from pellucid.progress import Progress, silent
from pellucid.trace.result import ModelInfo, Trace

_BETWEEN = "\n\n"


def flat(messages: Messages) -> tuple[str, list[int]]:
    """The messages as one text, and where each content begins in it."""
    turns = sum(m["role"] != "system" for m in messages) > 1
    text, begins = "", []
    for m in messages:
        text += _BETWEEN if text else ""
        text += f"{m['role'].capitalize()}: " if turns else ""
        begins.append(len(text))
        text += m["content"]
    return (text + f"{_BETWEEN}Assistant:" if turns else text), begins


class ModelSpeaker:
    """See ``Speaker``. ``kept`` is what was read last, for the next turn to go on from."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._kept: Any = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.loaded.name

    @property
    def context(self) -> int | None:
        """The longest prompt with answer, in tokens."""
        return self.loaded.context

    @property
    def info(self) -> ModelInfo:
        """What results say of it."""
        from pellucid.trace.provenance import model_info

        return model_info(self.loaded)

    @property
    def chats(self) -> bool:
        """It reads messages."""
        return self.loaded.kind != "seq2seq" and bool(getattr(self.loaded.tokenizer, "chat_template", None))

    def prompt(self, messages: Messages) -> str | Messages:
        """What the engine is given."""
        if not self.chats:
            return flat(messages)[0]
        return [dict(m) for m in messages]

    def count(self, messages: Messages) -> int:
        """Tokens of the prompt."""
        return len(encode(self.loaded, self.prompt(messages)).ids)

    def write(
        self,
        messages: Messages,
        decoding: Decoding = Decoding(),  # noqa: B008  # frozen
        *,
        on_text: OnText | None = None,
        progress: Progress = silent,
    ) -> Said:
        """See ``Speaker``."""
        from pellucid.apps.stepping import generated, stepped

        if decoding.max_new_tokens < 1:
            raise OptionError(f"max_new_tokens should be at least 1, given {decoding.max_new_tokens}")
        ids = encode(self.loaded, self.prompt(messages)).ids
        limit = self.loaded.context
        if self.loaded.kind == "seq2seq":
            return generated(self.loaded, ids, decoding, on_text=on_text, progress=progress)
        if limit is not None and len(ids) >= limit:
            raise ContextError(
                f"the prompt is {len(ids)} tokens and '{self.name}' reads {limit} with the answer: shorten it"
            )
        room = decoding.max_new_tokens if limit is None else min(decoding.max_new_tokens, limit - len(ids))
        kept, self._kept = self._kept, None  # what an interrupt leaves in the middle of a step is not gone on from
        said, self._kept = stepped(self.loaded, ids, decoding, room, kept, on_text=on_text, progress=progress)
        return said

    def logprobs(
        self, prompts: Sequence[Messages], answers: Sequence[str], *, progress: Progress = silent
    ) -> list[list[float]]:
        """See ``Speaker``. One pass a prompt; equal beginnings are not shared."""
        import torch

        from pellucid.trace.objective import objective
        from pellucid.trace.runs import run_class

        found = []
        for k, (messages, answer) in enumerate(zip(prompts, answers, strict=True)):
            progress("weighing", k, len(prompts))
            encoded = encode(self.loaded, self.prompt(messages))
            ids = encode_target(self.loaded, encoded, answer)
            limit = self.loaded.context
            if limit is not None and len(encoded.ids) + len(ids) > limit and self.loaded.kind != "seq2seq":
                raise ContextError(
                    f"prompt and answer are {len(encoded.ids)} + {len(ids)} tokens and '{self.name}' reads {limit}: "
                    "shorten them"
                )
            run = run_class(self.loaded)(self.loaded, encoded.ids, ids, objective("logprob"))
            with torch.no_grad():
                logits = run.logits_after([encoded.ids])[0]  # [targets, vocabulary]
            logp = torch.log_softmax(logits.double(), -1)
            found.append([float(logp[i, t]) for i, t in enumerate(ids)])
        progress("weighing", len(prompts), len(prompts))
        return found

    def explain(self, messages: Messages, answer: str | None = None, **options: Any) -> Trace:
        """See ``Speaker``."""
        from pellucid.trace.explain import explain

        prompt = self.prompt(messages)
        if isinstance(prompt, str) and "unit" in options:
            options["unit"] = _flat_unit(options["unit"], messages)
        return explain(self.loaded, prompt, answer, **options)


def _flat_unit(unit: Any, messages: Messages) -> Any:
    """Parts (message, start, end) as (start, end) of the one text."""
    if isinstance(unit, str) or not isinstance(unit, Sequence | Mapping):
        return unit
    begins = flat(messages)[1]

    def there(part: Any) -> Any:
        if len(part) != 3:
            return part
        message, start, end = part
        if not 0 <= message < len(begins):
            raise InputError(f"there is no message {message}: expected 0 to {len(begins) - 1}")
        return (begins[message] + start, begins[message] + end)

    if isinstance(unit, Mapping):
        return {name: there(part) for name, part in unit.items()}
    return [there(part) for part in unit]
