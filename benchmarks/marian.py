"""A small Marian from nothing: German to English on Multi30k's captions, and the BLEU that it reaches.

    python benchmarks/marian.py --data multi30k/ --out runs/marian --minutes 60

``--data`` is a folder with ``multi30k-{train,val,test_2016_flickr}.{de,en}.gz``, a sentence a line. One byte-pair
vocabulary for both languages is trained on the training part (tokenizers), transformers' ``MarianMTModel`` is trained
by the lab's own loop (3 + 3 layers, width 256), with label smoothing, in batches of a number of tokens. BLEU is
sacrebleu's, of beam search on the part ``test_2016_flickr``, which nothing was chosen by; loss is in nats a token, on
``val`` and on that part. ``--minutes`` turns into a number of steps by timing a few, once: stopped and run again, the
run goes on. Writes ``measured.json`` beside the model and prints it.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gzip
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast
from transformers.models.marian.modeling_marian import shift_tokens_right

import pellucid
from pellucid.cli.lab.bars import interruptible, training_bar
from pellucid.lab.data.batches import IGNORE, Batch
from pellucid.lab.folder import publish
from pellucid.lab.training.loop import Loop
from pellucid.lab.training.settings import Train
from pellucid.lab.training.world import join
from pellucid.models.quiet import quiet_bars

PAD, END = "<pad>", "</s>"
POOL = 100  # batches whose pairs are sorted by length together
TIMED = 12  # steps that are timed to know how many a budget holds
TEST = "test_2016_flickr"
RUN = "run.json"
OPTIONS = {"vocabulary": 8000, "layers": 3, "width": 256, "dropout": 0.1, "smoothing": 0.1, "rate": 1e-3}
OPTIONS |= {"warmup": 600, "beams": 5, "seed": 0}


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Sentences in German and English, as texts and as ids; each ends with ``END``."""

    texts: list[tuple[str, str]]
    ids: list[tuple[list[int], list[int]]]


def read(folder: Path, part: str) -> list[tuple[str, str]]:
    """The pairs of a part of the data."""
    sides = []
    for language in ("de", "en"):
        path = folder / f"multi30k-{part}.{language}.gz"
        try:
            with gzip.open(path, "rt", encoding="utf-8") as f:
                sides.append([line.strip() for line in f])
        except OSError as e:
            sys.exit(f"cannot read {path}: {e.strerror or e}")
    if len(sides[0]) != len(sides[1]):
        sys.exit(f"{part} has {len(sides[0])} lines of German and {len(sides[1])} of English: expected as many")
    return list(zip(*sides, strict=True))


def vocabulary(pairs: Sequence[tuple[str, str]], size: int) -> PreTrainedTokenizerFast:
    """Byte-level byte pairs over both languages; ``END`` follows every sentence, nothing goes before it."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])  # the blank before a first word
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    t.train_from_iterator((text for pair in pairs for text in pair), trainer)
    t.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, t.token_to_id(END))])
    return PreTrainedTokenizerFast(
        tokenizer_object=t, pad_token=PAD, eos_token=END, model_input_names=["input_ids", "attention_mask"]
    )


def encoded(tokenizer: Any, texts: list[tuple[str, str]], length: int) -> Pairs:
    """Ids of both sides; pairs of more than ``length`` tokens on one of them are left out."""
    sides = [tokenizer([pair[k] for pair in texts]).input_ids for k in (0, 1)]
    kept = [k for k, (a, b) in enumerate(zip(*sides, strict=True)) if max(len(a), len(b)) <= length]
    return Pairs([texts[k] for k in kept], [(sides[0][k], sides[1][k]) for k in kept])


def padded(pairs: Sequence[tuple[list[int], list[int]]], pad: int) -> Batch:
    """Sources as inputs and mask [rows, source], what is to be written as targets [rows, target], not shifted.

    Targets are blanked by their place behind the end, whatever id is there.
    """
    a, b = max(len(s) for s, _ in pairs), max(len(t) for _, t in pairs)
    inputs, mask = torch.full((len(pairs), a), pad), torch.zeros((len(pairs), a), dtype=torch.long)
    targets = torch.full((len(pairs), b), IGNORE)
    for k, (source, target) in enumerate(pairs):
        inputs[k, : len(source)] = torch.tensor(source)
        mask[k, : len(source)] = 1
        targets[k, : len(target)] = torch.tensor(target)
    return Batch(inputs, targets, None, mask)


class ByTokens:
    """Batches of pairs of about one length whose padded sources and targets are at most ``tokens`` in all; which pairs
    a step reads depends on the seed and the step alone."""

    rows = 1  # of no fixed number: one process, no micro-batches

    def __init__(self, pairs: Pairs, *, tokens: int, pad: int, seed: int) -> None:
        self.pairs, self.tokens, self.pad, self.seed = pairs.ids, tokens, pad, seed
        self.lengths = np.array([[len(s), len(t)] for s, t in pairs.ids])
        self.epoch, self.first, self.order = 0, 0, self._order(0)

    def batch(self, step: int) -> Batch:
        """The batch of a step (from 0)."""
        if step < self.first:
            self.epoch, self.first, self.order = 0, 0, self._order(0)
        while step >= self.first + len(self.order):
            self.first += len(self.order)
            self.epoch += 1
            self.order = self._order(self.epoch)
        return padded([self.pairs[k] for k in self.order[step - self.first]], self.pad)

    def _order(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng((self.seed, epoch))
        drawn = random.permutation(len(self.pairs))
        size = int(POOL * self.tokens / self.lengths.sum(axis=1).mean())
        batches: list[list[int]] = []
        for start in range(0, len(drawn), size):
            pool = drawn[start : start + size]
            a, b = self.lengths[pool].T
            batches += self._cut(pool[np.lexsort((b, a))])
        return [batches[k] for k in random.permutation(len(batches))]

    def _cut(self, order: Any) -> list[list[int]]:
        """Consecutive pairs in batches as large as ``tokens`` allows."""
        found: list[list[int]] = [[]]
        longest = np.zeros(2, dtype=int)
        for k in order:
            wider = np.maximum(longest, self.lengths[k])
            if found[-1] and wider.sum() * (len(found[-1]) + 1) > self.tokens:
                found.append([])
                wider = self.lengths[k]
            longest = wider
            found[-1].append(int(k))
        return found


class Learner(nn.Module):
    """Network and loss as one module: label smoothing while it learns, the plain loss when it is measured."""

    def __init__(self, network: Any, smoothing: float) -> None:
        super().__init__()
        self.network, self.smoothing = network, smoothing

    def forward(self, inputs: Tensor, targets: Tensor, positions: None, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(summed nats of the targets, 0). The decoder reads the start token (which is ``PAD``) and all targets but
        the last: shifted here, and nowhere else."""
        c = self.network.config
        before = shift_tokens_right(targets, c.pad_token_id, c.decoder_start_token_id)  # [rows, target]
        logits = self.network(
            input_ids=inputs, attention_mask=mask, decoder_input_ids=before, use_cache=False
        ).logits  # [rows, target, vocabulary]
        nll = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten(),
            ignore_index=IGNORE,
            reduction="sum",
            label_smoothing=self.smoothing if self.network.training else 0.0,
        )
        return nll, torch.zeros_like(nll)


def marian(tokenizer: Any, *, layers: int, width: int, dropout: float, seed: int) -> MarianMTModel:
    """A new model: heads of 64, feed-forward four times as wide, one table for sources, targets and head."""
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = MarianConfig(
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer),
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_position_embeddings=256,
        activation_function="relu",
        dropout=dropout,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        pad_token_id=pad,
        eos_token_id=end,
        decoder_start_token_id=pad,
        forced_eos_token_id=end,
    )
    torch.manual_seed(seed)
    network = MarianMTModel(config)
    # Smoothing gives the start token a little likelihood, which no text may hold.
    network.generation_config.bad_words_ids = [[pad]]
    network.generation_config.max_length = config.max_position_embeddings
    return network


def held_out(learner: Learner, pairs: Pairs, pad: int, device: Any) -> float:
    """Nats a token, without smoothing."""
    total, count = 0.0, 0
    order = sorted(range(len(pairs.ids)), key=lambda k: len(pairs.ids[k][1]))
    with torch.no_grad():
        for start in range(0, len(order), 128):
            batch = padded([pairs.ids[k] for k in order[start : start + 128]], pad).to(device)
            nll, _ = learner(batch.inputs, batch.targets, None, batch.mask)
            total, count = total + float(nll), count + batch.count
    return total / count


def translate(network: Any, tokenizer: Any, sources: list[str], beams: int) -> list[str]:
    """Each source by beam search, in batches of sources of about one length."""
    found = [""] * len(sources)
    ids = tokenizer(sources).input_ids
    order = sorted(range(len(sources)), key=lambda k: len(ids[k]))
    for start in range(0, len(order), 64):
        some = order[start : start + 64]
        batch = tokenizer([sources[k] for k in some], padding=True, return_tensors="pt").to(network.device)
        with torch.no_grad():
            out = network.generate(
                **batch, num_beams=beams, max_length=None, max_new_tokens=min(250, 2 * batch.input_ids.shape[1] + 10)
            )
        for k, text in zip(some, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True):
            found[k] = text.strip()
    return found


def steps_in(minutes: float, network: Any, batches: ByTokens, smoothing: float, device: Any) -> int:
    """How many steps a budget holds: the median of a few on a copy, whose random numbers are nobody's."""
    tried = copy.deepcopy(network).to(device).train()
    learner = Learner(tried, smoothing)
    optimiser = torch.optim.AdamW(tried.parameters(), lr=0.0, fused=True)
    taken = []
    for step in range(TIMED):
        began = time.perf_counter()
        batch = batches.batch(step).to(device)
        nll, _ = learner(batch.inputs, batch.targets, None, batch.mask)
        (nll / batch.count).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        float(nll)  # waits for a GPU
        taken.append(time.perf_counter() - began)
    return max(1, int(minutes * 60 / statistics.median(taken[2:])))


def explained(folder: Path, source: str) -> dict[str, Any]:
    """A translation, and the source token that mattered most for each of its tokens."""
    model = pellucid.load(str(folder), device="cpu")
    trace = model.explain(source, per_token=True, max_new_tokens=60)
    assert trace.scores is not None
    most = [max(trace.content, key=lambda i: abs(row[i])) for row in trace.scores]
    return {
        "source": source,
        "translation": trace.answer.text,
        "most for each token": [
            f"{t.text} <-{trace.sources[i].text}" for t, i in zip(trace.targets, most, strict=True)
        ],
        "trust": None if trace.trust is None else trace.trust.ratio,
    }


def main() -> int:
    """Train, translate, explain, measure; one JSON object."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, metavar="DIR")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--minutes", type=float, default=60.0, help="for training, where --steps is not given")
    p.add_argument("--steps", type=int)
    for name, usual in OPTIONS.items():
        p.add_argument(f"--{name}", type=type(usual), default=usual, help=f"default: {usual}")
    p.add_argument("--tokens", type=int, default=1024, help="of a batch, sources and targets with their padding")
    p.add_argument("--device", default="auto")
    o = p.parse_args()
    began, work = time.perf_counter(), time.process_time()
    folder, data = Path(o.out), Path(o.data)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {part: read(data, part) for part in ("train", "val", TEST)}
    if not (folder / "tokenizer" / "tokenizer.json").is_file():  # trained once: equal pairs have no fixed order
        vocabulary(texts["train"], o.vocabulary).save_pretrained(folder / "tokenizer")
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    parts = {name: encoded(tokenizer, pairs, 128) for name, pairs in texts.items()}
    pad = tokenizer.pad_token_id
    network: Any = marian(tokenizer, layers=o.layers, width=o.width, dropout=o.dropout, seed=o.seed)
    batches = ByTokens(parts["train"], tokens=o.tokens, pad=pad, seed=o.seed)
    learner = Learner(network, o.smoothing)
    with join(o.device) as place:
        if (folder / RUN).is_file():
            steps = int(json.loads((folder / RUN).read_text(encoding="utf-8"))["steps"])
        else:
            steps = o.steps or steps_in(o.minutes, network, batches, o.smoothing, place.device)
            (folder / RUN).write_text(json.dumps({"kind": "marian", "steps": steps}), encoding="utf-8")
        settings = Train(
            steps=steps,
            rows=1,
            rate=o.rate,
            betas=(0.9, 0.98),
            decay=0.01,
            warmup=min(o.warmup, steps // 4),
            schedule="wsd",
            least=0.02,
            evaluate_every=400,
            save_every=400,
            seed=o.seed,
        )
        recipe = {
            "kind": "marian",
            "data": {name: hashlib.sha256(repr(p.ids).encode()).hexdigest() for name, p in parts.items()},
            "model": network.config.to_dict(),
            "train": {**dataclasses.asdict(settings), "betas": list(settings.betas)},
            "smoothing": o.smoothing,
            "tokens": o.tokens,
        }
        recipe = json.loads(json.dumps(recipe))  # as it comes back from a checkpoint

        def save(where: Path) -> None:
            with quiet_bars():
                network.save_pretrained(where)
            tokenizer.save_pretrained(where)

        def restore(where: Path) -> None:
            with quiet_bars():  # tied tables and the fixed positions are in no file: transformers knows
                network.load_state_dict(MarianMTModel.from_pretrained(where).state_dict())

        with interruptible() as stop, training_bar(steps) as bar:
            done = Loop(
                network,
                batches,
                settings=settings,
                recipe=recipe,
                out=folder,
                place=place,
                save=save,
                restore=restore,
                evaluate=lambda: held_out(learner, parts["val"], pad, place.device),
                learner=learner,
                watch=bar,
                stop=stop,
            ).run()
        if done.stopped:
            print("stopped; the same command goes on", file=sys.stderr)
            return 130
        trained = time.perf_counter()
        batches.batch(done.steps - 1)  # the epoch that it ended in
        network.eval()
        publish(save, folder)
        sources, references = ([pair[k] for pair in texts[TEST]] for k in (0, 1))
        found = translate(network, tokenizer, sources, o.beams)
        bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
        measured = {
            "device": str(place.device),
            "threads": torch.get_num_threads(),
            "parameters": int(network.num_parameters()),
            "vocabulary": len(tokenizer),
            "pairs": len(parts["train"].ids),
            "steps": done.steps,
            "epochs": batches.epoch + (done.steps - batches.first) / len(batches.order),
            "targets": done.tokens,
            "training_seconds": done.seconds,
            "translating_seconds": time.perf_counter() - trained,
            "wall_seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - work,
            "val_loss": done.loss,
            "test_loss": held_out(learner, parts[TEST], pad, place.device),
            "part": TEST,
            "beams": o.beams,
            "bleu": bleu.corpus_score(found, [references]).score,
            "bleu_signature": str(bleu.get_signature()),
            "chrf": chrf.corpus_score(found, [references]).score,
            "chrf_signature": str(chrf.get_signature()),
            "examples": [{"source": sources[k], "said": found[k], "reference": references[k]} for k in range(5)],
            "explained": explained(folder, sources[0]),
        }
    print(text := json.dumps(measured, ensure_ascii=False, indent=1))
    (folder / "measured.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
