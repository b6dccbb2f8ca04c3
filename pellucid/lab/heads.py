"""A classification head on an encoder: the model, what it reads, its loss.

loaded = with_head("encoder/", ["negative", "positive"])
ids, cut = encoded(loaded, task.train, 128)         # [texts][tokens], and how many texts were cut
read_all(loaded.network, ids, loaded.network.config.pad_token_id)      # [texts, classes]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import InputError, ModelError, OptionError, UnknownModelError
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.lab.data.labelled import Labelled
    from pellucid.models.load import LoadedModel

EVALUATED = 64  # texts in one pass


def with_head(
    model: str,
    classes: Sequence[str],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    accept_license: bool = False,
    progress: Progress = silent,
) -> LoadedModel:
    """``model`` in float32 with a head for ``classes``: its own where it has as many, else a new one, from torch's
    random state. Raises ``ModelError``."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from pellucid.models.catalog import CATALOG
    from pellucid.models.load import LoadedModel, load_model
    from pellucid.models.quantization import scheme

    names: dict[str, Any] = {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: k for k, name in enumerate(classes)},
        "problem_type": "single_label_classification",
    }
    network: Any
    tokenizer: Any
    if model in CATALOG or model.endswith(".gguf"):
        whole = load_model(model, device="cpu", dtype="float32", accept_license=accept_license, progress=progress)
        config: Any = whole.network.config
        for name, value in names.items():
            setattr(config, name, value)
        network = AutoModelForSequenceClassification.from_config(config)
        network.base_model.load_state_dict(whole.network.base_model.state_dict())
        tokenizer = whole.tokenizer
    else:
        if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
            raise UnknownModelError(f"the folder {model} holds no config.json: it is not a model in the Hub's layout")
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if revision is not None:
            options["revision"] = revision
        progress(f"loading {model}", 0, 1)
        try:
            with _quiet():
                tokenizer = AutoTokenizer.from_pretrained(model, **options)
                network = AutoModelForSequenceClassification.from_pretrained(
                    model, dtype="float32", ignore_mismatched_sizes=True, **names, **options
                )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as e:
            reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise ModelError(f"'{model}' cannot be given a classification head: {reason}") from None
        progress(f"loading {model}", 1, 1)
    packed = scheme(network)
    if packed is not None:
        raise ModelError(f"the weights of '{model}' are packed by {packed} and cannot be trained: take the original")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"the tokenizer of '{model}' has no token to pad with: expected a pad or eos token")
        tokenizer.pad_token = tokenizer.eos_token
    network.config.pad_token_id = tokenizer.pad_token_id
    return LoadedModel.wrap(network, tokenizer, name=model)


def encoded(
    loaded: LoadedModel, examples: Sequence[Labelled], length: int, progress: Progress = silent
) -> tuple[list[list[int]], int]:
    """Ids of each text in the tokenizer's frame, as ``pellucid explain`` reads it, its own tokens cut so that at most
    ``length`` remain; and how many texts were cut. Raises ``InputError``, ``OptionError``, ``ModelError``."""
    from pellucid.models.heads import frame, longest, part_tokens, token_types

    before, after = frame(loaded, 1).ids
    limit = longest(loaded)
    if limit is not None and length > limit:
        raise OptionError(f"texts of {length} tokens (context) are longer than the {limit} that '{loaded.name}' reads")
    room = length - len(before) - len(after)
    if room < 1:
        raise OptionError(f"texts of {length} tokens (context) leave no room but for the frame: give more")
    out, cut = [], 0
    for k, example in enumerate(examples):
        if k % 100 == 0:
            progress("reading texts", k, len(examples))
        own = [t.id for t in part_tokens(loaded, example.text, "user", 0)]
        if not own:
            raise InputError(f"{example.place}, has a text without a token: expected some text")
        cut += len(own) > room
        out.append([*before, *own[:room], *after])
    progress("reading texts", len(examples), len(examples))
    if any(token_types(loaded, out[0]) or []):
        raise ModelError(f"'{loaded.name}' marks even a single text by token types, which training does not give it")
    return out, cut


def read_all(network: Any, ids: Sequence[Sequence[int]], pad: int) -> Tensor:
    """The head's numbers for every text [texts, classes], in float32 on the CPU; without gradients."""
    import torch

    from pellucid.lab.data.labelled import padded

    out = torch.empty(len(ids), network.config.num_labels)
    order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
    with torch.no_grad():
        for start in range(0, len(order), EVALUATED):
            some = order[start : start + EVALUATED]
            batch = padded([ids[k] for k in some], [0] * len(some), pad).to(network.device)
            logits = network(input_ids=batch.inputs, attention_mask=batch.mask).logits
            out[some] = logits.float().cpu()
    return out


def learner(network: Any) -> Any:
    """Network and loss as one module, as the training loop runs it: (inputs [rows, length], targets [rows], None, mask
    [rows, length]) to (summed nats of the right classes, 0)."""
    import torch
    from torch import nn

    class Learner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: Tensor, targets: Tensor, positions: None, mask: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.network(input_ids=inputs, attention_mask=mask).logits.float()  # [rows, classes]
            nll = nn.functional.cross_entropy(logits, targets, reduction="sum")
            return nll, torch.zeros_like(nll)

    return Learner()


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' bars and its report of weights that are new (the head's) off within."""
    from transformers.utils import logging

    from pellucid.models.quiet import quiet_bars

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with quiet_bars():
            yield
    finally:
        logging.set_verbosity(before)
