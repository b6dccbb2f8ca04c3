"""``POST /v1/completions``: a text that is gone on with, or weighed.

curl -s localhost:8000/v1/completions -H 'content-type: application/json' \
  -d '{"prompt": "The capital of France is", "max_tokens": 0, "echo": true, "logprobs": 1}'

With ``echo`` and ``max_tokens: 0`` nothing is written: the log-probabilities are those of the prompt's own tokens,
which is all that what-if methods need of a model.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from pellucid.serve.api.shapes import ERRORS
from pellucid.serve.jobs import Job, Step
from pellucid.serve.lane import Voice
from pellucid.serve.openai.bodies import Completion
from pellucid.serve.openai.explained import Answered, check, explaining
from pellucid.serve.openai.streams import PIECE, answered
from pellucid.serve.openai.writing import Piece, Token, Way, read, room_for, written
from pellucid.serve.settings import Settings
from pellucid.serve.state import state_of
from pellucid.serve.work.prompts import check_new, check_tokens, size_of

router = APIRouter(prefix="/v1", tags=["OpenAI"])
TOKENS = 16  # written where nothing is said, as OpenAI has it


@router.post("/completions", response_model=dict[str, Any], responses=ERRORS)
async def create(request: Request, asked: Completion) -> Response:
    """A text that is gone on with, in OpenAI's form; ``pellucid: {"explain": true}`` adds a trace."""
    state = state_of(request)
    desk = state.desks.named(asked.model)
    asked.check()
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else list(asked.prompt)
    check(asked.pellucid, len(prompts) * (asked.n or 1))
    wanted = TOKENS if asked.max_tokens is None else asked.max_tokens
    check_new(wanted, state.settings)
    head = {"id": f"cmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": desk.name}
    lane = "writing" if wanted else "quick"
    steps = [
        Step(lane, writing(asked, prompts, wanted, head, state.settings), size=sum(map(size_of, prompts))),
        *explaining(asked.pellucid, prompts[0], raw=True, settings=state.settings),
    ]

    def chunk(piece: dict[str, Any]) -> dict[str, Any]:
        return {**head, "object": "text_completion", "choices": [piece]}

    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    return await answered(
        state, request, desk, steps, title=prompts[0], stream=bool(asked.stream), usage=usage, chunk=chunk
    )


def writing(asked: Completion, prompts: list[str], wanted: int, head: dict[str, Any], settings: Settings) -> Any:
    """The step that writes ``n`` answers to each prompt, or weighs the prompts."""

    def run(voice: Voice, job: Job, before: Any) -> Answered:
        from pellucid.models.encode import encode

        choices: list[dict[str, Any]] = []
        seed = asked.start
        texts, read_in, total = [], 0, 0
        for k, prompt in enumerate(prompts):
            job.progress("prompts", k, len(prompts))
            encoded = encode(voice.loaded, prompt, raw=True)
            ids, lead = encoded.ids, sum(t.start is None for t in encoded.tokens)
            check_tokens(len(ids) + wanted, settings)
            room = room_for(voice.loaded, len(ids), wanted, settings.new_tokens) if wanted else 0
            read_in += len(ids)
            echoed: list[Token] = []
            if asked.echo and asked.logprobs is not None:
                echoed = read(voice.loaded, ids, asked.logprobs)[lead:]
            for n in range(asked.n or 1):
                index = len(choices)
                pieces = [Piece(prompt if asked.echo else "", echoed)] if asked.echo or not room else []
                job.listener(PIECE, choice(index, pieces[0], 0, asked.logprobs, None)) if asked.echo else None
                if room:
                    way = Way(asked.strategy, room, seed + n, asked.stops, asked.logprobs)
                    for piece in written(voice, job, ids, way):
                        at = sum(len(p.text) for p in pieces)
                        pieces.append(piece)
                        job.listener(PIECE, choice(index, piece, at, asked.logprobs, piece.end))
                else:
                    pieces[-1].end = "length"
                whole = Piece("".join(p.text for p in pieces), [t for p in pieces for t in p.tokens])
                choices.append(choice(index, whole, 0, asked.logprobs, pieces[-1].end))
                texts.append("".join(p.text for p in pieces[1 if asked.echo else 0 :]))
                total += pieces[-1].count
        usage = {"prompt_tokens": read_in, "completion_tokens": total, "total_tokens": read_in + total}
        return Answered({**head, "object": "text_completion", "choices": choices, "usage": usage}, texts)

    return run


def choice(index: int, piece: Piece, at: int, top: int | None, end: str | None) -> dict[str, Any]:
    """A choice of the body or of a chunk; ``at``: characters before the piece."""
    told = None if top is None else logprobs(piece.tokens, at)
    return {"index": index, "text": piece.text, "logprobs": told, "finish_reason": end}


def logprobs(tokens: list[Token], at: int) -> dict[str, Any]:
    """As completions tell them: lists side by side, and where in the text each token begins."""
    offsets = []
    for t in tokens:
        offsets.append(at)
        at += len(t.bytes.decode("utf-8", "ignore"))
    return {
        "tokens": [t.text for t in tokens],
        "token_logprobs": [t.logprob for t in tokens],
        "top_logprobs": [None if t.logprob is None else {o.text: o.logprob for o in t.top} for t in tokens],
        "text_offset": offsets,
    }
