"""``GET /v1/models``.

curl -s localhost:8000/v1/models
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from pellucid.serve.api.shapes import ERRORS
from pellucid.serve.state import state_of

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)


class Listed(BaseModel):
    """A model."""

    id: str
    object: str
    created: int
    owned_by: str


class Models(BaseModel):
    """All that may be asked for."""

    object: str
    data: list[Listed]


def entry(name: str) -> dict[str, Any]:
    """A model as OpenAI lists it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "pellucid"}


@router.get("/models", response_model=Models)
async def models(request: Request) -> Any:
    """The models that may be asked for, the default first."""
    return {"object": "list", "data": [entry(name) for name in state_of(request).desks.desks]}


@router.get("/models/{model}", response_model=Listed)
async def model(request: Request, model: Annotated[str, Path(max_length=200)]) -> Any:
    """One of them."""
    return entry(state_of(request).desks.named(model).name)
