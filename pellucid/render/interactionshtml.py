"""Interactions between units as one HTML file: each unit's own number, every pair as a map, and the largest sets.

    model.interactions("...", unit="sentence").save("pairs.html")

The page holds no script and asks the network for nothing; its colours are classes, because the content security policy
lets no style but its own in. Headings are in English and, small, in Chinese.
"""

from __future__ import annotations

from pellucid.render.colors import NIGHT, Scale, contrast, hex_of
from pellucid.render.html import escaped, hashed
from pellucid.render.visible import label, one_line
from pellucid.render.words import say, score_text
from pellucid.trace.interactions import Interaction, Interactions

#: Units in the map, sets in the list; more than one can read are left to the JSON file, and a sentence says so.
MOST, LISTED = 40, 30
LEVELS = 10

_CSS = """
html { color-scheme: light dark; }
body { margin: 0 auto; max-width: 74rem; padding: 1rem; font: .9375rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.125rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
small { font-weight: 400; opacity: .75; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: start; font-weight: 400; padding: .125rem .75rem .125rem 0; vertical-align: top; }
td.number { text-align: end; white-space: nowrap; padding-inline: .5rem; }
td.text { overflow-wrap: anywhere; white-space: pre-wrap; }
.map td { min-width: 2.25rem; text-align: center; padding: .25rem; font-size: .8125rem; border: 1px solid #8883; }
.map th { padding: .25rem .5rem; text-align: center; }
"""


def colours() -> str:
    """The classes of cells, ``l-10`` (fully against) to ``l10``, in light and in dark."""
    steps = Scale(float(LEVELS), signed=True)
    out = []
    for dark in (False, True):
        rules = []
        for k in range(-LEVELS, LEVELS + 1):
            back = steps.color(float(k), dark=dark)
            ink = max((NIGHT, (255, 255, 255)), key=lambda t: contrast(back, t))
            rules.append(f".l{k} {{ background: {hex_of(back)}; color: {hex_of(ink)}; }}")
        text = "\n".join(rules)
        out.append(f"@media (prefers-color-scheme: dark) {{\n{text}\n}}" if dark else text)
    return "\n".join(out) + "\n"


def pairs(found: Interactions) -> dict[tuple[int, int], float]:
    """The number of every two units, by their places, the smaller first."""
    return {(v.units[0], v.units[1]): v.value for v in found.values if len(v.units) == 2}


def shown(found: Interactions, most: int) -> list[int]:
    """Places of the units that are drawn: the ``most`` with the largest number, alone or in a pair."""
    size = [0.0] * len(found.units)
    for v in found.values:
        if len(v.units) <= 2:
            for u in v.units:
                size[u] = max(size[u], abs(v.value))
    return sorted(sorted(range(len(size)), key=lambda u: -size[u])[:most])


def together(found: Interactions, most: int) -> list[Interaction]:
    """The sets of two and more with the largest magnitudes."""
    return [v for v in found.top(len(found.values)) if len(v.units) > 1][:most]


def facts(found: Interactions, lang: str) -> str:
    """How the numbers were made, in a line."""
    how = say("exact" if found.exact else "estimated", lang, n=found.ablations)
    fit = "" if found.r2 is None else say("explained", lang, share=f"{100 * found.r2:.0f}")
    return say(
        "interactions_line",
        lang,
        index=found.index,
        how=how,
        fit=fit,
        whole=score_text(found.whole, True),
        none=score_text(found.none, True),
        seconds=f"{found.cost.seconds:.1f}",
    )


def page(found: Interactions) -> str:
    """One self-contained HTML document, light and dark."""
    answer = one_line((found.span.text if found.span else found.answer.text).strip())
    name = say("title", "en", model=one_line(found.model.name), part=answer)
    css = _CSS + colours()
    policy = f"default-src 'none'; style-src {hashed(css)}; base-uri 'none'; form-action 'none'"
    limit = max((abs(v.value) for v in found.values), default=0.0)
    body = [f"<h1>{escaped(name)}</h1>", f"<p>{_both_lines(found)}</p>", _units(found, limit)]
    if found.order > 1:
        body += [_map(found, limit), _sets(found)]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escaped(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escaped(f"Pellucid: {name}")}</title>
<style>{css}</style>
</head>
<body>
{"".join(body)}
</body>
</html>
"""


def _both(key: str, **values: object) -> str:
    return f'{escaped(say(key, "en", **values))} <small lang="zh-CN">{escaped(say(key, "zh", **values))}</small>'


def _both_lines(found: Interactions) -> str:
    return f'{escaped(facts(found, "en"))} <small lang="zh-CN">{escaped(facts(found, "zh"))}</small>'


def _level(value: float, limit: float) -> str:
    """The class of a number; the largest magnitude has the full colour."""
    return f"l{round(LEVELS * value / limit) if limit > 0 else 0}"


def _units(found: Interactions, limit: float) -> str:
    head = f'<th>#</th><th scope="col">{_both("unit_name")}</th><th scope="col">{_both("alone")}</th>'
    rows = "".join(
        f'<tr><th scope="row">{i + 1}</th><td class="text">{escaped(label(u.text))}</td>'
        f'<td class="number {_level(found[i], limit)}">{score_text(found[i], True)}</td></tr>'
        for i, u in enumerate(found.units)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _map(found: Interactions, limit: float) -> str:
    """Every pair beside its units: on the diagonal a unit's own number."""
    places, numbers = shown(found, MOST), pairs(found)
    head = "".join(f'<th scope="col">{i + 1}</th>' for i in places)
    rows = ""
    for i in places:
        cells = ""
        for j in places:
            value = found[i] if i == j else numbers[(min(i, j), max(i, j))]
            what = " × ".join(_short(found.units[k].text) for k in sorted({i, j}))
            cells += f'<td class="{_level(value, limit)}" title="{escaped(what)}">{score_text(value, True)}</td>'
        rows += f'<tr><th scope="row">{i + 1}</th>{cells}</tr>'
    left = (
        "" if len(places) == len(found.units) else f"<p>{_both('pairs_left', n=len(places), of=len(found.units))}</p>"
    )
    table = f'<div class="wide"><table class="map"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f"<h2>{_both('pairs')}</h2>{left}{table}</div>"


def _sets(found: Interactions) -> str:
    rows = "".join(
        f'<tr><th scope="row">{" × ".join(str(i + 1) for i in v.units)}</th>'
        f'<td class="number">{score_text(v.value, True)}</td>'
        f'<td class="text">{escaped(" × ".join(_short(found.units[i].text) for i in v.units))}</td></tr>'
        for v in together(found, LISTED)
    )
    return f"<h2>{_both('together')}</h2><table><tbody>{rows}</tbody></table>"


def _short(text: str, room: int = 80) -> str:
    text = label(text)
    return text if len(text) <= room else text[: room - 1].rstrip() + "…"
