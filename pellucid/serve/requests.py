"""What may be asked, field by field: bodies of ``/api/v1`` as pydantic models, with their bounds.

Explain.model_validate({"prompt": "What is the capital of France?"})
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST = 200_000  # characters of one text; tokens are bounded by the server's settings
Text = Annotated[str, Field(min_length=1, max_length=MOST)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
NUMBER = 2048.0  # the most that a method may be told to do of anything: steps, samples, ablations


def within(value: Any, depth: int = 0) -> Any:
    """A method's parameter, of a size that one request may ask for: some loop over it before anything can be
    interrupted."""
    if isinstance(value, int | float) and not abs(value) <= NUMBER:
        raise ValueError(f"numbers of a method are at most {NUMBER:g} on this server")
    if isinstance(value, str | list | dict) and len(value) > 200:
        raise ValueError("texts and lists of a method have at most 200 members on this server")
    if isinstance(value, list | dict):
        if depth == 3:
            raise ValueError("parameters of a method are nested three deep at most")
        for member in value.values() if isinstance(value, dict) else value:
            within(member, depth + 1)
    return value


Parameters = Annotated[dict[Name, Any], AfterValidator(within)]


class Message(BaseModel):
    """A turn of a chat."""

    model_config = ConfigDict(extra="forbid")
    role: Annotated[str, Field(min_length=1, max_length=20)]
    content: Annotated[str, Field(max_length=MOST)]


Messages = Annotated[list[Message], Field(min_length=1, max_length=200)]
Prompt = Text | Messages


class Asked(BaseModel):
    """What every request may say: which ``model`` (the default one where null), and whether the result is kept in the
    history."""

    model_config = ConfigDict(extra="forbid")
    model: Name | None = None
    keep: bool = True


class Explained(Asked):
    """What ``explain`` and ``compare`` have in common. Options as of ``Model.explain``."""

    prompt: Prompt
    target: Annotated[str, Field(max_length=MOST)] | None = None
    objective: Name = "logprob"
    instead_of: Annotated[str, Field(max_length=MOST)] | None = None
    span: Annotated[str, Field(min_length=1, max_length=MOST)] | tuple[int, int] | None = None
    unit: Literal["token", "word", "sentence", "paragraph", "message", "document"] = "token"
    per_token: bool = True
    trust: bool = True
    raw: bool = False
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Explain(Explained):
    """Which part of the prompt made the model say that: a ``pellucid.trace/1``."""

    method: Name = "saliency"
    budget: Literal["fast", "balanced", "thorough"] | None = None
    parameters: Parameters = Field(default_factory=dict)


class Compare(Explained):
    """One answer by several methods, and how far they agree: a ``pellucid.comparison/1``."""

    methods: Annotated[list[Name], Field(min_length=1, max_length=8)] = ["saliency", "input_x_gradient"]
    parameters: dict[Name, Parameters] = Field(default_factory=dict)


class Flow(Asked):
    """Which token fed which: of a stored trace (``id``), or of one that is given. A ``pellucid.flow/1``."""

    id: Name | None = None
    trace: dict[str, Any] | None = None
    top: Annotated[int, Field(ge=1, le=200)] = 10
    share: Annotated[float, Field(gt=0, le=1)] = 0.7
    frame: bool = False


class Next(Asked):
    """The likeliest next tokens, step by step: a ``pellucid.next/1``. ``begin``: ids of tokens that are said first."""

    prompt: Prompt
    steps: Annotated[int, Field(ge=1, le=256)] = 10
    top_k: Annotated[int, Field(ge=1, le=100)] = 5
    strategy: Name = "greedy"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    raw: bool = False
    begin: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=256)] = []


class Decode(Asked):
    """Decoding strategies side by side, with the tree of beams: a ``pellucid.decodings/1``."""

    prompt: Prompt
    strategies: Annotated[list[Name], Field(min_length=1, max_length=8)] = ["greedy", "beam:4", "top_p:0.9"]
    steps: Annotated[int, Field(ge=1, le=256)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    raw: bool = False


class Surprisal(Asked):
    """How surprising each token of a text was: a ``pellucid.surprisal/1``."""

    text: Text
    top_k: Annotated[int, Field(ge=1, le=100)] = 5


class Lens(Asked):
    """What each layer would say: a ``pellucid.logitlens/1``. ``last``: of so many positions at the end alone."""

    prompt: Prompt
    raw: bool = False
    kind: Literal["residual", "attention", "mlp"] = "residual"
    of: Literal["predicted", "next"] = "predicted"
    last: Annotated[int, Field(ge=1, le=512)] | None = 64


class Anatomy(Asked):
    """What the model is made of, and the shapes of a run: a ``pellucid.anatomy/1``."""

    sentence: Annotated[str, Field(min_length=1, max_length=2000)] = "The capital of France is"


class Relevance(Asked):
    """Is the text about the query, and which of its words matter: a ``pellucid.relevance/1``. With ``texts`` instead of
    ``text``: degrees alone."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    text: Text | None = None
    texts: Annotated[list[Text], Field(min_length=1, max_length=64)] | None = None
    mode: Name = "auto"
    degree_only: bool = False


class Classify(Asked):
    """A text's class and what it rests on: a ``pellucid.classification/1``."""

    text: Text
    labels: Annotated[list[Name], Field(max_length=50)] | None = None
    methods: Annotated[list[Name], Field(min_length=1, max_length=8)] = [
        "attention",
        "saliency",
        "integrated_gradients",
    ]
    traces: bool = True


class Decoding(BaseModel):
    """How an answer is written: ``pellucid.apps.speaker.Decoding``."""

    model_config = ConfigDict(extra="forbid")
    strategy: Name = "greedy"
    max_new_tokens: Annotated[int, Field(ge=1)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=8)] = []


class Generate(Asked):
    """The model's answer to a chat or a prompt; never kept."""

    messages: Messages | None = None
    prompt: Text | None = None
    decoding: Decoding = Decoding()


class Why(Asked):
    """What the last message, the assistant's, rests on: a ``pellucid.why/1``."""

    messages: Messages
    span: Annotated[str, Field(min_length=1, max_length=MOST)] | None = None


class Search(Asked):
    """Passages of an index: a ``pellucid.passages/1``."""

    query: Annotated[str, Field(min_length=1, max_length=10_000)]
    k: Annotated[int, Field(ge=1, le=50)] = 5
    collection: Name | None = None
    retriever: Literal["bm25", "dense", "hybrid"] | None = None


class Exchange(BaseModel):
    """A turn before."""

    model_config = ConfigDict(extra="forbid")
    question: Text
    answer: Annotated[str, Field(max_length=MOST)]


class Question(Asked):
    """A question to an index, answered with citations: a ``pellucid.cited/1``."""

    question: Annotated[str, Field(min_length=1, max_length=10_000)]
    passages: Annotated[int, Field(ge=1, le=20)] = 3
    collection: Name | None = None
    retriever: Literal["bm25", "dense", "hybrid"] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    history: Annotated[list[Exchange], Field(max_length=50)] = []
