"""What a model is made of: its modules with shapes, parameters and bytes, its facts, and the shapes of a real run.

    pellucid inspect smollm2-135m-instruct
    model.anatomy("Hello, world.").show()

Parameters that are shared (a tied head) are counted once, where they first stand. Layers of the same shape are one
entry with a count. The run says what goes where: ids to embeddings, states after each layer, the final norm, keys and
values, logits; and it checks that the last hidden state is the last of ``hidden_states``, which transformers gives
normed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from pellucid.errors import ModelError
from pellucid.lens.results import Anatomy, Part, Shape
from pellucid.models.encode import check_text, encode
from pellucid.models.load import LoadedModel
from pellucid.models.quantization import packed_bytes
from pellucid.trace.layers import decoder_layers
from pellucid.trace.logits import cache_name
from pellucid.trace.provenance import model_info, versions

SENTENCE = "The capital of France is"

#: What a module does, by its own name, from the inside out.
ROLES = (
    ("norm", ("norm", "ln_", "layernorm")),
    ("position", ("wpe", "rotary", "position", "pos_emb")),
    ("embedding", ("embed", "wte", "word_emb", "shared")),
    ("attention", ("attn", "attention")),
    ("mlp", ("mlp", "feed_forward", "experts", "moe", "fc1", "fc2")),
    ("head", ("lm_head", "embed_out", "score", "classifier", "qa_outputs")),
)


def anatomy(loaded: LoadedModel, sentence: str = SENTENCE) -> Anatomy:
    """Take ``loaded`` apart, and run it on ``sentence``. Raises ``InputError``, ``ModelError``."""
    began = time.perf_counter()
    check_text(sentence, "the sentence")
    parts = tuple(_parts(loaded.network))
    roles: dict[str, int] = {}
    for name, parameter in loaded.network.named_parameters():
        role = role_of(name)
        roles[role] = roles.get(role, 0) + parameter.numel()
    tokens, run, same, normed = _run(loaded, sentence)
    return Anatomy(
        facts=_facts(loaded),
        parts=parts,
        by_role=dict(sorted(roles.items(), key=lambda r: -r[1])),
        parameters=sum(p.numel() for p in loaded.network.parameters()),
        bytes=sum(packed_bytes(p) for p in loaded.network.parameters()),
        sentence=sentence,
        tokens=tokens,
        run=run,
        same=same,
        normed=normed,
        model=model_info(loaded),
        seconds=round(time.perf_counter() - began, 4),
        versions=versions(),
    )


def role_of(path: str) -> str:
    """embedding, position, attention, mlp, norm, head or other, by the names along ``path``, the innermost that says
    it."""
    for name in reversed(path.lower().split(".")):
        for role, marks in ROLES:
            if any(m in name for m in marks):
                return role
    return "other"


def _signature(module: Any) -> tuple[Any, ...]:
    """What two modules have in common that are shown as one."""
    return (type(module).__name__, tuple((n, tuple(p.shape), p.dtype) for n, p in module.named_parameters()))


def _parts(network: Any) -> Iterator[Part]:
    """The tree, depth first; alike neighbours of a list as one."""
    first: dict[int, str] = {}
    for name, p in network.named_parameters(remove_duplicate=False):
        first.setdefault(id(p), name)

    def visit(path: str, name: str, module: Any, depth: int, count: int) -> Iterator[Part]:
        own = list(module.named_parameters(recurse=False))
        shared = next((first[id(p)] for n, p in own if first[id(p)] != (f"{path}.{n}" if path else n)), None)
        inside = list(module.parameters())
        yield Part(
            path=path,
            name=name,
            depth=depth,
            kind=type(module).__name__,
            role=role_of(path),
            count=count,
            parameters=sum(p.numel() for p in inside),
            bytes=sum(packed_bytes(p) for p in inside),
            shapes=tuple(f"{n} {list(p.shape)}" for n, p in own),
            tied=shared,
        )
        children = list(module.named_children())
        k = 0
        while k < len(children):
            inner, child = children[k]
            alike = 1
            if inner.isdigit():
                signature = _signature(child)
                while k + alike < len(children) and _signature(children[k + alike][1]) == signature:
                    alike += 1
            shown = inner if alike == 1 else f"{inner}-{int(inner) + alike - 1}"
            yield from visit(f"{path}.{inner}" if path else inner, shown, child, depth + 1, alike)
            k += alike

    yield from visit("", type(network).__name__, network, 0, 1)


def _facts(loaded: LoadedModel) -> dict[str, str]:
    """What its configuration and tokenizer say, by the field's names."""
    config: Any = loaded.network.config.get_text_config()
    tokenizer = loaded.tokenizer
    found: dict[str, Any] = {
        "architecture": type(loaded.network).__name__,
        "answers with": loaded.kind,
        "layers": len(decoder_layers(loaded.network)) or getattr(config, "num_hidden_layers", None),
        "hidden size": getattr(config, "hidden_size", None),
        "MLP size": getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None),
        "attention heads": getattr(config, "num_attention_heads", None),
        "key-value heads": getattr(config, "num_key_value_heads", None),
        "head size": getattr(config, "head_dim", None),
        "attention": _attention(config),
        "positions": _positions(loaded.network, config),
        "activation": getattr(config, "hidden_activation", None)
        or getattr(config, "hidden_act", None)
        or getattr(config, "activation_function", None),
        "context": loaded.context,
        "vocabulary": getattr(config, "vocab_size", None),
        "tied head": "yes" if getattr(config, "tie_word_embeddings", False) else "no",
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": str(loaded.device),
        "special tokens": ", ".join(
            f"{k.removesuffix('_token')} {v}" for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)
        ),
        "chat template": "yes" if getattr(tokenizer, "chat_template", None) else "no",
    }
    return {k: str(v) for k, v in found.items() if v not in (None, "")}


def _attention(config: Any) -> str:
    heads, groups = getattr(config, "num_attention_heads", None), getattr(config, "num_key_value_heads", None)
    kind = "multi-head"
    if groups is not None and heads is not None and groups < heads:
        kind = "multi-query" if groups == 1 else "grouped-query"
    types, window = getattr(config, "layer_types", None) or [], getattr(config, "sliding_window", None)
    sliding = sum(t == "sliding_attention" for t in types) if types else 0
    if sliding and window:
        return f"{kind}; {sliding} of {len(types)} layers see {window} tokens back"
    if window and not types and getattr(config, "use_sliding_window", True):
        return f"{kind}; all layers see {window} tokens back"
    return kind


def _positions(network: Any, config: Any) -> str:
    names = [n for n, _ in network.named_modules()]
    if any("rotary" in n.rsplit(".", 1)[-1] for n in names):
        rope = getattr(config, "rope_parameters", None) or {}
        theta = rope.get("rope_theta") if isinstance(rope, dict) else None
        theta = getattr(config, "rope_theta", None) if theta is None else theta
        return "rotary" if theta is None else f"rotary, theta {theta:g}"
    return "learned" if any(role_of(n) == "position" for n in names) else "in the attention"


def _run(loaded: LoadedModel, sentence: str) -> tuple[tuple[str, ...], tuple[Shape, ...], float | None, bool | None]:
    """(tokens, shapes, difference of last hidden state and last entry of hidden_states, whether that is normed)."""
    network: Any = loaded.network
    if loaded.kind != "causal":
        return (), (), None, None
    encoded = encode(loaded, sentence, raw=True)
    ids = torch.tensor([encoded.ids], device=loaded.device)
    base = network.base_model
    positions: list[torch.Tensor] = []
    learned = next((m for n, m in network.named_modules() if role_of(n) == "position" and hasattr(m, "weight")), None)
    hook = None if learned is None else learned.register_forward_hook(lambda m, given, out: positions.append(out))
    try:
        with torch.no_grad():
            embedded = network.get_input_embeddings()(ids)
            inner = base(input_ids=ids, use_cache=True, output_hidden_states=True)
            logits = network(input_ids=ids, use_cache=False).logits
    except TypeError as e:
        raise ModelError(f"'{loaded.name}' cannot be run for its hidden states: {e}") from None
    finally:
        if hook is not None:
            hook.remove()
    hidden = inner.hidden_states
    found = [Shape("input_ids", tuple(ids.shape), "ids"), Shape("inputs_embeds", tuple(embedded.shape), "embeddings")]
    if positions:
        found.append(Shape("position embeddings", tuple(positions[-1].shape), "positions"))
    found += [
        Shape(f"hidden_states[{k}]", tuple(h.shape), "before" if k == 0 else "state") for k, h in enumerate(hidden)
    ]
    found.append(Shape("last_hidden_state", tuple(inner.last_hidden_state.shape), "backbone"))
    name = cache_name(network)
    cache = getattr(inner, name, None) or inner.past_key_values
    layers = list(getattr(cache, "layers", None) or [])
    for k, layer in enumerate(layers):
        if getattr(layer, "keys", None) is not None:
            found.append(Shape(f"{name}[{k}].keys", tuple(layer.keys.shape), "keys"))
            found.append(Shape(f"{name}[{k}].values", tuple(layer.values.shape), "values"))
    found.append(Shape("logits", tuple(logits.shape), "logits"))
    same = float((hidden[-1] - inner.last_hidden_state).abs().max())
    return tuple(t.text for t in encoded.tokens), tuple(found), same, same == 0.0
