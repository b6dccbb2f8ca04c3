"""The prompt that an answer is made from: numbered passages, then the question; and where each passage stands in it.

    asked = passages_prompt("How old is it?", ["It is 12 years old.", "It is red."])
    asked.messages; asked.places[0]        # (message, start, end) of passage 1, its number too

Passages stand in order, the best last, next to the question: small models read what is near (docs/decisions.md). A
template of one's own has ``{passages}`` and ``{question}`` once each. What the passages give is measured against the
same prompt with one passage about nothing (``neutral``): a prompt without any would be another task, and any passage at
all makes an answer in its style likelier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.errors import OptionError
from pellucid.relevance.prompts import NEUTRAL, language_of

#: By language: with passages, and the same with none.
TEMPLATES = {
    "en": "{passages}\n\nQuestion: {question}",
    "zh": "{passages}\n\n问题：{question}",
}
#: After it, where a model goes on with a text and reads no messages.
CUE = {"en": "\nAnswer:", "zh": "\n回答："}
BETWEEN = "\n\n"


@dataclass(frozen=True)
class Asked:
    """``places`` [passages]: (message, start, end) of each in the messages, in the order in which they were given, its
    number included; ``bodies``: the same without the number; ``neutral``: the messages with one about nothing."""

    messages: list[dict[str, str]]
    places: tuple[tuple[int, int, int], ...]
    bodies: tuple[tuple[int, int, int], ...]
    neutral: list[dict[str, str]]
    language: str


def check_template(template: str) -> None:
    """Raise ``OptionError`` unless it has ``{passages}`` and ``{question}`` once each."""
    for name in ("{passages}", "{question}"):
        if template.count(name) != 1:
            raise OptionError(
                f"the template should hold {name} once, and does so {template.count(name)} times: {template[:80]!r}"
            )


def passages_prompt(
    question: str,
    texts: Sequence[str],
    *,
    template: str | None = None,
    system: str | None = None,
    numbers: Sequence[int] | None = None,
    cue: bool = False,
) -> Asked:
    """The messages for ``texts`` [passages], best first, numbered from 1 (or by ``numbers``). ``cue``: for a model that
    reads no messages, unless there is a template. Raises ``OptionError`` for one without its places."""
    language = language_of(question, *texts[:1])
    frame = TEMPLATES[language] + (CUE[language] if cue else "") if template is None else template
    check_template(frame)
    before, after = frame.split("{passages}")
    head = before.replace("{question}", question)
    block, spans = "", {}
    for k in reversed(range(len(texts))):
        block += BETWEEN if block else ""
        label = f"[{k + 1 if numbers is None else numbers[k]}] "
        spans[k] = (len(block), len(block) + len(label), len(block) + len(label) + len(texts[k]))
        block += label + texts[k]
    content = head + block + after.replace("{question}", question)
    first = [] if system is None else [{"role": "system", "content": system}]
    nothing = f"{head}[1] {NEUTRAL[language]}{after.replace('{question}', question)}"
    at, shift = len(first), len(head)
    return Asked(
        [*first, {"role": "user", "content": content}],
        tuple((at, shift + spans[k][0], shift + spans[k][2]) for k in range(len(texts))),
        tuple((at, shift + spans[k][1], shift + spans[k][2]) for k in range(len(texts))),
        [*first, {"role": "user", "content": nothing}],
        language,
    )
