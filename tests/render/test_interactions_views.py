"""Interactions as a page and as a picture: the numbers that are in the result, and nothing that could run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from pellucid.render.interactionshtml import LEVELS, page, shown
from pellucid.render.interactionspng import figure
from pellucid.trace.interactions import Interaction, Interactions, Piece
from pellucid.trace.result import Answer, Cost, ModelInfo, Prompt


def made(texts: list[str], order: int = 2, answer: str = "Paris") -> Interactions:
    """A result with numbers of its own, drawn by a seed."""
    draw = np.random.default_rng(0)
    sets = [s for size in range(1, order + 1) for s in combinations(range(len(texts)), size)]
    values = tuple(Interaction(s, round(float(draw.normal()), 2)) for s in sets)
    ends = np.cumsum([len(t) for t in texts])
    units = tuple(
        Piece(f"s{k}", t, int(e) - len(t), int(e), None) for k, (t, e) in enumerate(zip(texts, ends, strict=True))
    )
    return Interactions(
        model=ModelInfo("m", "folder", None, "float32", "cpu", 1),
        prompt=Prompt("".join(texts), None, "".join(texts), True),
        answer=Answer(answer, True),
        span=None,
        objective="logprob",
        reduce="sum",
        unit="sentence",
        units=units,
        index="SII",
        order=order,
        values=values,
        whole=-1.0,
        none=-9.0,
        exact=True,
        r2=None,
        ablations=2 ** len(texts),
        budget=512,
        replace="remove",
        precision="full",
        seed=0,
        cost=Cost(1.0, 8, 0, 0),
        versions={},
        created="2026-11-24T00:00:00+00:00",
    )


class _Cells(HTMLParser):
    """The cells of the map: their class and text."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self._inside = self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        assert "style" not in found
        assert not any(name.startswith("on") for name in found)
        if tag == "table":
            self._inside = found.get("class") == "map"
        self._cell = self._inside and tag == "td" and "class" in found
        if self._cell:
            self.cells.append((found["class"] or "", ""))

    def handle_endtag(self, tag: str) -> None:
        self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.cells[-1] = (self.cells[-1][0], self.cells[-1][1] + data)


def test_the_map_holds_every_pair_twice_and_each_unit_once() -> None:
    found = made(["One. ", "Two. ", "Three."])
    seen = _Cells()
    seen.feed(page(found))
    values = [float(text.replace("−", "-")) for _, text in seen.cells]
    wanted = [found[i] if i == j else found[(i, j)] for i in range(3) for j in range(3)]
    assert values == wanted
    limit = max(abs(v.value) for v in found.values)
    assert [c for c, _ in seen.cells] == [f"l{round(LEVELS * v / limit)}" for v in wanted]


def test_text_of_the_prompt_stays_text() -> None:
    bad = '</style><script>alert("x")</script> <img src=x onerror=alert(1)>. '
    text = page(made([bad, "Two. ", "三。"], answer=bad))
    seen = _Cells()
    seen.feed(text)
    assert not {"script", "img", "link", "iframe"} & seen.tags
    assert "default-src &#x27;none&#x27;" in text
    assert not re.search(r"https?://", text)


def test_one_unit_and_sets_of_three() -> None:
    alone = _Cells()
    alone.feed(page(made(["One."], order=1)))
    assert alone.cells == []
    assert "1 × 2 × 3" in page(made(["One. ", "Two. ", "Three."], order=3))


def test_too_many_units_for_a_map_are_said() -> None:
    found = made([f"Sentence {k}. " for k in range(45)])
    places = shown(found, 40)
    assert len(places) == 40
    sizes = [max(abs(v.value) for v in found.values if k in v.units) for k in range(45)]
    assert min(sizes[k] for k in places) >= max(s for k, s in enumerate(sizes) if k not in places)
    assert "40 of 45 units are drawn" in page(found)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_picture_holds_the_numbers(lang: str, tmp_path: Path) -> None:
    found = made(["One. ", "Two $x$. ", "Three."])
    fig = figure(found, lang=lang)
    texts = [t.get_text().replace("−", "-") for t in fig.findobj(Text)]
    for v in found.values:
        assert any(t.startswith(f"{v.value:+.3g}"[:4]) for t in texts), v
    canvas = fig.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    assert (pixels[..., :3] != 255).any(-1).mean() > 0.01
    written = found.save(tmp_path / "i.png").read_bytes()
    assert written.startswith(b"\x89PNG")


def test_equal_numbers_of_nothing_are_drawn() -> None:
    found = made(["One. ", "Two."])
    empty = replace(found, values=tuple(Interaction(v.units, 0.0) for v in found.values))
    assert "l0" in page(empty)
    figure(empty, lang="en")
