"""The lab against what it stands beside: a plain recipe, transformers under its Trainer, a per-token loop of experts.

    python benchmarks/lab.py characters --data tinyshakespeare.txt --seeds 3   # char-tiny, char-fast and a plain recipe
    python benchmarks/lab.py throughput                                        # a training step, beside HF Trainer's
    python benchmarks/lab.py experts --data tinyshakespeare.txt                # dispatch, and load after training
    python benchmarks/lab.py peak                                              # 124M parameters on CUDA: share of peak

All figures of one command are from one run on one machine; what is compared takes turns. The plain recipe is written
out below in PyTorch alone, after what nanoGPT's README says of it: GPT-2's layers with learned positions, AdamW with
decay on matrices, warm-up and cosine.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.models.quantization import import_modelling

LENGTH, ROWS, STEPS = 64, 12, 2000


class PlainLayer(nn.Module):
    """GPT-2's layer, width 128, 4 heads."""

    def __init__(self, width: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] to the same."""
        r, t, w = x.shape
        q, k, v = (z.view(r, t, self.heads, -1).transpose(1, 2) for z in self.qkv(self.ln1(x)).split(w, -1))
        h = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # [rows, heads, tokens, width / heads]
        x = x + self.out(h.transpose(1, 2).reshape(r, t, w))
        return x + self.down(nn.functional.gelu(self.up(self.ln2(x))))


class Plain(nn.Module):
    """Four of them between a table of characters and the same table."""

    def __init__(self, vocabulary: int, width: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(LENGTH, width)
        self.layers = nn.ModuleList(PlainLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, 0.0, 0.02 / ((2 * layers) ** 0.5 if "out" in name or "down" in name else 1.0))

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [rows, tokens, vocabulary]."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.tokens.weight.T


def consecutive_loss(logits: Any, ids: Tensor) -> float:
    """Nats a character over ``ids`` in blocks of 64, one behind the other, a shorter last one too."""
    total = 0.0
    with torch.no_grad():
        targets = len(ids) - 1
        whole = targets // LENGTH
        for rows in torch.arange(whole * LENGTH).view(whole, LENGTH).split(64):
            out = logits(ids[rows]).flatten(0, 1).float()
            total += float(nn.functional.cross_entropy(out, ids[rows + 1].flatten(), reduction="sum"))
        if targets % LENGTH:
            rest = torch.arange(whole * LENGTH, targets)[None]
            out = logits(ids[rest]).flatten(0, 1).float()
            total += float(nn.functional.cross_entropy(out, ids[rest + 1].flatten(), reduction="sum"))
    return total / targets


def plain(text: str, seed: int) -> tuple[float, float]:
    """The plain recipe: held-out loss in nats, and seconds."""
    began = time.perf_counter()
    known = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = torch.tensor([known[c] for c in text])
    cut = int(0.9 * len(ids))
    learn, keep = ids[:cut], ids[cut:]
    torch.manual_seed(seed)
    model = Plain(len(known))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    for step in range(STEPS):
        rate = (
            1e-3 * (step + 1) / 101 if step < 100 else 1e-4 + 9e-4 * (1 + math.cos(math.pi * (step - 100) / 1900)) / 2
        )
        for g in optimiser.param_groups:
            g["lr"] = rate
        start = torch.randint(len(learn) - LENGTH, (ROWS, 1))
        at = start + torch.arange(LENGTH)  # [rows, tokens]
        loss = nn.functional.cross_entropy(model(learn[at]).flatten(0, 1), learn[at + 1].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    model.eval()
    return consecutive_loss(model, keep), time.perf_counter() - began


def preset(name: str, data: Path, seed: int, folder: Path) -> tuple[float, float, int, float]:
    """A preset through the lab: held-out loss as the lab says, seconds in all, parameters, and the loss again by the
    loop above from the folder that it left."""
    import pellucid
    from pellucid.lab.train import train
    from pellucid.lab.training.settings import read

    began = time.perf_counter()
    done = train(read(preset=name, sources=[str(data)], train={"seed": seed}), folder, device="cpu")
    seconds = time.perf_counter() - began
    text = data.read_text(encoding="utf-8")
    loaded = pellucid.load(folder, device="cpu").loaded
    network: Any = loaded.network
    tokenizer: Any = loaded.tokenizer
    kept = text[int(0.9 * len(text)) :]
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(c) for c in kept])
    again = consecutive_loss(lambda rows: network(input_ids=rows).logits, ids)
    assert done.loss is not None
    return done.loss, seconds, done.parameters, again


def characters(data: Path, seeds: int) -> None:
    """Loss and seconds of the plain recipe and both presets, in turns."""
    print("| recipe | seed | held-out, nats a character | by the plain loop | parameters | seconds | of plain |")
    print("|---|---|---|---|---|---|---|", flush=True)
    text = data.read_text(encoding="utf-8")
    for seed in range(seeds):
        loss, base = plain(text, seed)
        print(f"| plain | {seed} | – | {loss:.4f} | – | {base:.1f} | 1 |", flush=True)
        for name in ("char-tiny", "char-fast"):
            with tempfile.TemporaryDirectory() as folder:
                ours, seconds, size, again = preset(name, data, seed, Path(folder) / "run")
            row = f"| {name} | {seed} | {ours:.4f} | {again:.4f} | {size:,} | {seconds:.1f} | {seconds / base:.2f} |"
            print(row, flush=True)


SHAPE = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
}


def throughput(steps: int, rounds: int) -> None:
    """The median seconds of a training step, lab and transformers' Llama under Trainer, in turns."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, length = 8, 256
    ids = torch.randint(SHAPE["vocab_size"], (rows * steps, length + 1), generator=torch.Generator().manual_seed(0))
    taken: dict[str, list[float]] = {"lab": [], "trainer": []}
    for turn in range(rounds):
        for name in ("lab", "trainer") if turn % 2 == 0 else ("trainer", "lab"):
            with tempfile.TemporaryDirectory() as folder:
                run = lab_steps if name == "lab" else trainer_steps
                stamps = run(ids, rows, length, steps, device, Path(folder))
            gaps = [b - a for a, b in itertools.pairwise(stamps)][2:]
            taken[name].append(statistics.median(gaps))
            print(f"{name}: {rows * length / taken[name][-1]:,.0f} tokens/s", flush=True)
    a, b = (statistics.median(taken[n]) for n in ("lab", "trainer"))
    print(f"lab {rows * length / a:,.0f} tokens/s, Trainer {rows * length / b:,.0f}: {b / a:.3f} times on {device}")


def lab_steps(ids: Tensor, rows: int, length: int, steps: int, device: str, folder: Path) -> list[float]:
    """When each step of the lab's own loop was done."""
    from pellucid.lab.configuration import LabConfig
    from pellucid.lab.data.batches import Batch
    from pellucid.lab.network import LabForCausalLM
    from pellucid.lab.training.loop import Loop
    from pellucid.lab.training.settings import Train
    from pellucid.lab.training.world import join

    class Given:
        """The rows, one behind the other."""

        def __init__(self) -> None:
            self.rows, self.length = rows, length

        def batch(self, step: int) -> Batch:
            """Those of one step."""
            some = ids[step * rows : (step + 1) * rows]
            return Batch(some[:, :-1], some[:, 1:])

    torch.manual_seed(0)
    stamps: list[float] = []
    with join(device) as place:
        Loop(
            LabForCausalLM(LabConfig(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
            Given(),
            settings=Train(
                steps=steps, rows=rows, context=length, precision="fp32", save_every=10**6, evaluate_every=10**6
            ),
            recipe={},
            out=folder,
            place=place,
            save=lambda where: None,
            restore=lambda where: None,
            watch=lambda line: stamps.append(time.perf_counter()),
        ).run()
    return stamps


def trainer_steps(ids: Tensor, rows: int, length: int, steps: int, device: str, folder: Path) -> list[float]:
    """When each step of transformers' Trainer was done, with the same shape, optimiser and clipping."""
    import transformers
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    stamps: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes the time."""

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            """After each optimiser step."""
            stamps.append(time.perf_counter())

    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=rows,
        learning_rate=1e-3,
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        lr_scheduler_type="cosine",
        warmup_steps=50,
        logging_steps=10**6,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device == "cpu",
    )
    made = [{"input_ids": row[:-1], "labels": row[:-1]} for row in ids]
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True))
    Trainer(model=model, args=arguments, train_dataset=made, callbacks=[Clock()]).train()
    return stamps


def per_token(experts: Any, x: Tensor) -> Tensor:
    """A mixture's output, token by token and choice by choice."""
    rows = []
    for token in x.reshape(-1, x.shape[-1]):
        p = experts.router(token).softmax(-1)
        weights, chosen = p.topk(experts.chosen)
        out = torch.zeros_like(token)
        for w, e in zip(weights / weights.sum(), chosen, strict=True):
            h = experts.up[e] @ token
            if experts.gated:
                a, b = h.chunk(2)
                h = experts.act_fn(a) * b
            else:
                h = experts.act_fn(h)
            out = out + w * (experts.down[e] @ h)
        rows.append(out)
    return torch.stack(rows).view_as(x)


def experts(data: Path, steps: int) -> None:
    """Grouped dispatch beside a per-token loop, forward and backward; and the load of each expert after training."""
    import pellucid
    from pellucid.lab.blocks.experts import Experts
    from pellucid.lab.configuration import LabConfig
    from pellucid.lab.train import train
    from pellucid.lab.training.settings import read

    config = LabConfig(hidden_size=128, num_experts=8, num_experts_per_tok=2)
    torch.manual_seed(0)
    mixture = Experts(config)
    for p in mixture.parameters():
        nn.init.normal_(p, 0.0, 0.05)
    x = torch.randn(12, 64, 128)  # [rows, tokens, width]
    ways: dict[str, Any] = {"grouped": mixture, "per token": lambda h: per_token(mixture, h)}
    seconds: dict[str, list[float]] = {n: [] for n in ways}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for _ in range(5):
        for name, way in ways.items():
            h = x.clone().requires_grad_(True)
            began = time.perf_counter()
            out = way(h)
            out.square().sum().backward()
            seconds[name].append(time.perf_counter() - began)
            assert h.grad is not None
            found[name] = (out.detach(), h.grad)
    off = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found.values(), strict=True)]
    a, b = (statistics.median(seconds[n]) for n in ways)
    print(
        f"768 tokens, 8 experts, top-2, width 128: grouped {a * 1e3:.1f} ms, per token {b * 1e3:.1f} ms: {b / a:.1f}x"
    )
    print(f"largest difference, relative: output {off[0]:.1e}, gradient {off[1]:.1e}")
    with tempfile.TemporaryDirectory() as folder:
        recipe = read(preset="char-fast", sources=[str(data)], train={"steps": steps, "evaluate_every": steps})
        sizes = {"num_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 128}
        recipe = dataclasses.replace(recipe, model={**recipe.model, **sizes})
        done = train(recipe, Path(folder) / "run", device="cpu")
        network: Any = pellucid.load(Path(folder) / "run", device="cpu").loaded.network
        tokenizer: Any = pellucid.load(Path(folder) / "run", device="cpu").loaded.tokenizer
    kept = data.read_text(encoding="utf-8")[-64 * 512 :]
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(c) for c in kept]).view(-1, 64)
    network.train()  # routing is kept in training mode alone; there is no dropout here
    with torch.no_grad():
        network(input_ids=ids)
    for k, m in enumerate(m for m in network.modules() if isinstance(m, Experts)):
        assert m.routing is not None
        even = m.routing.load / m.routing.load.float().mean()
        shares = " ".join(f"{float(v):.2f}" for v in even)
        print(f"layer {k}: load of each expert, 1 is even: {shares} (on held-out text)")
    print(f"held-out loss after {steps} steps: {done.loss:.3f}")


def peak(steps: int, rows: int) -> None:
    """GPT-2's size on CUDA, bf16 and compiled: tokens a second, and what share of peak they are."""
    from pellucid.lab.training.settings import read

    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here")
    from pellucid.lab.train import train

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        words = torch.randint(4000, (3_000_000,), generator=torch.Generator().manual_seed(0)).tolist()
        text.write_text(" ".join(f"w{w}" for w in words), encoding="utf-8")
        recipe = read(
            sources=[str(text)],
            train={"steps": steps, "rows": rows, "context": 1024, "precision": "bf16", "compile": True},
        )
        sizes = {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 1024,
        }
        lines: list[dict[str, Any]] = []
        done = train(
            dataclasses.replace(recipe, model={**recipe.model, **sizes}), Path(folder) / "run", watch=lines.append
        )
    last = lines[-1]
    print(json.dumps({k: last.get(k) for k in ("tokens_per_second", "of_peak")}), done.parameters, done.peak)


def main() -> None:
    """The command line."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    import_modelling()
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = p.add_subparsers(dest="kind", required=True)
    c = kinds.add_parser("characters")
    c.add_argument("--data", type=Path, required=True)
    c.add_argument("--seeds", type=int, default=1)
    t = kinds.add_parser("throughput")
    t.add_argument("--steps", type=int, default=16)
    t.add_argument("--rounds", type=int, default=4)
    e = kinds.add_parser("experts")
    e.add_argument("--data", type=Path, required=True)
    e.add_argument("--steps", type=int, default=320)
    k = kinds.add_parser("peak")
    k.add_argument("--steps", type=int, default=60)
    k.add_argument("--rows", type=int, default=32)
    given = p.parse_args()
    if given.kind == "characters":
        characters(given.data, given.seeds)
    elif given.kind == "throughput":
        throughput(given.steps, given.rounds)
    elif given.kind == "experts":
        experts(given.data, given.steps)
    else:
        peak(given.steps, given.rows)


if __name__ == "__main__":
    main()
