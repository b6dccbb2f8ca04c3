"""A query's text as one HTML file: the text itself, highlighted, line breaks kept.

    model.relevance("capital gains", text).save("r.html")

No script, no network: colours are classes under the page's own content security policy, every character of the text is
escaped, and each token's score stands in its title.
"""

from __future__ import annotations

from pellucid.relevance.result import Relevance
from pellucid.render.colors import NIGHT, Scale, contrast, hex_of
from pellucid.render.document import document, framed
from pellucid.render.html import escaped
from pellucid.render.relevance import made, notes, parts, scale_of, verdict
from pellucid.render.visible import visible

LEVELS = 20

_CSS = """
html { color-scheme: light dark; }
body { margin: 0 auto; max-width: 52rem; padding: 1rem; font: 1rem/1.7 system-ui, sans-serif; }
h1 { font-size: 1.125rem; margin: .5rem 0; overflow-wrap: anywhere; }
small { font-weight: 400; opacity: .75; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 1rem 0; }
.text span { border-radius: .15em; }
footer { font-size: .8125rem; opacity: .8; }
footer p { margin: .25rem 0; }
"""


def colours() -> str:
    """The classes of tokens, ``l1`` (weak) to ``l20`` (the largest), by the colour scheme of where they stand; a
    browser that knows no ``light-dark`` has the light ones."""
    steps = Scale(float(LEVELS), signed=False)
    rules = []
    for k in range(1, LEVELS + 1):
        light, dark = (_pair(steps.color(float(k), dark=dark)) for dark in (False, True))
        both = [
            f"{name}: light-dark({a}, {b})" for name, a, b in zip(("background", "color"), light, dark, strict=True)
        ]
        rules.append(f".l{k} {{ background: {light[0]}; color: {light[1]}; {'; '.join(both)}; }}")
    return "\n".join(rules) + "\n"


def _pair(back: tuple[int, int, int]) -> tuple[str, str]:
    """A background, and the ink that is read on it: black where neither night nor white has a contrast of 4.5."""
    ink = max((NIGHT, (255, 255, 255)), key=lambda t: contrast(back, t))
    return hex_of(back), hex_of(ink if contrast(back, ink) >= 4.5 else (0, 0, 0))


def page(found: Relevance) -> str:
    """One self-contained HTML document, light and dark."""
    css = _CSS + colours()
    foot = "".join(f"<p>{_both(a, b)}</p>" for a, b in zip(_lines(found, "en"), _lines(found, "zh"), strict=True))
    body = f"""<h1>{_both(verdict(found, "en"), verdict(found, "zh"))}</h1>
<div class="text">{_text(found)}</div>
<footer>{foot}</footer>"""
    return document(verdict(found, "en"), body, css=css, chinese=found.language == "zh")


def notebook(found: Relevance) -> str:
    """The page in a frame, as the output of a notebook cell."""
    return framed(page(found), 420)


def _lines(found: Relevance, lang: str) -> list[str]:
    return [*notes(found, lang), made(found, lang)]


def _both(english: str, chinese: str) -> str:
    return f'{escaped(english)} <small lang="zh-CN">{escaped(chinese)}</small>'


def _text(found: Relevance) -> str:
    steps = scale_of(found)
    out = []
    for part in parts(found):
        shown = visible(part.text).replace("↵\n", "\n").replace("⇥   ", "\t")
        level = 0 if part.score is None else round(LEVELS * steps.level(part.score))
        body = shown.lstrip()
        blank = shown[: len(shown) - len(body)]  # shading it too would blur where words begin
        if level and body:
            out.append(f'{escaped(blank)}<span class="l{level}" title="{part.score:.4g}">{escaped(body)}</span>')
        else:
            out.append(escaped(shown))
    return "".join(out)
