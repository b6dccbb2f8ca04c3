"""The frame of a page that loads nothing from anywhere: its policy allows its own style and script alone, by their
hashes.

document("Title", "<h1>...</h1>", css=css, js=js, chinese=False)
"""

from __future__ import annotations

from pellucid.render.html import attribute, escaped, hashed


def document(title: str, body: str, *, css: str, js: str = "", chinese: bool = False) -> str:
    """A whole HTML document; ``title`` is escaped, ``body`` is markup."""
    script = f" script-src {hashed(js)};" if js else ""
    policy = f"default-src 'none'; style-src {hashed(css)};{script} base-uri 'none'; form-action 'none'"
    return f"""<!DOCTYPE html>
<html lang="{"zh-CN" if chinese else "en"}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escaped(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escaped("Pellucid: " + title)}</title>
<style>{css}</style>
</head>
<body>
{body}
{f"<script>{js}</script>" if js else ""}
</body>
</html>
"""


def framed(page: str, height: int) -> str:
    """A page as the output of a notebook cell, so many pixels high."""
    return (
        f'<iframe data-pellucid title="Pellucid" srcdoc="{attribute(page)}" '
        f'style="width:100%;height:{height}px;border:0;background:Canvas"></iframe>'
    )
