"""The user's handle: ``load`` a model, then ask it. One thin method a room; nothing is computed here.

import pellucid
model = pellucid.load("smollm2-135m-instruct")
model.explain("What is the capital of France?").show()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from pellucid.models.catalog import DEFAULT
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pellucid.apps.chat.chat import Chat
    from pellucid.apps.classification import Classification
    from pellucid.apps.code import Coded
    from pellucid.apps.generation import Generation
    from pellucid.apps.question import Answered
    from pellucid.apps.rag.cited import Cited
    from pellucid.apps.rag.passage import Searcher
    from pellucid.apps.translation import Translation
    from pellucid.apps.writing.result import Written
    from pellucid.lens.arrays import Arrays
    from pellucid.lens.results import Anatomy, Decodings, LogitLens, NextTokens, Positions, Surprisal
    from pellucid.lens.tuned import TunedLens
    from pellucid.models.load import LoadedModel
    from pellucid.relevance.result import Relevance
    from pellucid.trace.compare import Comparison
    from pellucid.trace.faithful import Report
    from pellucid.trace.interactions import Interactions
    from pellucid.trace.objective import Function
    from pellucid.trace.reference import Part
    from pellucid.trace.result import Trace
    from pellucid.trace.units import Kind

Prompt = str | Sequence[Mapping[str, str]] | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model. ``loaded`` is what the rooms' own functions take: network, tokenizer, name, device."""

    loaded: LoadedModel

    def explain(
        self,
        prompt: Prompt,
        target: str | Sequence[str] | None = None,
        *,
        method: str = "saliency",
        budget: str | None = None,
        objective: str | Function = "logprob",
        instead_of: str | None = None,
        without: Part | None = None,
        reduce: str = "sum",
        span: str | tuple[int, int] | None = None,
        spans: Mapping[str, str | tuple[int, int]] | None = None,
        unit: Kind = "token",
        merge: str | None = None,
        per_token: bool = False,
        raw: bool = False,
        parse_special: bool = False,
        source_language: str | None = None,
        target_language: str | None = None,
        trust: bool = True,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        window: int | None = None,
        stride: int | None = None,
        seed: int = 0,
        precision: str = "full",
        memory: str | int = "auto",
        progress: Progress = silent,
        **parameters: Any,
    ) -> Trace:
        """Which tokens of ``prompt`` made the model answer as it does: see ``pellucid.trace.explain.explain``.

        Further keywords are parameters of the method.
        """
        from pellucid.trace.explain import explain

        return explain(
            self.loaded,
            prompt,
            target,
            method=method,
            budget=budget,
            objective=objective,
            instead_of=instead_of,
            without=without,
            reduce=reduce,
            span=span,
            spans=spans,
            unit=unit,
            merge=merge,
            per_token=per_token,
            raw=raw,
            parse_special=parse_special,
            source_language=source_language,
            target_language=target_language,
            trust=trust,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            window=window,
            stride=stride,
            seed=seed,
            precision=precision,
            memory=memory,
            parameters=parameters,
            progress=progress,
        )

    def compare(
        self,
        prompt: Prompt,
        methods: Sequence[str] = ("saliency", "input_x_gradient"),
        target: str | Sequence[str] | None = None,
        *,
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        top_k: int = 10,
        **options: Any,
    ) -> Comparison:
        """Explain one answer by several methods, and say how far they agree: see ``pellucid.trace.compare.compare``.

        ``parameters`` are by method; further ``options`` are those of ``explain``.
        """
        from pellucid.trace.compare import compare

        return compare(self.loaded, prompt, methods, target, parameters=parameters, top_k=top_k, **options)

    def faithfulness(self, trace: Trace, **options: Any) -> Report:
        """Does a trace of this model hold? By every measure, beside random orders: see
        ``pellucid.trace.faithful.faithfulness`` for the options."""
        from pellucid.trace.faithful import faithfulness

        return faithfulness(self.loaded, trace, **options)

    def interactions(
        self,
        prompt: Prompt,
        target: str | None = None,
        *,
        unit: Kind = "sentence",
        order: int = 2,
        index: str = "k-SII",
        budget: int = 512,
        **options: Any,
    ) -> Interactions:
        """What units of the prompt do together to the answer: see ``pellucid.trace.interactions.interactions``.

        Needs the extra ``shapiq``; further ``options`` are those of that function.
        """
        from pellucid.trace.interactions import interactions

        return interactions(self.loaded, prompt, target, unit=unit, order=order, index=index, budget=budget, **options)

    def relevance(self, query: str, text: str | Sequence[str], **options: Any) -> Relevance | list[Relevance]:
        """Which tokens of a text, or of each of several, matter for a query, and is it about it at all: see
        ``pellucid.relevance.score.relevances`` for the options."""
        from pellucid.relevance.score import relevance

        return relevance(self.loaded, query, text, **options)

    def relevance_degree(self, queries: Sequence[str], texts: Sequence[str], **options: Any) -> NDArray[np.float64]:
        """How far each text is about each query [queries, texts], 0..1, forward passes alone: see
        ``pellucid.relevance.degrees.degrees``."""
        from pellucid.relevance.degrees import degrees

        return degrees(self.loaded, queries, texts, **options)

    def next_tokens(self, prompt: str | Sequence[Mapping[str, str]], **options: Any) -> NextTokens:
        """The likeliest next tokens, step by step: see ``pellucid.lens.nexttokens.next_tokens``."""
        from pellucid.lens.nexttokens import next_tokens

        return next_tokens(self.loaded, prompt, **options)

    def expectations(self, prompt: str | Sequence[Mapping[str, str]], **options: Any) -> Positions:
        """What is expected after each token, in one pass: see ``pellucid.lens.positions.positions``."""
        from pellucid.lens.positions import positions

        return positions(self.loaded, prompt, **options)

    def decode(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        strategies: Sequence[str] = ("greedy", "beam:4", "top_p:0.9"),
        **options: Any,
    ) -> Decodings:
        """What decoding strategies say, side by side: see ``pellucid.lens.decode.decode``."""
        from pellucid.lens.decode import decode

        return decode(self.loaded, prompt, strategies, **options)

    def surprisal(self, text: str, **options: Any) -> Surprisal:
        """How surprising each token of a text was: see ``pellucid.lens.surprisal.surprisal``."""
        from pellucid.lens.surprisal import surprisal

        return surprisal(self.loaded, text, **options)

    def logit_lens(self, prompt: str | Sequence[Mapping[str, str]], **options: Any) -> LogitLens:
        """What each layer would say: see ``pellucid.lens.logitlens.logit_lens``."""
        from pellucid.lens.logitlens import logit_lens

        return logit_lens(self.loaded, prompt, **options)

    def tune_lens(self, text: str | Sequence[str], **options: Any) -> TunedLens:
        """Train the tuned lens on a text or several: see ``pellucid.lens.tuned.tune``."""
        from pellucid.lens.tuned import tune

        return tune(self.loaded, [text] if isinstance(text, str) else text, **options)

    def anatomy(self, sentence: str = "The capital of France is") -> Anatomy:
        """What the model is made of, and the shapes of a run: see ``pellucid.lens.anatomy.anatomy``."""
        from pellucid.lens.anatomy import anatomy

        return anatomy(self.loaded, sentence)

    def embeddings(self, text: str | Sequence[Mapping[str, str]], **options: Any) -> Arrays:
        """The embeddings of a text's tokens: see ``pellucid.lens.arrays.embeddings``."""
        from pellucid.lens.arrays import embeddings

        return embeddings(self.loaded, text, **options)

    def hidden_states(self, text: str | Sequence[Mapping[str, str]], **options: Any) -> Arrays:
        """The residual stream after chosen layers: see ``pellucid.lens.arrays.hidden_states``."""
        from pellucid.lens.arrays import hidden_states

        return hidden_states(self.loaded, text, **options)

    def attention(self, text: str | Sequence[Mapping[str, str]], **options: Any) -> Arrays:
        """Attention weights of chosen layers and heads: see ``pellucid.lens.arrays.attention``."""
        from pellucid.lens.arrays import attention

        return attention(self.loaded, text, **options)

    def write(self, task: str, **options: Any) -> Written:
        """A text for the task ``article``, ``story``, ``personal`` or ``mail`` from its fields: see
        ``pellucid.apps.writing.write.write``."""
        from pellucid.apps.writing.write import write

        return write(self, task, **options)

    def code(self, description: str, **options: Any) -> Coded:
        """A program, or with ``function`` (its signature) that function: see ``pellucid.apps.code.code``."""
        from pellucid.apps.code import code

        return code(self, description, **options)

    def fix(self, code: str, error: str, **options: Any) -> Coded:
        """Code that fails, corrected, and the difference: see ``pellucid.apps.code.fix``."""
        from pellucid.apps.code import fix

        return fix(self, code, error, **options)

    def ask(self, question: str, context: str, **options: Any) -> Answered:
        """The answer to a question from a text, where it stands and what it rests on: see
        ``pellucid.apps.question.ask``."""
        from pellucid.apps.question import ask

        return ask(self, question, context, **options)

    def generate(
        self, prompt: str | Sequence[Mapping[str, str]], answer: str | None = None, **options: Any
    ) -> Generation:
        """An answer, written or given, with each of its tokens explained: see ``pellucid.apps.generation.generate``."""
        from pellucid.apps.generation import generate

        return generate(self, prompt, answer, **options)

    def classify(
        self, text: str | Sequence[str], labels: Sequence[str] | None = None, **options: Any
    ) -> Classification:
        """The class of a text, by the model's own classes or among label words, and which words made it so: see
        ``pellucid.apps.classify.classify`` for the options."""
        from pellucid.apps.classify import classify

        return classify(self, text, labels, **options)

    def translate(self, text: str, target: str | None = None, **options: Any) -> Translation:
        """A translation by an encoder-decoder, and which source words each of its words comes from: see
        ``pellucid.apps.translate.translate`` for the options."""
        from pellucid.apps.translate import translate

        return translate(self, text, target, **options)

    def chat(self, **options: Any) -> Chat:
        """A conversation: see ``pellucid.apps.chat.chat.Chat`` for the options."""
        from pellucid.apps.chat.chat import Chat

        return Chat(self, **options)

    def rag(self, knowledge: Searcher, question: str, **options: Any) -> Cited:
        """A question answered from an index, each sentence tied to the passages it rests on: see
        ``pellucid.apps.rag.ask.ask`` for the options."""
        from pellucid.apps.rag.ask import ask

        return ask(self, knowledge, question, **options)

    def __repr__(self) -> str:
        m = self.loaded
        dtype = str(m.dtype).removeprefix("torch.")
        return f"Model({m.name!r}, {m.parameters / 1e6:.0f}M parameters, {dtype}, {m.device})"


def load(
    name: str | PathLike[str] = DEFAULT,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    device_map: str | dict[str, Any] | None = None,
    quantization: str | object | None = None,
    trust_remote_code: bool = False,
    accept_license: bool = False,
    progress: Progress = silent,
) -> Model:
    """Load an embedded model, a Hub id, a folder or a ``.gguf`` file: see ``pellucid.models.load.load_model``."""
    from pellucid.models.load import load_model

    return Model(
        load_model(
            name,
            device=device,
            dtype=dtype,
            revision=revision,
            device_map=device_map,
            quantization=quantization,
            trust_remote_code=trust_remote_code,
            accept_license=accept_license,
            progress=progress,
        )
    )
