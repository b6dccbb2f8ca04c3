"""Runs of encoder-decoder models (Marian, T5, BART, M2M100): a source that is read whole, an answer that is written.

    model = pellucid.load("Helsinki-NLP/opus-mt-en-de")
    model.explain("The house is small.", per_token=True)      # source scores, and those of the answer so far

The run's tokens are the source's, as the encoder reads them, then the answer's. The decoder is fed its start tokens
(constants, ``models/seq2seq.py``) and the answer but for its last token, whose gradient is therefore exactly zero; the
decoder's causal mask does the same for every later token. So the matrix is laid out as a causal model's: scores of the
source, then of the answer's tokens before each target.

Embeddings go in where the model's own embedding layer puts out, so that whatever a family does to them (Marian and
M2M100 scale them, each in another place) and to positions (M2M100 counts the tokens that are not padding) is its own
affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import ModelError, OptionError
from pellucid.models.load import LoadedModel
from pellucid.models.seq2seq import decoder_start
from pellucid.trace.engine import Run
from pellucid.trace.inside import attention, instead, precision
from pellucid.trace.logits import wide
from pellucid.trace.memory import Plan, Shape
from pellucid.trace.objective import Objective


class Seq2SeqRun(Run):
    """One source and one answer inside one encoder-decoder model.

    What-if runs change the source; there is no prefix to share, because every token of a source sees all of it.
    """

    shares_prefix = False

    def __init__(
        self, loaded: LoadedModel, prompt: Sequence[int], answer: Sequence[int], objective: Objective, **options: Any
    ) -> None:
        self.start = decoder_start(loaded)
        network: Any = loaded.network
        self._encoder, self._decoder = network.get_encoder(), network.get_decoder()
        widths = [m.get_input_embeddings().embedding_dim for m in (self._encoder, self._decoder)]
        if widths[0] != widths[1]:
            raise ModelError(
                f"'{loaded.name}' embeds its source in {widths[0]} dimensions and its answer in {widths[1]}: only "
                "models with one width for both are known"
            )
        super().__init__(loaded, prompt, answer, objective, **options)

    def _planned(self, squares: int) -> Plan:
        """The whole graph. Raises ``OptionError`` where it does not fit."""
        need = graph_bytes(self.loaded.network, self.prompt_length, len(self.start) + self.targets - 1)
        if need > self.allowed:
            raise OptionError(
                f"a source of {self.prompt_length} tokens and an answer of {self.targets} need about "
                f"{need / 1e9:.1f} GB, and {self.allowed / 1e9:.1f} GB are allowed: shorten the source or the answer, "
                "free memory, or give more with memory="
            )
        return Plan(False, 1, 1, False, need)

    @property
    def tables(self) -> list[tuple[slice, Any]]:
        """The source's embedding layer, then the answer's."""
        border = self.prompt_length
        return [
            (slice(0, border), self._encoder.get_input_embeddings()),
            (slice(border, None), self._decoder.get_input_embeddings()),
        ]

    def _logits(self, x: Tensor, *, keep: bool) -> Tensor:
        self.progress("forward", 0, 1)
        border = self.prompt_length
        source = self.ids[:, :border]
        out = self._pass(source, torch.ones_like(source), x[:, :border], x[:, border:-1])
        logits = wide(out.logits[0, -self.targets :])  # [targets, vocabulary]
        self.forwards += 1
        if keep:
            self.logits = logits.detach()
        self.progress("forward", 1, 1)
        return logits

    def logits_after(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """For each source in place of the real one, the targets' logits [targets, vocabulary]; one batch, in which
        shorter sources are filled up behind a mask."""
        longest = max(map(len, prompts))
        pad = getattr(self.loaded.network.config, "pad_token_id", None) or 0
        device = self.ids.device
        source = torch.tensor([[*p, *[pad] * (longest - len(p))] for p in prompts], device=device)
        mask = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in prompts], device=device)
        network: Any = self.loaded.network
        with torch.no_grad(), precision(network, self.precision) as self.precision:
            logits = self._pass(source, mask, None, None).logits[:, -self.targets :]
        self.forwards += len(prompts)
        return [wide(row) for row in logits]

    def attentions(self) -> tuple[Tensor, Tensor]:
        """Attention weights of the positions that predict the answer's tokens, to the source [layers, heads, targets,
        source tokens] and to the answer itself [layers, heads, targets, targets] (what the start tokens get is left
        out); by plain attention, one forward pass that leaves ``logits``."""
        network: Any = self.loaded.network
        source, begin = self.ids[:, : self.prompt_length], len(self.start)
        with torch.no_grad(), attention(network, "eager"), precision(network, self.precision) as self.precision:
            out = self._pass(source, torch.ones_like(source), None, None, output_attentions=True)
        self.forwards += 1
        self.logits = wide(out.logits[0, -self.targets :])
        cross = torch.stack([a[0, :, begin - 1 :] for a in out.cross_attentions])
        own = torch.stack([a[0, :, begin - 1 :, begin:] for a in out.decoder_attentions])
        return wide(cross), wide(torch.nn.functional.pad(own, (0, 1)))  # the last token is fed to nobody

    def _pass(self, source: Tensor, mask: Tensor, there: Tensor | None, here: Tensor | None, **options: Any) -> Any:
        """The model's output for ``source`` [rows, tokens] behind ``mask``, and the answer; ``there`` [rows, source
        tokens, width] and ``here`` [rows, targets - 1, width] stand in for their embeddings."""
        network: Any = self.loaded.network
        fed = [*self.start, *self.ids[0, self.prompt_length : -1].tolist()]
        tokens = torch.tensor([fed], device=source.device).expand(len(source), -1)  # [rows, start + targets - 1]
        with instead(self._encoder.get_input_embeddings(), there, 0):
            hidden = self._encoder(input_ids=source, attention_mask=mask, return_dict=True)
        with instead(self._decoder.get_input_embeddings(), here, len(self.start)):
            return network(
                encoder_outputs=hidden,
                attention_mask=mask,
                decoder_input_ids=tokens,
                use_cache=False,
                return_dict=True,
                **options,
            )


def graph_bytes(network: Any, source: int, fed: int) -> int:
    """Bytes that autograd keeps of one forward pass: a count of floats, measured with saved-tensor hooks on Marian,
    BART, T5 (gated and not) and M2M100 (docs/decisions.md)."""
    shape, config = Shape.of(network), network.config
    above = int(getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", None) or shape.layers)
    below = int(getattr(config, "encoder_layers", None) or getattr(config, "num_layers", None) or shape.layers)
    width, size = shape.width, shape.size
    # A gated MLP's activation is written out in T5, and keeps its steps.
    token = 7 * width + (9 if getattr(config, "is_gated_act", False) else 3) * shape.mlp
    encoder = below * (source * token + shape.heads * source * source)
    cross = fed * 4 * width + source * 2 * width + shape.heads * fed * source
    decoder = above * (fed * token + shape.heads * fed * fed + cross)
    return (encoder + decoder) * size + 4 * fed * shape.vocabulary * max(size, 4)
