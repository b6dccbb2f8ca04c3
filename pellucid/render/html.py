"""A trace as one HTML file, and as the output of a notebook cell.

    Path("t.html").write_text(page(trace), encoding="utf-8")

Both hold the trace's own JSON and draw it with ``assets/view.js``, the component that the web page uses too. The file
asks the network for nothing, and its content security policy lets only that one script run, by its hash: text of a
user or a model is data, and stays data. Where scripts are off, a table says the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape as _html_escape
from importlib import resources

from pellucid.trace.result import FRAME_ROLES, Trace

# Style of the document around the component, and of the table for readers without scripts.
_PAGE_CSS = """
html { color-scheme: light dark; }
body { margin: 0; }
pellucid-trace { min-height: 100vh; }
noscript { display: block; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif; }
noscript .text { white-space: pre-wrap; overflow-wrap: anywhere; }
noscript table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
noscript caption { text-align: start; font-weight: 600; padding: 1rem 0 .25rem; }
noscript th, noscript td { text-align: start; padding: .1rem 1.25rem .1rem 0; white-space: pre-wrap; }
"""

_JSON_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")  # cannot be written in HTML or UTF-8


@cache
def asset(name: str) -> str:
    """The text of a file in ``assets``, with line ends that no HTML parser changes (its hash must hold)."""
    text = resources.files("pellucid.render").joinpath("assets").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def page(trace: Trace) -> str:
    """One self-contained HTML document: no network, no other file, light and dark, English and Chinese."""
    body = (
        f'<pellucid-trace page><script type="application/json">{embedded(trace)}</script></pellucid-trace>\n'
        f"<noscript>{static(trace)}</noscript>"
    )
    return document(title(trace), body)


def document(name: str, body: str, css: str = "") -> str:
    """A document with the component's script and style around ``body``; ``name`` is text, ``css`` further style."""
    script, style, own = asset("view.js"), asset("view.css"), _PAGE_CSS + css
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashed(script)}",
            f"style-src {hashed(own)} {hashed(style)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    # The style of the component is data here (type text/plain): view.js gives it to its shadow root.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escaped(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escaped(name)}</title>
<style>{own}</style>
<script type="text/plain" id="pellucid-css">{style}</script>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


def notebook(trace: Trace) -> str:
    """The page as the HTML output of a notebook cell.

    A frame, because a notebook inserts outputs as markup (whose scripts would not run), and keeps several in one
    document. The frame sets the height of the box around it; where it may not, the box scrolls. Under the frame lies a
    sentence that is seen only where the frame is taken away: in a notebook that is not trusted, and on web hosts.
    """
    best = ", ".join(f"{escaped(t.text)} {t.score:.3g}" for t in trace.top(5))
    return (
        '<div style="position:relative;width:100%;height:640px;overflow:auto">'
        f"<p>Answer: {escaped(trace.answer.text)}<br>Strongest tokens of the prompt: {best}<br>"
        "Trust this notebook to see the trace itself.</p>"
        f'<iframe data-pellucid title="{escaped(title(trace))}" srcdoc="{attribute(page(trace))}" '
        'style="position:absolute;left:0;top:0;width:100%;height:100%;border:0;background:Canvas"></iframe></div>'
    )


def title(trace: Trace) -> str:
    answer = " ".join(trace.answer.text.split())
    return f"Pellucid: {answer[:60]}{'…' if len(answer) > 60 else ''}"


def hashed(text: str) -> str:
    """The hash of an inline style or script, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def embedded(trace: Trace) -> str:
    """The trace as JSON that no HTML parser can take for anything else: ``<`` is written ``\\u003c``, and so on."""
    text = json.dumps(trace.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _JSON_UNSAFE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def escaped(text: str) -> str:
    """Text for HTML, in an element or between double quotes."""
    return _html_escape(_NO_CHARACTER.sub("\ufffd", text))


def attribute(markup: str) -> str:
    """A whole document between double quotes: only these two characters could end or change it there."""
    return markup.replace("&", "&amp;").replace('"', "&quot;")


def _characters(places: Sequence[tuple[int | None, int | None, int | None]]) -> list[tuple[int, int]]:
    """Runs [first, last) of tokens, where byte-level pieces of one character are one run.

    ``places`` holds the message, start and end of each token. Pieces carry equal offsets, or overlapping ones where the
    first of them holds the blank before the character too.
    """
    runs: list[tuple[int, int]] = []
    before: tuple[int | None, int | None, int | None] = (None, None, None)
    for i, place in enumerate(places):
        (_, a, b), (_, start, end) = before, place
        near = runs and place[0] == before[0]
        if near and None not in (a, b, start, end) and (before == place or a <= start < b):  # type: ignore[operator]
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((i, i + 1))
        before = place
    return runs


def static(trace: Trace) -> str:
    """The trace for readers without scripts: answer, trust and the scores as tables."""
    total = [float(x) for x in trace.total]
    sources = (
        (a, trace.sources[a].text, trace.sources[a].role, _score(sum(total[a:b]), trace.method.signed))
        for a, b in _characters([(s.message, s.start, s.end) for s in trace.sources])
    )
    firsts = [a for a, _ in _characters([(None, t.start, t.end) for t in trace.targets])]
    targets = (
        (a, t.text, f"{t.prob:.3f}", t.rank, f"{t.entropy:.3g}") for a, t in ((a, trace.targets[a]) for a in firsts)
    )
    frame = any(s.role in FRAME_ROLES for s in trace.sources)
    return (
        "<h1>What made the model say this</h1><p>Scripts are off: this is the same as tables.</p>"
        f'<p class="text"><b>Answer:</b> {escaped(trace.answer.text)}</p>'
        f"<p>{escaped(_trust(trace))}</p>"
        f"<p>{escaped(trace.model.name)}, {escaped(trace.method.name)}, {escaped(trace.objective)}"
        f"{', with the tokens of the chat template' if frame else ''}</p>"
        + _table("Prompt", ("#", "token", "role", "score"), sources)
        + _table("Answer", ("#", "token", "probability", "rank", "entropy (nats)"), targets)
    )


def _score(value: float, signed: bool) -> str:
    if value != value:
        return "not seen"
    return f"{value:+.3g}" if signed else f"{value:.3g}"


def _trust(trace: Trace) -> str:
    trust = trace.trust
    if trust is None:
        return f"Trust was not measured{f': {trace.trust_note}' if trace.trust_note else ''}."

    def fall(x: float) -> str:
        return f"{'raised' if x < 0 else 'lowered'} %s by {abs(x):.3g} nats"

    if trust.top_drop <= trust.random_drop:
        verdict = " No better than chance: do not rely on these scores."
    else:
        verdict = "" if trust.ratio is None else f" That is {trust.ratio:.3g} times the effect of chance."
    return (
        f"How far to trust it: taking out the {trust.removed} highest-scored of {trust.candidates} prompt tokens "
        f"{fall(trust.top_drop) % 'the log-probability of the answer'} per token. Taking out as many at random "
        f"{fall(trust.random_drop) % 'it'} (mean of {len(trust.random_drops)}).{verdict}"
    )


def _table(caption: str, names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f'<th scope="col">{escaped(n)}</th>' for n in names)
    body = "".join("<tr>" + "".join(f"<td>{escaped(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
