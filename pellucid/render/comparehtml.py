"""Several methods as one HTML file: how far they agree, then the interactive view of each, one under the other.

    model.compare("What is the capital of France?").save("compare.html")

Each panel is the component that a single trace has, with its own data; the page is as safe and self-contained as that
one (see ``html``). Headings are in English and, small, in Chinese: the panels switch language by themselves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pellucid.render.html import attribute, document, embedded, escaped, static
from pellucid.render.words import compare_title, say, share_text
from pellucid.trace.compare import Comparison

_CSS = """
.comparison { max-width: 74rem; margin: 0 auto; padding: 1rem; font: .9375rem/1.5 system-ui, sans-serif; }
.comparison h1 { font-size: 1.125rem; margin: .5rem 0; overflow-wrap: anywhere; }
.comparison h2 { font-size: 1rem; margin: 1rem 0 .25rem; }
.comparison small { font-weight: 400; opacity: .75; }
.comparison .wide { overflow-x: auto; }
.comparison table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.comparison caption { text-align: start; padding: .5rem 0 .125rem; }
.comparison th { text-align: start; font-weight: 500; padding: .125rem 1.25rem .125rem 0; }
.comparison td { text-align: end; padding: .125rem 1.25rem .125rem 0; }
.panel { border-top: 1px solid #8884; }
.panel > h2 { max-width: 74rem; margin: 0 auto; padding: 1rem 1rem 0; font: 600 1rem/1.5 system-ui, sans-serif; }
.panel pellucid-trace { min-height: 0; }
"""


def page(comparison: Comparison) -> str:
    """One self-contained HTML document with a panel a method."""
    a = comparison.agreement
    tables = ""
    if len(comparison.traces) > 1:
        facts = {"spearman": {"n": a.entries}, "overlap": {"k": a.top_k}}
        matrices = {"spearman": a.spearman, "overlap": a.overlap}
        tables = f"<h2>{_both('agreement')}</h2>" + "".join(
            _table(_both(key, **facts[key]), a.methods, matrix) for key, matrix in matrices.items()
        )
    panels = "\n".join(
        f'<section class="panel"><h2>{escaped(t.method.name)}</h2>'
        f'<pellucid-trace><script type="application/json">{embedded(t)}</script></pellucid-trace>'
        f"<noscript>{static(t)}</noscript></section>"
        for t in comparison.traces
    )
    name = compare_title(comparison.traces, "en")
    head = f'<div class="comparison"><h1>{escaped(name)}</h1>{tables}<p>{_both("shaded_alone")}</p></div>'
    return document(f"Pellucid: {name}", f"{head}\n{panels}", _CSS)


def notebook(comparison: Comparison) -> str:
    """The page as the HTML output of a notebook cell, in a frame as a trace's is."""
    return (
        '<div style="position:relative;width:100%;height:640px;overflow:auto">'
        f"<p>{escaped(compare_title(comparison.traces, 'en'))}<br>Trust this notebook to see the traces themselves.</p>"
        f'<iframe data-pellucid title="Pellucid" srcdoc="{attribute(page(comparison))}" '
        'style="position:absolute;left:0;top:0;width:100%;height:100%;border:0;background:Canvas"></iframe></div>'
    )


def _both(key: str, **facts: object) -> str:
    """A sentence in both languages."""
    return f'{escaped(say(key, "en", **facts))} <small lang="zh-CN">{escaped(say(key, "zh", **facts))}</small>'


def _table(caption: str, names: tuple[str, ...], values: npt.NDArray[np.float64]) -> str:
    """A table of pairs; ``caption`` is markup."""
    head = "".join(f'<th scope="col">{escaped(n)}</th>' for n in names)
    body = "".join(
        f'<tr><th scope="row">{escaped(n)}</th>' + "".join(f"<td>{share_text(float(x))}</td>" for x in row) + "</tr>"
        for n, row in zip(names, values, strict=True)
    )
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
