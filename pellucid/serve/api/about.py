"""What there is: models, methods, health, metrics.

curl -s localhost:8000/api/v1/models
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from pellucid.serve.api.shapes import ERRORS, Faulty
from pellucid.serve.faults import body
from pellucid.serve.replies import answer
from pellucid.serve.state import state_of
from pellucid.version import __version__

router = APIRouter(tags=["about"])


class About(BaseModel):
    """A model that may be asked for; what is not known before it is loaded is null."""

    name: str
    state: str
    default: bool
    loaded: bool
    kind: str | None
    chats: bool | None
    context: int | None
    languages: list[str]


class Models(BaseModel):
    """All of them."""

    models: list[About]


class MethodAbout(BaseModel):
    """A method, as ``pellucid methods`` lists it."""

    name: str
    title: str
    formula: str
    cost: str
    signed: bool
    kinds: list[str]
    parameters: dict[str, Any]
    paper: str


class Methods(BaseModel):
    """What an explanation may be made by."""

    methods: list[MethodAbout]
    budgets: list[str]
    objectives: list[str]


@router.get("/api/v1/models", response_model=Models, responses=ERRORS)
async def models(request: Request) -> Any:
    """The models that may be asked for."""
    from pellucid.models.catalog import CATALOG

    desks, found = state_of(request).desks, []
    for desk in desks.desks.values():
        loaded, known = desk.loaded, CATALOG.get(desk.name)
        found.append(
            {
                "name": desk.name,
                "state": desk.state,
                "default": desk.name == desks.default,
                "loaded": loaded is not None,
                "kind": loaded and loaded.kind,
                "chats": None if loaded is None else bool(getattr(loaded.tokenizer, "chat_template", None)),
                "context": loaded and loaded.context,
                "languages": list(known.languages) if known else [],
            }
        )
    return {"models": found}


@router.get("/api/v1/methods", response_model=Methods, responses=ERRORS)
async def methods(request: Request) -> Any:
    """The methods, and what may be explained."""
    from pellucid.trace.auto import BUDGETS
    from pellucid.trace.methods import methods as all_methods
    from pellucid.trace.objective import OBJECTIVES, RECIPES

    listed = [
        {
            "name": m.name,
            "title": m.description,
            "formula": m.formula,
            "cost": m.cost,
            "signed": m.signed,
            "kinds": list(m.kinds),
            "parameters": m.parameters,
            "paper": m.paper,
        }
        for m in all_methods().values()
    ]
    return {"methods": listed, "budgets": list(BUDGETS), "objectives": [*OBJECTIVES, *RECIPES]}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The server runs."""
    return {"status": "ok", "version": __version__}


@router.get("/readyz", responses={503: {"model": Faulty, "description": "the default model is not there yet"}})
async def readyz(request: Request) -> Response:
    """The default model can be asked."""
    desks = state_of(request).desks
    desk = desks.named(None)
    if desk.state == "ready":
        return answer({"status": "ready", "model": desk.name})
    return answer(body(503, f"the model '{desk.name}' is {desk.state}", "NotReady"), 503)


@router.get("/metrics", response_class=Response, responses=ERRORS)
async def metrics(request: Request) -> Response:
    """Counts and times, for Prometheus."""
    found = state_of(request).metrics
    return Response(found.text(), headers={"Content-Type": found.media_type})
