"""Interactions between units in the terminal: the units, then the sets with the largest numbers.

model.interactions("...", unit="sentence").show()
"""

from __future__ import annotations

from pellucid.render.interactionshtml import facts
from pellucid.render.listing import table
from pellucid.render.visible import label, one_line
from pellucid.render.words import chosen, say, score_text
from pellucid.trace.interactions import Interactions

_LONG = 60


def show(found: Interactions, *, k: int = 20, lang: str | None = None) -> None:
    """Print the units and the ``k`` sets with the largest magnitudes."""
    lang = chosen(lang)
    answer = one_line((found.span.text if found.span else found.answer.text).strip())
    table(
        say("title", lang, model=one_line(found.model.name), part=_short(answer)),
        ("#", say("unit_name", lang), say("alone", lang)),
        [(str(i + 1), _short(label(u.text)), score_text(found[i], True)) for i, u in enumerate(found.units)],
    )
    if found.order > 1:
        together = [v for v in found.top(len(found.values)) if len(v.units) > 1][:k]
        table(
            say("together", lang),
            ("#", say("unit_name", lang), say("score", lang)),
            [
                (
                    " × ".join(str(i + 1) for i in v.units),
                    " × ".join(_short(label(found.units[i].text), _LONG // len(v.units)) for i in v.units),
                    score_text(v.value, True),
                )
                for v in together
            ],
        )
    print(facts(found, lang))


def _short(text: str, room: int = _LONG) -> str:
    return text if len(text) <= room else text[: room - 1].rstrip() + "…"
