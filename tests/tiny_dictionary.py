"""A tiny Marian that translates word for word, trained here: the source word that each word comes from is known.

A source is English nouns in one order, its translation the German ones in a permuted order (each pair the other way
round): what decides a target word is one source word, at a place that is never its own. Now and then a source word is
blank and its translation too, so that the blank, which methods put in a word's place, is nothing new to it.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from pellucid.models.load import LoadedModel


def _words(*lines: str) -> list[str]:
    return " ".join(lines).split()


ENGLISH = _words("house tree dog cat book water bread hand", "door window night day road town light fire")
GERMAN = _words("Haus Baum Hund Katze Buch Wasser Brot Hand", "Tür Fenster Nacht Tag Weg Stadt Licht Feuer")
WORDS, LENGTH = len(ENGLISH), 6
END, BLANK = 0, 1  # of both languages; then the source's words, the target's, padding last
FIRST, PAD = 2, 2 + 2 * WORDS + 1
ORDER = torch.arange(LENGTH).view(-1, 2).flip(1).flatten()  # target word i comes from source word ORDER[i]
BLANK_TARGET = 2 + 2 * WORDS


def sentences(count: int, random: torch.Generator, *, blanks: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources [count, LENGTH + 1], ended, and translations [count, LENGTH + 1]."""
    words = torch.randint(FIRST, FIRST + WORDS, (count, LENGTH), generator=random)
    gone = torch.rand(count, LENGTH, generator=random) < (0.15 if blanks else 0.0)
    source, target = words.masked_fill(gone, BLANK), (words + WORDS).masked_fill(gone, BLANK_TARGET)[:, ORDER]
    end = torch.full((count, 1), END)
    return torch.cat([source, end], 1), torch.cat([target, end], 1)


def network() -> MarianMTModel:
    """Untrained."""
    torch.manual_seed(0)
    return MarianMTModel(
        MarianConfig(
            vocab_size=PAD + 1,
            d_model=64,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            max_position_embeddings=32,
            pad_token_id=PAD,
            eos_token_id=END,
            decoder_start_token_id=PAD,
            forced_eos_token_id=None,
            scale_embedding=True,
            init_std=0.1,
            dropout=0.0,
        )
    )


def train() -> MarianMTModel:
    """Half a minute on one thread, at most."""
    model, random = network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    for step in range(2000):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100)
        source, target = sentences(64, random, blanks=True)
        fed = torch.cat([torch.full((64, 1), PAD), target[:, :-1]], 1)
        logits = model(input_ids=source, decoder_input_ids=fed).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step >= 300 and step % 50 == 49 and float(loss.detach()) < 0.001:
            break
    return model.eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """The words by their numbers, those between blanks; the end after a text."""
    names = ["</s>", "…", *ENGLISH, *GERMAN, "–", "<pad>"]
    t = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="…"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(tokenizer_object=t, eos_token="</s>", pad_token="<pad>", unk_token="…")


def wrapped(model: MarianMTModel) -> LoadedModel:
    """With its tokenizer."""
    return LoadedModel.wrap(model, tokenizer(), name="dictionary")
