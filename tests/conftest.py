"""Shared fixtures: the embedded model for real, tiny models of each family, a tiny tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import FAMILIES, chat_tokenizer
from tiny_dictionary import train
from transformers import MarianMTModel

from pellucid.model import Model, load
from pellucid.models.load import LoadedModel

#: Files that take longest: two processes that share the tests (``make test``) begin with them, and end together.
LONGEST = ("test_guides.py", "test_browser_tabs.py", "test_browser.py", "test_train.py", "test_tune.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; nothing else changes places."""
    items.sort(key=lambda i: LONGEST.index(i.path.name) if i.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def embedded() -> Model:
    """SmolLM2-135M-Instruct, fetched once into the user's cache."""
    return load("smollm2-135m-instruct", device="cpu")


@pytest.fixture(scope="session")
def tokenizer():  # type: ignore[no-untyped-def]
    return chat_tokenizer()


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tokenizer) -> LoadedModel:  # type: ignore[no-untyped-def]
    """A tiny random model of each family, in float64."""
    torch.manual_seed(7)
    return LoadedModel.wrap(FAMILIES[request.param](len(tokenizer)).double(), tokenizer, name=request.param)


@pytest.fixture(scope="session")
def dictionary() -> MarianMTModel:
    """A tiny Marian that has learned to translate word for word (``tiny_dictionary``)."""
    return train()


@pytest.fixture
def tiny(tokenizer) -> Callable[..., LoadedModel]:  # type: ignore[no-untyped-def]
    """Makes a tiny random Llama (or another family) in the dtype asked for."""

    def make(name: str = "llama", dtype: torch.dtype = torch.float32) -> LoadedModel:
        torch.manual_seed(7)
        return LoadedModel.wrap(FAMILIES[name](len(tokenizer)).to(dtype), tokenizer, name=name)

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:  # type: ignore[no-untyped-def]
    """A tiny Llama saved in the Hub's layout, with a context of 128 tokens."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    torch.manual_seed(7)
    FAMILIES["llama"](len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
