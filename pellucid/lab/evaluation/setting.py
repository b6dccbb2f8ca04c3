"""What every metric is told beside the texts: seed, language, and the models that some of them ask.

Setting(seed=0, language="auto", loaded=loaded)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.errors import unknown
from pellucid.models.load import LoadedModel

#: The texts of each prompt.
Texts = Sequence[Sequence[str]]
LANGUAGES = ("auto", "en", "zh")


@dataclass(frozen=True, eq=False)
class Setting:
    """``language`` decides how texts are split into words: ``en`` at blanks, ``zh`` by character, ``auto`` by what
    the references are. ``loaded`` is the model that is evaluated; ``encoder`` names the one BERTScore compares by."""

    seed: int = 0
    language: str = "auto"
    loaded: LoadedModel | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise unknown("language", self.language, list(LANGUAGES))
