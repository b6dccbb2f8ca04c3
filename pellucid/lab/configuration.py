"""What a lab model is made of: one configuration that names each part.

    from pellucid.lab.configuration import LabConfig
    LabConfig(vocab_size=65, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, positions="rope")

Sizes have transformers' names, so that whatever reads a configuration (caches, generation, attribution) finds them.
What is our own is which part stands where: ``positions``, ``norm``, ``feed_forward``, ``qk_norm``, ``embedding_scale``.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from pellucid.errors import OptionError, unknown

POSITIONS = ("rope", "learned", "sinusoidal", "alibi", "t5", "none")
NORMS = ("rmsnorm", "layernorm")
#: Plain feed-forward networks by their activation, and gated ones.
PLAIN = ("gelu", "gelu_tanh", "relu", "relu_squared", "silu")
GATED = ("swiglu", "geglu")
FEED_FORWARDS = (*PLAIN, *GATED)
#: RoPE scalings whose frequencies do not depend on the length that is read.
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


class LabConfig(PreTrainedConfig):
    """The configuration of a ``LabForCausalLM``.

    - ``vocab_size``, ``hidden_size`` (the width), ``num_hidden_layers``, ``max_position_embeddings`` (the context).
    - ``num_attention_heads``; ``num_key_value_heads``: as many (multi-head, None), fewer (grouped-query) or 1
      (multi-query); ``head_dim``: width / heads where None.
    - ``positions``: one of ``POSITIONS``; ``rope_parameters`` as in transformers (``rope_theta``, ``rope_type``, ...).
    - ``norm``: one of ``NORMS``; ``norm_eps``; ``norm_weight``: do norms have weights; ``qk_norm``: RMSNorm of each
      head's queries and keys.
    - ``feed_forward``: one of ``FEED_FORWARDS``; ``intermediate_size``: 4 widths, or 8/3 of a gated one, where None.
    - ``num_experts``: 0 is one feed-forward network for all; else a mixture of that many, of which each token visits
      ``num_experts_per_tok``; ``expert_capacity``: each expert takes at most that many times its even share of the
      tokens and drops the rest (None: none is dropped); ``router_aux_loss_coef``, ``router_z_loss_coef``.
    - ``attention_bias``, ``mlp_bias``: biases of the linear maps; ``tie_word_embeddings``.
    - ``embedding_scale``: what embeddings are multiplied by (1; Gemma and T5 of Vaswani's kind: sqrt(width)).
    - ``dropout`` after embeddings, attention and feed-forward; ``attention_dropout`` of the attention weights.
    - ``sliding_window``: how many tokens back attention sees, itself among them (None: all).
    - ``zero_init``: maps that write into the residual stream start at zero, and so each layer as the identity.

    Raises ``OptionError`` for sizes that do not fit together.
    """

    model_type = "pellucid"
    keys_to_ignore_at_inference = ("past_key_values", "cache")

    def __init__(
        self,
        vocab_size: int = 256,
        hidden_size: int = 128,
        num_hidden_layers: int = 4,
        num_attention_heads: int = 4,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        intermediate_size: int | None = None,
        max_position_embeddings: int = 256,
        positions: str = "rope",
        rope_parameters: dict[str, Any] | None = None,
        relative_buckets: int = 32,
        relative_distance: int = 128,
        norm: str = "rmsnorm",
        norm_eps: float = 1e-6,
        norm_weight: bool = True,
        qk_norm: bool = False,
        feed_forward: str = "swiglu",
        num_experts: int = 0,
        num_experts_per_tok: int = 2,
        expert_capacity: float | None = None,
        router_aux_loss_coef: float = 0.1,
        router_z_loss_coef: float = 0.001,
        attention_bias: bool = False,
        mlp_bias: bool = False,
        tie_word_embeddings: bool = True,
        embedding_scale: float = 1.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        sliding_window: int | None = None,
        initializer_range: float = 0.02,
        zero_init: bool = False,
        use_cache: bool = True,
        **others: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_attention_heads if num_key_value_heads is None else num_key_value_heads
        self.max_position_embeddings = max_position_embeddings
        self.positions = positions
        self.relative_buckets = relative_buckets
        self.relative_distance = relative_distance
        self.norm = norm
        self.norm_eps = norm_eps
        self.norm_weight = norm_weight
        self.qk_norm = qk_norm
        self.feed_forward = feed_forward
        self.num_experts = num_experts
        self.num_experts_per_tok = num_experts_per_tok
        self.expert_capacity = expert_capacity
        self.router_aux_loss_coef = router_aux_loss_coef
        self.router_z_loss_coef = router_z_loss_coef
        self.attention_bias = attention_bias
        self.mlp_bias = mlp_bias
        self.embedding_scale = embedding_scale
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.sliding_window = sliding_window
        self.initializer_range = initializer_range
        self.zero_init = zero_init
        self.use_cache = use_cache
        self._check(head_dim)
        self.head_dim = hidden_size // num_attention_heads if head_dim is None else head_dim
        gated = feed_forward in GATED
        even = max(8, round(8 * hidden_size / 3 / 8) * 8) if gated else 4 * hidden_size
        self.intermediate_size = even if intermediate_size is None else intermediate_size
        if positions == "rope":
            rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, **(rope_parameters or {})}
            if rope["rope_type"] not in ROPE_TYPES:
                raise unknown("RoPE scaling", rope["rope_type"], list(ROPE_TYPES))
            if self.head_dim % 2:
                raise OptionError(f"RoPE turns pairs of numbers: a head of width {self.head_dim} has an odd one out")
            self.rope_parameters = rope
        # Every layer the same: transformers' caches ask for it where some layers slide.
        kind = "full_attention" if sliding_window is None else "sliding_attention"
        self.layer_types = [kind] * num_hidden_layers
        others["tie_word_embeddings"] = tie_word_embeddings
        super().__init__(**others)

    @property
    def biased(self) -> bool:
        """Do positions enter as a bias on attention's scores, a head at a time?"""
        return self.positions in ("alibi", "t5")

    def _check(self, head_dim: int | None) -> None:
        sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        for name in (*sizes, "max_position_embeddings"):
            if int(getattr(self, name)) < 1:
                raise OptionError(f"{name} should be at least 1, given {getattr(self, name)}")
        for name, known in (("positions", POSITIONS), ("norm", NORMS), ("feed_forward", FEED_FORWARDS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), list(known))
        heads, width = self.num_attention_heads, self.hidden_size
        if head_dim is None and width % heads:
            near = [h for h in range(1, width + 1) if width % h == 0]
            raise OptionError(
                f"{heads} heads do not divide the width {width}: choose one of {', '.join(map(str, near))} heads, or "
                "give head_dim"
            )
        if heads % self.num_key_value_heads:
            raise OptionError(
                f"{self.num_key_value_heads} key-value heads do not divide the {heads} heads: each serves equally many"
            )
        if self.num_experts and not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise OptionError(
                f"each token would visit {self.num_experts_per_tok} of {self.num_experts} experts: num_experts_per_tok "
                f"should be 1 to {self.num_experts}"
            )
        if self.expert_capacity is not None and self.expert_capacity <= 0:
            raise OptionError(f"expert_capacity should be above 0, given {self.expert_capacity}")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise OptionError(f"sliding_window should be at least 1 token, given {self.sliding_window}")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name} should be at least 0 and below 1, given {getattr(self, name)}")
