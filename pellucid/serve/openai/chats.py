"""``POST /v1/chat/completions``.

client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")
client.chat.completions.create(model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Hello"}])
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from pellucid.serve.api.shapes import ERRORS
from pellucid.serve.jobs import Job, Step
from pellucid.serve.lane import Voice
from pellucid.serve.openai.bodies import ChatCompletion
from pellucid.serve.openai.explained import Answered, check, explaining
from pellucid.serve.openai.streams import PIECE, answered
from pellucid.serve.openai.writing import Piece, Token, Way, room_for, written
from pellucid.serve.settings import Settings
from pellucid.serve.state import state_of
from pellucid.serve.work.prompts import check_new, check_tokens

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/chat/completions", response_model=dict[str, Any], responses=ERRORS)
async def create(request: Request, asked: ChatCompletion) -> Response:
    """A chat that is answered, in OpenAI's form; ``pellucid: {"explain": true}`` adds a trace."""
    state = state_of(request)
    desk = state.desks.named(asked.model)
    asked.check()
    check(asked.pellucid, asked.n or 1)
    head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": desk.name}
    prompt = [{"role": m.role, "content": m.text} for m in asked.messages]
    steps = [
        Step("writing", writing(asked, prompt, head, state.settings)),
        *explaining(asked.pellucid, prompt, raw=False, settings=state.settings),
    ]

    def chunk(piece: dict[str, Any]) -> dict[str, Any]:
        return {**head, "object": "chat.completion.chunk", "choices": [piece]}

    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    return await answered(
        state,
        request,
        desk,
        steps,
        title=prompt[-1]["content"],
        stream=bool(asked.stream),
        usage=usage,
        chunk=chunk,
    )


def writing(asked: ChatCompletion, prompt: list[dict[str, str]], head: dict[str, Any], settings: Settings) -> Any:
    """The step that writes all ``n`` answers."""
    wanted = asked.max_completion_tokens or asked.max_tokens
    if wanted is not None:
        check_new(wanted, settings)

    def run(voice: Voice, job: Job, before: Any) -> Answered:
        from pellucid.models.encode import encode

        ids = encode(voice.loaded, voice.speaker.prompt(prompt)).ids
        check_tokens(len(ids), settings)
        way = Way(
            asked.strategy,
            room_for(voice.loaded, len(ids), wanted, settings.new_tokens),
            asked.start,
            asked.stops,
            (asked.top_logprobs or 0) if asked.logprobs else None,
        )
        choices, texts, total = [], [], 0
        for n in range(asked.n or 1):
            job.listener(PIECE, delta(n, {"role": "assistant", "content": ""}, None, None))
            pieces: list[Piece] = []
            for piece in written(voice, job, ids, Way(way.strategy, way.room, way.seed + n, way.stop, way.top)):
                pieces.append(piece)
                if piece.text or piece.tokens:
                    told = None if way.top is None else logprobs(piece.tokens)
                    job.listener(PIECE, delta(n, {"content": piece.text}, told, None))
            text, end = "".join(p.text for p in pieces), pieces[-1].end
            job.listener(PIECE, delta(n, {}, None, end))
            tokens = [t for p in pieces for t in p.tokens]
            choices.append(
                {
                    "index": n,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None if way.top is None else logprobs(tokens),
                    "finish_reason": end,
                }
            )
            texts.append(text)
            total += pieces[-1].count
        usage = {"prompt_tokens": len(ids), "completion_tokens": total, "total_tokens": len(ids) + total}
        return Answered({**head, "object": "chat.completion", "choices": choices, "usage": usage}, texts)

    return run


def delta(index: int, new: dict[str, Any], told: Any, end: str | None) -> dict[str, Any]:
    """A choice of a chunk."""
    return {"index": index, "delta": new, "logprobs": told, "finish_reason": end}


def logprobs(tokens: list[Token]) -> dict[str, Any]:
    """As chat completions tell them."""
    return {"content": [{**t.plain, "top_logprobs": [o.plain for o in t.top]} for t in tokens], "refusal": None}
