"""Train a language model from a recipe: what ``pellucid lab train`` does.

    from pellucid.lab.train import train
    from pellucid.lab.training.settings import read
    train(read(preset="char-tiny", sources=["book.txt"]), "runs/mine")

The folder is an ordinary model afterwards: ``pellucid.load("runs/mine")``. Called again with the same recipe, it goes
on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.lab.folder import claim, publish, read_weights, writer
from pellucid.lab.training.checkpoints import Checkpoints
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.lab.data.packed import Packed
    from pellucid.lab.training.settings import Recipe


@dataclass(frozen=True)
class Trained:
    """``fitted``: what the loop measured; ``folder``: the run, which loads as a model once it is done; ``sample``:
    what the model writes by itself (empty where the run was stopped); ``peak``: operations a second that the machine
    could do, and where that is from; ``first``: is this the process that writes and reports."""

    folder: Path
    steps: int
    loss: float | None
    seconds: float
    tokens: int
    parameters: int
    stopped: bool
    sample: str
    peak: tuple[float, str] | None = None
    first: bool = True
    notes: tuple[str, ...] = ()


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    device: str = "auto",
    progress: Progress = silent,
    watch: Callable[[dict[str, Any]], None] = lambda metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train ``recipe`` in the folder ``out``, or go on with what an earlier call began there.

    ``watch`` is given a step's numbers (those of ``metrics.jsonl``); ``stop`` is asked between steps. Raises
    ``InputError`` for data that cannot be used, ``OptionError`` for a folder of another recipe, ``NumericError`` for a
    loss that is no number, ``OutputError`` where nothing can be written.
    """
    import torch

    from pellucid.models.quantization import import_modelling

    import_modelling()
    from pellucid.lab.configuration import LabConfig
    from pellucid.lab.data.batches import Blocks
    from pellucid.lab.network import LabForCausalLM
    from pellucid.lab.training.loop import Loop
    from pellucid.lab.training.world import join

    folder, s = Path(out), recipe.train
    with join(device) as place:
        if place.first:
            claim(folder, recipe)
        place.wait()
        data = packed(recipe, folder, place, progress)
        blocks = Blocks(data.train, rows=s.rows, length=s.context, seed=s.seed, isolate=recipe.data.isolate)
        ends = {"eos_token_id": data.tokenizer.eos_token_id, "pad_token_id": data.tokenizer.pad_token_id}
        size = {"vocab_size": data.manifest["vocabulary"], "bos_token_id": None, **ends}
        torch.manual_seed(s.seed)
        config = LabConfig(**{"max_position_embeddings": s.context, **recipe.model, **size})
        network: Any = LabForCausalLM(config)
        write = writer(network, data.tokenizer)
        loop = Loop(
            network,
            blocks,
            settings=s,
            recipe=recipe.as_dict(),
            out=folder,
            place=place,
            save=lambda where: write(where, loop.weights),
            restore=lambda where: read_weights(network, where),
            evaluate=lambda: held_out(loop.learner, data.held_out, s.context, s.evaluate_tokens, place.device),
            watch=watch if place.first else lambda metrics: None,
            stop=stop,
        )
        done = loop.run()
        sample = ""
        if not done.stopped and place.first:
            publish(lambda where: write(where, loop.weights), folder)
            if loop.weights is not None:
                network = LabForCausalLM(config)  # whole, in one process
                network.load_state_dict(loop.weights)
                network.to(place.device)
            sample = write_something(network, data.tokenizer, s.seed)
        place.wait()
        return Trained(
            folder,
            done.steps,
            done.loss,
            done.seconds,
            done.tokens,
            int(network.num_parameters()),
            done.stopped,
            sample,
            loop.peak,
            place.first,
            done.notes,
        )


def held_out(learner: Any, part: Any, length: int, tokens: int, device: Any, *, rows: int = 64) -> float:
    """Nats a token over ``part`` in consecutive blocks of ``length`` (its first ``tokens``; 0: all)."""
    from pellucid.lab.data.batches import consecutive
    from pellucid.lab.data.packed import Part

    some = part if tokens == 0 else Part(part.tokens[: tokens + 1], part.ends)
    total, count = 0.0, 0
    for batch in consecutive(some, length=length, rows=rows):
        nll, _ = learner.of(batch.to(device))
        total += float(nll)
        count += batch.count
    return total / count


def write_something(network: Any, tokenizer: Any, seed: int, *, tokens: int = 160) -> str:
    """What the model writes from the end of a document on, at temperature 0.8."""
    import torch

    network.eval()
    start = torch.tensor([[tokenizer.eos_token_id]], device=network.device)
    line = tokenizer("\n", add_special_tokens=False).input_ids
    if len(line) == 1 and tokenizer.unk_token_id not in line:
        start = torch.tensor([line], device=network.device)
    room = network.config.max_position_embeddings - start.shape[1]
    with torch.random.fork_rng(devices=[network.device] if network.device.type == "cuda" else []):
        torch.manual_seed(seed)
        out = network.generate(
            start,
            attention_mask=torch.ones_like(start),
            max_new_tokens=max(1, min(tokens, room)),
            do_sample=True,
            temperature=0.8,
            top_k=0,
            top_p=1.0,
            pad_token_id=tokenizer.pad_token_id,
        )
    text: str = tokenizer.decode(out[0, start.shape[1] :], skip_special_tokens=True)
    return text


def packed(recipe: Recipe, folder: Path, place: Any, progress: Progress) -> Packed:
    """The data, packed by the first process for all."""
    from pellucid.lab.data.packed import pack

    d = recipe.data
    given: dict[str, Any] = {
        "tokenizer": d.tokenizer,
        "folder": folder / "data",
        "vocab_size": d.vocab_size,
        "held_out": d.held_out,
        "field": d.field,
        "seed": recipe.train.seed,
    }
    found = None
    if place.first:
        found = pack(d.sources, **given, anew=not Checkpoints(folder, {}).any(), progress=progress)
    place.wait()
    return found or pack(d.sources, **given)
