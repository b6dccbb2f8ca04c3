"""What a view is made of: a list of blocks, which the terminal, a page and a picture each draw in their way.

    blocks_of(result, "en")            # lens views (render/lensviews.py) make them
    [Heading("..."), Table(...), Heat(...), Lines([...])]

A result is put into blocks once; a new kind of result needs no new renderer, and a new output needs no new result.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heading:
    """A line that names what follows; the first of a view is its title."""

    text: str


@dataclass(frozen=True)
class Lines:
    """Sentences of their own; ``quiet``: beside the point."""

    lines: tuple[str, ...]
    quiet: bool = False


@dataclass(frozen=True)
class Cell:
    """``share`` 0 to 1 shades it (None: no shade); ``tip`` says more where there is a pointer; ``strong``: set off;
    ``token``: the text is a token's, whose blanks are to be seen."""

    text: str
    share: float | None = None
    tip: str = ""
    strong: bool = False
    token: bool = False


@dataclass(frozen=True)
class Table:
    """``columns``: their names, and which are numbers (set to the right)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    #: Columns beyond the first, fixed ones that a narrow terminal may leave out, from the left.
    grid: bool = False


@dataclass(frozen=True)
class Heat:
    """A text in its own line breaks, each part shaded by its share (None: not); those of the numbers in ``marks`` are
    set off, whatever their shade. ``code``: in letters of one width, where the output has several kinds."""

    parts: tuple[tuple[str, float | None, str], ...]
    marks: frozenset[int] = frozenset()
    code: bool = False


@dataclass(frozen=True)
class Matrix:
    """Shares 0 to 1 of ``columns`` in each of ``rows`` (None: there is none); ``name`` says what of."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]

    @property
    def most(self) -> float:
        """The largest share, which has the full colour."""
        return max((x for row in self.shares for x in row if x is not None), default=0.0)


@dataclass(frozen=True)
class Twig:
    """A node of a tree: its token, the parent's place among the twigs (-1: the root), what stands beside it, and how
    it is set: ``kept`` or dropped, on the ``best`` path, on the ``greedy`` one."""

    text: str
    parent: int
    depth: int
    note: str
    kept: bool
    best: bool
    greedy: bool
    total: float


@dataclass(frozen=True)
class Tree:
    """A beam search's tree; ``root`` names what it grows from."""

    root: str
    twigs: tuple[Twig, ...]


@dataclass(frozen=True)
class Node:
    """A token of a graph; ``second``: of the second row (the answer)."""

    text: str
    second: bool
    weight: float


@dataclass(frozen=True)
class Graph:
    """Edges (source, target, share 0 to 1, positive) between tokens in reading order."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int, float, bool], ...]
    labels: tuple[str, str] = field(default=("", ""))


@dataclass(frozen=True)
class Series:
    """A line of a chart: (x, y), by rising x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Lines over one x, which is a step of training; ``name`` says what y is."""

    name: str
    across: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Frames:
    """Views of one thing at several ``steps``, of which one is seen at a time: the last, until another is chosen.
    ``name`` is what is chosen by."""

    name: str
    steps: tuple[int, ...]
    frames: tuple[tuple[Heat | Table | Lines | Heading, ...], ...]


Element = Heading | Lines | Table | Heat | Matrix | Tree | Graph | Chart | Frames
