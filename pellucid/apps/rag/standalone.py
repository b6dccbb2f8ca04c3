"""Questions over several turns: each is made to stand by itself, searched for, and answered with its citations.

    talk = Conversation(model, Knowledge.open("kb"))
    talk.ask("Who designed the Brindle Bridge?")
    talk.ask("And when did it open?").standalone      # "When did the Brindle Bridge open?"

``ask(..., history=talk.turns)`` does the same for one question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.apps.rag.ask import ask
from pellucid.apps.rag.cited import Cited
from pellucid.apps.rag.passage import Searcher
from pellucid.apps.rag.rewriting import Turn
from pellucid.apps.speaker import Speaker, speaker

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.models.load import LoadedModel


class Conversation:
    """A talk with one model over one index. ``turns`` holds each question as it was searched for, and its answer."""

    def __init__(self, model: Model | LoadedModel | Speaker, knowledge: Searcher, **options: Any) -> None:
        """``options`` go to every ``ask``."""
        self._me, self._knowledge, self._options = speaker(model), knowledge, options
        self.turns: list[Turn] = []

    def ask(self, question: str, **options: Any) -> Cited:
        """The answer, and the turn is kept. Options and errors as of ``pellucid.apps.rag.ask``."""
        found = ask(self._me, self._knowledge, question, **{**self._options, **options, "history": self.turns})
        self.turns.append(Turn(found.standalone, found.answer))
        return found

    def forget(self) -> None:
        """Begin anew."""
        self.turns.clear()
