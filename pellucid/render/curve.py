"""A run's loss as a picture.

from pellucid.render.curve import save_curve
save_curve(curve, Path("runs/mine/loss.png"))
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from pellucid.lab.curve import Curve
from pellucid.render.colors import BLUE_ON_PAPER, ORANGE_ON_PAPER, hex_of
from pellucid.render.fonts import fonts_for

DPI = 144
SMOOTH = 0.98  # of the training loss's line: an exponential mean over about 50 steps


def save_curve(curve: Curve, path: Path) -> None:
    """Draw training loss (faint, and smoothed) and held-out loss by step; written under another name and renamed."""
    fonts = fonts_for([curve.name])
    figure = Figure(figsize=(8, 4.5), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    blue, orange = hex_of(BLUE_ON_PAPER), hex_of(ORANGE_ON_PAPER)
    if curve.loss:
        steps, losses = zip(*curve.loss, strict=True)
        axes.plot(steps, losses, color=blue, alpha=0.25, linewidth=0.8)
        axes.plot(steps, smoothed(losses), color=blue, linewidth=1.6, label="training")
    if curve.held_out:
        steps, losses = zip(*curve.held_out, strict=True)
        axes.plot(steps, losses, color=orange, marker="o", markersize=4, linewidth=1.6, label="held out")
        axes.annotate(
            f"{losses[-1]:.3f}", (steps[-1], losses[-1]), xytext=(0, 8), textcoords="offset points", ha="center"
        )
    axes.set_title(fonts.drawable(curve.name), fontproperties=fonts.properties(12, bold=True, italic=False))
    axes.set_xlabel("step")
    axes.set_ylabel("nats a token")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if curve.loss:
        axes.legend(frameon=False)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(path)


def smoothed(values: tuple[float, ...]) -> list[float]:
    """An exponential mean, corrected for its start."""
    out, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = SMOOTH * mean + (1 - SMOOTH) * value
        weight = SMOOTH * weight + (1 - SMOOTH)
        out.append(mean / weight)
    return out
