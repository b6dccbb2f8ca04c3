"""Fonts for pictures: which of the installed ones can draw a text, and what to draw where none can.

    from pellucid.render.fonts import fonts_for
    fonts_for(["法国 🎉"]).drawable("法国 🎉")        # '法国 :party popper:' where no font has it

matplotlib draws text with a list of families, glyph by glyph. DejaVu Sans comes with it; a font for Chinese
and other scripts has to be installed, and is looked for by name first and then by what it holds. matplotlib
cannot draw colour emoji, so an emoji that no outline font has is shown by its Unicode name between colons; a
letter that none has is shown as □, with a note that says what to install. So no box or warning of
matplotlib's own ever appears.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from matplotlib.font_manager import FontEntry, FontProperties, findSystemFonts, fontManager, get_font, weight_dict

from pellucid.render.graphemes import clusters

BASE = "DejaVu Sans"
#: Families by preference; the first that is installed and has what is needed is taken.
PREFERRED = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans SC",
        "Source Han Sans SC",
        "Source Han Sans CN",
        "PingFang SC",
        "Microsoft YaHei",
    ),
    *(
        "Hiragino Sans GB",
        "Heiti SC",
        "STHeiti",
        "WenQuanYi Micro Hei",
        "WenQuanYi Zen Hei",
        "Droid Sans Fallback",
    ),
    *(
        "SimHei",
        "Noto Sans CJK JP",
        "Hiragino Sans",
        "Yu Gothic",
        "Malgun Gothic",
        "Apple SD Gothic Neo",
        "SimSun",
    ),
    *("Noto Emoji", "Symbola", "Segoe UI Symbol", "Segoe UI Emoji", "Apple Symbols", "Noto Sans Symbols2"),
    *("Arial Unicode MS", "Unifont"),
)
#: These draw a sign for "no glyph", or bitmaps that Agg cannot draw.
_USELESS = ("last resort", "lastresort", "color emoji")
#: How many further fonts are opened in search of a character.
_SEARCHED = 400
_UNSEEN = {0x200B, 0x200C, 0x200D, 0xFE0E, 0xFE0F, 0xFEFF}
BOX = "□"
_unreadable: set[str] = set()  # font files that could not be opened


@lru_cache(maxsize=1024)
def _code_points(path: str) -> frozenset[int]:
    """Code points that a font file has."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (RuntimeError, OSError):  # a face that FreeType cannot open
        return frozenset()


def _weight(font: FontEntry) -> int:
    return weight_dict.get(font.weight, 400) if isinstance(font.weight, str) else int(font.weight)


def _installed() -> dict[str, list[FontEntry]]:
    """Families with an upright regular face, the preferred first. Not cached: a notebook may add fonts."""
    families: dict[str, list[FontEntry]] = {}
    for font in fontManager.ttflist:
        families.setdefault(font.name, []).append(font)

    def useful(name: str) -> bool:
        return not any(u in name.lower() for u in _USELESS) and _regular(families[name]) is not None

    others = [n for n in families if n not in PREFERRED and n != BASE and useful(n)]
    # Sans-serif ones look like the rest of the picture.
    others.sort(key=lambda n: ("sans" not in n.lower(), n))
    names = [BASE, *(n for n in PREFERRED if n in families and useful(n)), *others[:_SEARCHED]]
    return {n: families[n] for n in names}


def _regular(faces: list[FontEntry]) -> FontEntry | None:
    return next((f for f in faces if f.style == "normal" and 390 <= _weight(f) <= 500), None)


def _is_cjk(char: str) -> bool:
    return unicodedata.category(char) == "Lo" and unicodedata.east_asian_width(char) in ("W", "F")


def _name(cluster: str) -> str:
    """What stands for a cluster that no font has."""
    if all(0x1F1E6 <= ord(c) <= 0x1F1FF for c in cluster):
        return ":flag " + "".join(chr(ord(c) - 0x1F1E6 + ord("A")) for c in cluster) + ":"
    if unicodedata.category(cluster[0])[0] in "LMN":
        return BOX
    parts = []
    for char in cluster:
        code = ord(char)
        if code in _UNSEEN or 0x1F3FB <= code <= 0x1F3FF or unicodedata.category(char).startswith("M"):
            continue
        if 0x2400 <= code <= 0x2421:  # the signs of ``visible`` for control characters
            return f"‹U+{0x7F if code == 0x2421 else code - 0x2400:04X}›"
        name = unicodedata.name(char, "")
        if not name:
            return f"‹U+{code:04X}›"
        parts.append(name.lower())
    return f":{'+'.join(parts)}:" if parts else ""


@dataclass
class Fonts:
    """A list of families, what they cover, and what turned out to be missing."""

    families: list[str]
    covered: frozenset[int]
    bold: bool = True  # whether all of them have a bold face; asking for one that is not there would log a warning
    missing_cjk: bool = False
    missing: set[str] = field(default_factory=set)

    def drawable(self, text: str) -> str:
        """``text`` with everything that these families cannot draw replaced."""
        if all(ord(c) in self.covered and ord(c) not in _UNSEEN for c in text):
            return text
        return "".join(self._cluster(c) for c in clusters(text))

    def _cluster(self, cluster: str) -> str:
        if cluster == "\n":
            return cluster
        seen = [c for c in cluster if ord(c) not in _UNSEEN]
        if "\u200d" not in cluster and all(ord(c) in self.covered for c in seen):
            return "".join(seen)
        if "\u200d" in cluster and all(unicodedata.category(c)[0] in "LM" for c in seen):
            # Letters keep their joiner out of sight: shapes differ a little, the letters stay.
            return "".join(self._cluster(c) for c in seen)
        name = _name(cluster)
        if name == BOX:
            self.missing_cjk |= _is_cjk(cluster[0])
            if not _is_cjk(cluster[0]):
                self.missing.add(cluster)
        return name

    def properties(self, size: float, *, bold: bool = False, italic: bool = False) -> FontProperties:
        """The families at a size in points."""
        return FontProperties(
            family=self.families,
            size=size,
            weight="bold" if bold and self.bold else "normal",
            style="italic" if italic else "normal",
            variant="normal",
            stretch="normal",
        )


def add_new() -> bool:
    """Tell matplotlib of fonts that were installed after it wrote its list of them, which it keeps on disk for good.
    Were there any?"""
    known = {font.fname for font in fontManager.ttflist}
    new = [path for path in findSystemFonts() if path not in known and path not in _unreadable]
    for path in new:
        try:
            fontManager.addfont(path)
        except (RuntimeError, OSError, UnicodeError):  # no font that FreeType opens
            _unreadable.add(path)
    return any(path not in _unreadable for path in new)


def fonts_for(texts: Iterable[str]) -> Fonts:
    """The families that these texts need: DejaVu Sans, and others for what it lacks."""
    wanted = {ord(c) for text in texts for c in text if not c.isspace()} - _UNSEEN
    found, lacking = _families(wanted)
    if any(unicodedata.category(chr(c))[0] == "L" for c in lacking) and add_new():
        found, _ = _families(wanted)
    return found


def _families(wanted: set[int]) -> tuple[Fonts, set[int]]:
    """The families for these code points, and what is lacking in all of them."""
    lacking = set(wanted)
    covered: set[int] = {0x20, 0xA0}
    taken: list[str] = []
    bold = True
    for family, faces in _installed().items():
        regular = _regular(faces)
        has = _code_points(regular.fname) if regular is not None else frozenset()
        if lacking & has or family == BASE:
            taken.append(family)
            covered |= has
            lacking -= has
            bold = bold and any(600 <= _weight(f) <= 800 for f in faces)
        if not lacking:
            break
    return Fonts(taken, frozenset(covered), bold), lacking
