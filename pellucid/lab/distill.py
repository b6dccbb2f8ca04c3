"""Distillation: a small model learns what a larger one expects, on any text; what ``pellucid lab distill`` does.

    from pellucid.lab.distill import distill, read
    distill(read("smollm2-135m-instruct", "gpt-small.toml", sources=["corpus/"]), "runs/small")

The teacher only reads. The student is described by a TOML file (``[model]``, keywords of ``LabConfig``; it gets the
teacher's tokenizer), or is a model of the teacher's vocabulary, or ``half``: every second of the teacher's layers. The
folder is an ordinary model afterwards; called again with the same options, the run goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import ModelError, OptionError
from pellucid.lab.folder import claim, publish, read_weights, writer
from pellucid.lab.train import held_out, packed, write_something
from pellucid.lab.training.distillation import Distiller, Soft
from pellucid.lab.training.settings import Recipe
from pellucid.lab.training.settings import read as read_recipe
from pellucid.progress import Progress, silent

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

HALF = "half"
RATE = 2e-4  # the peak rate of a student that knows something already


@dataclass(frozen=True)
class Distillation:
    """``teacher`` and ``student`` by name (a model; the student: a TOML file, or ``half``, too); ``recipe``: data,
    model (of a TOML student) and training; ``soft``: the loss."""

    teacher: str
    student: str
    recipe: Recipe
    soft: Soft = field(default_factory=Soft)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        loss = {"teacher": self.teacher, "student": self.student, **dataclasses.asdict(self.soft)}
        return {**self.recipe.as_dict(), "distill": loss}


def read(
    teacher: str,
    student: str,
    *,
    sources: Sequence[str] = (),
    soft: Soft | None = None,
    data: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
) -> Distillation:
    """What is distilled into what, on ``sources``; ``data`` and ``train`` are options of ``lab.training.settings``.

    Raises ``OptionError`` for names and values that there are not, ``InputError`` for a file that is no TOML.
    """
    config = student if student.endswith(".toml") else None
    usual = {} if config else {"rate": RATE}
    recipe = read_recipe(
        config=config, sources=sources, data={**(data or {}), "tokenizer": teacher}, train={**usual, **(train or {})}
    )
    return Distillation(teacher, student, recipe, soft or Soft())


@dataclass(frozen=True)
class Distilled:
    """``loss`` and ``teacher_loss``: nats a token over the same held-out text, of the student and of its teacher;
    ``rest``: the teacher's mass outside its top-k, at the temperature, a mean over the first micro-batch; ``sample``:
    what the student writes by itself; ``first``: is this the process that reports. A run that was stopped has neither
    the teacher's loss nor a sample."""

    folder: str
    teacher: str
    student: str
    steps: int
    tokens: int
    seconds: float
    parameters: int
    teacher_parameters: int
    loss: float | None
    teacher_loss: float | None
    rest: float
    stopped: bool
    sample: str = ""
    first: bool = True
    notes: tuple[str, ...] = ()


def distill(
    given: Distillation,
    out: str | Path,
    *,
    device: str = "auto",
    load: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    watch: Callable[[dict[str, Any]], None] = lambda metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> Distilled:
    """Distil into the folder ``out``, or go on with what an earlier call began there.

    ``load``: more keywords of ``load_model`` (``revision``, ``accept_license``, ...). ``watch`` is given a step's
    numbers, those of ``metrics.jsonl`` and ``of_steps``: ``loss`` is the mixed one, ``held_out`` that of the text
    alone. Raises ``ModelError`` for vocabularies that differ, and what ``lab.train.train`` raises.
    """
    import torch

    from pellucid.lab.data.batches import Blocks
    from pellucid.lab.training.loop import Loop
    from pellucid.lab.training.loss import Learner
    from pellucid.lab.training.world import join
    from pellucid.models.load import load_model

    folder, s = Path(out), given.recipe.train
    more = dict(load or {})
    with join(device) as place:
        teacher = _load(given.teacher, "teacher", s.context, str(place.device), "auto", more, progress)
        torch.manual_seed(s.seed)
        network = _student(given, teacher, str(place.device), more, progress)
        if place.first:
            claim(folder, given)
        place.wait()
        data = packed(given.recipe, folder, place, progress)
        blocks = Blocks(data.train, rows=s.rows, length=s.context, seed=s.seed, isolate=given.recipe.data.isolate)
        write = writer(network, data.tokenizer)
        learner = Distiller(network, teacher.network, given.soft)
        rest = learner.rest_mass(blocks.batch(0).part(0, s.accumulate * place.size).to(place.device))

        def held(of: Any) -> float:
            return held_out(of, data.held_out, s.context, s.evaluate_tokens, place.device)

        loop = Loop(
            network,
            blocks,
            settings=s,
            recipe=given.as_dict(),
            out=folder,
            place=place,
            save=lambda where: write(where, loop.weights),
            restore=lambda where: read_weights(network, where),
            evaluate=lambda: held(loop.learner),
            learner=learner,
            watch=(lambda metrics: watch({**metrics, "of_steps": s.steps})) if place.first else lambda metrics: None,
            stop=stop,
        )
        done = loop.run()
        sample, teacher_loss = "", None
        if not done.stopped:
            with torch.inference_mode():
                teacher_loss = held(Learner(teacher.network))
        if not done.stopped and place.first:
            publish(lambda where: write(where, loop.weights), folder)
            if loop.spread:
                network = load_model(str(folder), device=str(place.device)).network
            sample = write_something(network, data.tokenizer, s.seed)
        place.wait()
        return Distilled(
            folder=str(folder),
            teacher=given.teacher,
            student=given.student,
            steps=done.steps,
            tokens=done.tokens,
            seconds=done.seconds,
            parameters=int(network.num_parameters()),
            teacher_parameters=teacher.parameters,
            loss=done.loss,
            teacher_loss=teacher_loss,
            rest=rest,
            stopped=done.stopped,
            sample=sample,
            first=place.first,
            notes=done.notes,
        )


def _load(
    name: str, role: str, context: int, device: str, dtype: str, more: dict[str, Any], progress: Progress
) -> LoadedModel:
    """A causal model that reads blocks of ``context`` tokens."""
    from pellucid.lab.evaluation.likelihood import check_causal
    from pellucid.models.load import load_model

    loaded = load_model(name, device=device, dtype=dtype, progress=progress, **more)
    check_causal(loaded, "distillation")
    if loaded.context is not None and context > loaded.context:
        raise OptionError(
            f"the {role} '{name}' reads {loaded.context:,} tokens, and blocks have {context:,}: choose a shorter "
            "context (--context)"
        )
    return loaded


def _student(given: Distillation, teacher: LoadedModel, device: str, more: dict[str, Any], progress: Progress) -> Any:
    """The student's network, its weights learning."""
    from pellucid.lab.configuration import LabConfig
    from pellucid.lab.halved import halved
    from pellucid.lab.network import LabForCausalLM
    from pellucid.models.quantization import scheme

    context = given.recipe.train.context
    if given.student.endswith(".toml"):
        ends = {"eos_token_id": teacher.tokenizer.eos_token_id, "pad_token_id": teacher.tokenizer.pad_token_id}
        size = {"vocab_size": teacher.network.get_output_embeddings().weight.shape[0], "bos_token_id": None, **ends}
        return LabForCausalLM(LabConfig(**{"max_position_embeddings": context, **given.recipe.model, **size}))
    if given.student == HALF:
        return halved(teacher.network).float().requires_grad_(True)
    loaded = _load(given.student, "student", context, device, "float32", more, progress)
    check_vocabularies(teacher, loaded)
    packed = scheme(loaded.network)
    if packed is not None:
        raise ModelError(f"the weights of '{loaded.name}' are packed by {packed} and cannot be trained")
    network: Any = loaded.network
    return network.requires_grad_(True)


def check_vocabularies(teacher: LoadedModel, student: LoadedModel) -> None:
    """Raise ``ModelError`` where a token's number does not mean the same to both."""
    a, b = ({i: t for t, i in m.tokenizer.get_vocab().items()} for m in (teacher, student))
    if a == b:
        return
    number = min(i for i in {*a, *b} if a.get(i) != b.get(i))
    theirs, ours = (repr(v[number]) if number in v else "nothing" for v in (a, b))
    raise ModelError(
        f"'{student.name}' cannot learn from '{teacher.name}': soft targets are about the teacher's tokens, and the "
        f"vocabularies differ ({len(b):,} tokens and {len(a):,}; number {number} is {ours} here and {theirs} there); "
        "choose a student of the teacher's family, or describe one in a TOML file: it gets the teacher's tokenizer"
    )
