"""Named parts of an answer in words: what mattered most for each alone.

span_lines(trace, "en")      # ["city “Paris”: “France” 0.41 · “capital” 0.22"]
"""

from __future__ import annotations

from dataclasses import replace

from pellucid.render.units import Unit, magnitude, ranked, source_units
from pellucid.render.visible import label
from pellucid.render.words import say, score_text
from pellucid.trace.result import NamedSpan, Trace

MOST = 5


def span_units(trace: Trace, span: NamedSpan) -> list[Unit]:
    """The user's tokens, or the trace's units, with the scores that they have for ``span`` alone."""
    if trace.units:
        pairs = zip(trace.units, span.unit_scores, strict=True)
        return [Unit(u.text, float(x), "user", u.message, u.tokens) for u, x in pairs]
    return source_units(replace(trace, total=span.total))


def span_lines(trace: Trace, lang: str) -> list[str]:
    """A line for each named span."""
    out = []
    for span in trace.spans:
        best = [u for u in ranked(span_units(trace, span))[:MOST] if magnitude(u) > 0]
        causes = " · ".join(
            f"“{_short(label(u.text).strip())}” {score_text(u.score, trace.method.signed)}" for u in best
        )
        out.append(say("named_span", lang, name=label(span.name), text=label(span.text.strip()), causes=causes or "–"))
    return out


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39].rstrip() + "…"
