"""Metrics that ask a model: MAUVE (extra ``mauve``) and BERTScore (extra ``bertscore``), only where they are asked
for.

    pellucid lab eval MODEL --generate prompts.txt --references refs.txt --metrics bleu,mauve,bertscore --encoder DIR

Both packages fetch models of their own by default. Here MAUVE reads the features of the model that is evaluated (its
last layer's state at the last token), so nothing is fetched and figures compare within one model's checkpoints, not
with the paper's, which are GPT-2 large's. BERTScore reads the encoder that ``--encoder`` names (a folder or a Hub
id).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pellucid.errors import InputError, ModelError, OptionError
from pellucid.lab.evaluation.bootstrap import Estimate, of_mean
from pellucid.lab.evaluation.extras import needed
from pellucid.lab.evaluation.likelihood import check_causal, lead, tokens
from pellucid.lab.evaluation.setting import Setting, Texts
from pellucid.models.quiet import quiet_bars

if TYPE_CHECKING:
    from pellucid.models.load import LoadedModel

#: MAUVE counts texts in a tenth as many clusters; below two, nothing can be told apart.
LEAST = 20


def check_mauve(written: int, references: int) -> None:
    """Raise ``InputError`` for fewer than ``LEAST`` texts."""
    if min(written, references) < LEAST:
        raise InputError(
            f"MAUVE compares distributions and needs {LEAST} texts of each, better thousands: given {written} written "
            f"and {references} references"
        )


def check_encoder(name: str | None) -> int:
    """How many layers BERTScore's encoder has. Raises ``OptionError`` where none is named, ``ModelError`` where it
    cannot be read."""
    if name is None:
        raise OptionError(
            "BERTScore compares by an encoder: name one with --encoder (a folder or Hub id of BERT, RoBERTa, ...)"
        )
    from transformers import AutoConfig

    try:
        with quiet_bars():
            config: Any = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise ModelError(f"BERTScore's encoder '{name}' cannot be read: {reason}") from None
    return int(config.num_hidden_layers)


def mauve(outputs: Texts, references: Texts, setting: Setting) -> tuple[Estimate, str]:
    """How near the distribution of the texts is to that of the references, 0 to 1 (Pillutla et al. 2021,
    arXiv:2102.01454). No interval: clusters of resampled texts are other clusters. Raises ``InputError`` for fewer
    than ``LEAST`` texts."""
    written = [t for group in outputs for t in group if t.strip()]
    people = [t for group in references for t in group]
    check_mauve(len(written), len(people))
    assert setting.loaded is not None
    features = [_features(setting.loaded, texts) for texts in (written, people)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # faiss's, of few points a cluster: said in the note
        found = needed("mauve", "MAUVE", "mauve").compute_mauve(
            p_features=features[0], q_features=features[1], seed=setting.seed, verbose=False
        )
    note = f"features of {setting.loaded.name}; {len(written)} texts, {len(people)} references, better thousands"
    return Estimate(float(found.mauve), None, None, len(outputs)), note


def _features(loaded: LoadedModel, texts: list[str]) -> npt.NDArray[np.float32]:
    """The last layer's state at the last token of each text [texts, width]."""
    import torch

    check_causal(loaded, "MAUVE")
    before = lead(loaded)
    rows = []
    for text in texts:
        ids = [*before, *tokens(loaded, text, before).ids][: loaded.context]
        with torch.no_grad():
            out: Any = loaded.network.base_model(torch.tensor([ids], device=loaded.device), use_cache=False)
        rows.append(out.last_hidden_state[0, -1].float().cpu().numpy())
    return np.stack(rows)


def bertscore(outputs: Texts, references: Texts, setting: Setting) -> tuple[Estimate, str]:
    """F of the greedy match of contextual embeddings, times 100, not rescaled (Zhang et al. 2020, arXiv:1904.09675).
    Raises ``OptionError`` without an encoder, ``ModelError`` for one that cannot be read."""
    layers = check_encoder(setting.encoder)
    score = needed("bert_score", "BERTScore", "bertscore").score
    with warnings.catch_warnings(), quiet_bars():
        warnings.simplefilter("ignore")
        texts = [t for group in outputs for t in group]
        people = [list(references[k]) for k, group in enumerate(outputs) for _ in group]
        try:
            _, _, f = score(texts, people, model_type=setting.encoder, num_layers=layers, use_fast_tokenizer=True)
        except OverflowError:  # it cuts texts to model_max_length, which is 1e30 where a tokenizer does not know it
            raise ModelError(
                f"the tokenizer of BERTScore's encoder '{setting.encoder}' does not say how much it reads: set "
                "model_max_length in its tokenizer_config.json"
            ) from None
    values, at = [], 0
    for group in outputs:
        values.append(100 * float(f[at : at + len(group)].mean()))
        at += len(group)
    return of_mean(values, seed=setting.seed), f"F, {setting.encoder}, layer {layers}, not rescaled"
