"""How long each step of a command took: ``--timings``.

pellucid explain --timings "What is the capital of France?"
"""

from __future__ import annotations

import sys
import time


class Steps:
    """Wall time of each step, in order."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = [("arguments", time.perf_counter())]

    def begin(self, name: str) -> None:
        """The next step begins."""
        self.marks.append((name, time.perf_counter()))

    def end(self, generating: float) -> None:
        """Print all on standard error; ``generating`` seconds of the step 'explain' were the answer's."""
        self.begin("")
        spent = {a: u - t for (a, t), (_, u) in zip(self.marks, self.marks[1:], strict=False)}
        spent["explain"] -= generating
        names = {"explain": f"generate {generating:.2f} s, explain and trust"}
        parts = [f"{names.get(name, name)} {seconds:.2f} s" for name, seconds in spent.items()]
        whole = self.marks[-1][1] - self.marks[0][1]
        print(f"{', '.join(parts)}: {whole:.2f} s in all", file=sys.stderr)
