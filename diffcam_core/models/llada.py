"""The LLaDA language backbone: a bidirectional transformer without any mask.

Pre-norm blocks, rotary positions (rotate-half), gated SiLU, no biases; norm and rotation are
computed in float32 at least. Module names equal the names in public LLaDA checkpoints below
``model.transformer.``, so the state dict of :class:`Backbone` with that prefix is a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffcam_core.errors import CheckpointError
from diffcam_core.models.checkpoint import LoadReport

KeyValue = tuple[Tensor, Tensor]
Past = tuple[KeyValue, ...]

LLADA_PREFIX = "model.transformer."


@dataclass(frozen=True)
class LladaConfig:
    """Shape of a LLaDA backbone.

    Attributes
    ----------
    d_model, n_heads, n_kv_heads, n_layers, mlp_hidden_size : int
        Width, query heads, key/value heads (a divisor of ``n_heads``), blocks, inner MLP width.
    vocab_size : int
        Rows of the embedding and of the head (the loader takes them from the stored tensor).
    rope_theta, rms_norm_eps : float
        Base of the rotary frequencies; epsilon of the norms.
    weight_tying, qkv_bias : bool
        Head shares the embedding; q, k and v have biases.
    mask_token_id, eos_token_id : int or None
        Special ids, where the configuration states them.
    """

    d_model: int
    n_heads: int
    n_layers: int
    mlp_hidden_size: int
    vocab_size: int
    n_kv_heads: int = 0
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    weight_tying: bool = False
    qkv_bias: bool = False
    mask_token_id: int | None = None
    eos_token_id: int | None = None
    max_sequence_length: int = 4096

    def __post_init__(self) -> None:
        if self.n_kv_heads == 0:
            object.__setattr__(self, "n_kv_heads", self.n_heads)
        sizes = (self.d_model, self.n_heads, self.n_layers, self.mlp_hidden_size, self.vocab_size)
        if min(*sizes, self.n_kv_heads) < 1:
            raise CheckpointError(
                "config.json states a size below 1 for the language model",
                "Use the config.json that belongs to these weights.",
            )
        if self.d_model % self.n_heads or (self.d_model // self.n_heads) % 2:
            raise CheckpointError(
                f"config.json: width {self.d_model} does not give even heads for "
                f"{self.n_heads} heads",
                "Use the config.json that belongs to these weights.",
            )
        if self.n_heads % self.n_kv_heads:
            raise CheckpointError(
                f"config.json: {self.n_kv_heads} key/value heads do not divide "
                f"{self.n_heads} query heads",
                "Use the config.json that belongs to these weights.",
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.d_model // self.n_heads

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LladaConfig:
        """Read a ``config.json`` in LLaDA naming or in Llama naming (LLaDA-V).

        Raises
        ------
        CheckpointError
            If a size is missing or the file asks for a feature that LLaDA does not have.
        """
        _refuse_foreign_features(config)

        def size(*names: str) -> int:
            for name in names:
                value = config.get(name)
                if value is not None:
                    return _as_int(name, value)
            raise CheckpointError(
                f"config.json has no {' or '.join(names)}",
                "Use the config.json that belongs to these weights.",
            )

        def optional(name: str) -> int | None:
            value = config.get(name)
            if isinstance(value, list):
                value = value[0] if value else None
            return None if value is None else _as_int(name, value)

        n_heads = size("n_heads", "num_attention_heads")
        n_kv = config.get("n_kv_heads", config.get("num_key_value_heads"))
        d_model = size("d_model", "hidden_size")
        inner = config.get("mlp_hidden_size", config.get("intermediate_size"))
        if inner is None:
            inner = d_model * _as_int("mlp_ratio", config.get("mlp_ratio", 4))
        vocab = config.get("embedding_size") or size("vocab_size")
        return cls(
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=0 if n_kv is None else _as_int("n_kv_heads", n_kv),
            n_layers=size("n_layers", "num_hidden_layers"),
            mlp_hidden_size=_as_int("mlp_hidden_size", inner),
            vocab_size=_as_int("vocab_size", vocab),
            rope_theta=float(config.get("rope_theta", 500000.0)),
            rms_norm_eps=float(config.get("rms_norm_eps", 1e-5)),
            weight_tying=bool(config.get("weight_tying", config.get("tie_word_embeddings", False))),
            qkv_bias=bool(config.get("include_qkv_bias", config.get("attention_bias", False))),
            mask_token_id=optional("mask_token_id"),
            eos_token_id=optional("eos_token_id"),
            max_sequence_length=_as_int(
                "max_sequence_length",
                config.get("max_sequence_length", config.get("max_position_embeddings", 4096)),
            ),
        )


def _as_int(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise CheckpointError(
            f"config.json: {name} is {value!r}, not a whole number",
            "Use the config.json that belongs to these weights.",
        )
    return int(value)


def _refuse_foreign_features(config: Mapping[str, Any]) -> None:
    wanted: dict[str, tuple[object, ...]] = {
        "activation_type": ("silu",),
        "hidden_act": ("silu",),
        "block_type": ("llama",),
        "layer_norm_type": ("rms",),
        "rope": (True,),
        "alibi": (False, None),
        "include_bias": (False, None),
        "attention_layer_norm": (False, None),
        "bias_for_layer_norm": (False, None),
        "input_emb_norm": (False, None),
        "scale_logits": (False, None),
    }
    for name, allowed in wanted.items():
        if name in config and config[name] not in allowed:
            raise CheckpointError(
                f"config.json asks for {name}={config[name]!r}, which a LLaDA backbone does not "
                "have",
                "Only LLaDA-class language models can be loaded here.",
            )


@dataclass(frozen=True)
class BackboneOutput:
    """What one forward returns.

    Attributes
    ----------
    logits : Tensor
        (B, T, V), or (B, K, V) when positions were asked for.
    hidden_states : tuple of Tensor
        Output of every block, (B, T, d) each, before the final norm, in the autograd graph (of a
        frozen model: where the input or the past requires gradients).
    past : tuple of (k, v) or None
        Per layer, keys BEFORE rotation and values of prefix and input, (B, heads, T, head_dim).
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...]
    past: Past | None


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32 at least and cast back before the scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of ``x``; same shape and dtype."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Rotary:
    """Cosines and sines of the rotary positions, float32, kept once per device.

    A plain object, not a buffer: ``module.to(bfloat16)`` must not touch the table.
    """

    def __init__(self, head_dim: int, theta: float) -> None:
        self._head_dim = head_dim
        self._theta = theta
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def _table(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        kept = self._tables.get(device)
        if kept is None or kept[0].shape[0] < length:
            # An inference-mode tensor could not be saved for a later backward.
            with torch.inference_mode(False), torch.no_grad():
                size = max(256, 1 << (length - 1).bit_length())
                exponent = torch.arange(0, self._head_dim, 2, dtype=torch.float32) / self._head_dim
                angles = torch.outer(
                    torch.arange(size, dtype=torch.float32), 1.0 / (self._theta**exponent)
                )
                angles = torch.cat((angles, angles), dim=-1)
                kept = (angles.cos().to(device), angles.sin().to(device))
            self._tables[device] = kept
        return kept

    def rotate(self, x: Tensor, offset: int) -> Tensor:
        """Rotate (…, T, head_dim) whose first row stands at position ``offset``."""
        length = x.shape[-2]
        cos, sin = self._table(offset + length, x.device)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        first, second = wide.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        out = wide * cos[offset : offset + length] + turned * sin[offset : offset + length]
        return out.to(x.dtype)


class Block(nn.Module):
    """One transformer block: attention and gated MLP, each after its norm, each residual."""

    def __init__(self, config: LladaConfig) -> None:
        super().__init__()
        d, head = config.d_model, config.head_dim
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, head
        self.attn_norm = RMSNorm(d, config.rms_norm_eps)
        self.ff_norm = RMSNorm(d, config.rms_norm_eps)
        self.q_proj = nn.Linear(d, config.n_heads * head, bias=config.qkv_bias)
        self.k_proj = nn.Linear(d, config.n_kv_heads * head, bias=config.qkv_bias)
        self.v_proj = nn.Linear(d, config.n_kv_heads * head, bias=config.qkv_bias)
        self.attn_out = nn.Linear(config.n_heads * head, d, bias=False)
        self.ff_proj = nn.Linear(d, config.mlp_hidden_size, bias=False)
        self.up_proj = nn.Linear(d, config.mlp_hidden_size, bias=False)
        self.ff_out = nn.Linear(config.mlp_hidden_size, d, bias=False)

    def forward(
        self,
        x: Tensor,
        rotary: Rotary,
        past: KeyValue | None = None,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Return the new stream (B, T, d) and this input's own (k before rotation, v)."""
        normed = self.attn_norm(x)
        q = self._heads(self.q_proj(normed), self.n_heads)
        k = self._heads(self.k_proj(normed), self.n_kv_heads)
        v = self._heads(self.v_proj(normed), self.n_kv_heads)
        offset = 0 if past is None else past[0].shape[2]
        keys, values = rotary.rotate(k, offset), v
        if past is not None:
            # The prefix is rotated before it is repeated: once, not once per suffix.
            keys = torch.cat((_repeat_to(rotary.rotate(past[0], 0), k), keys), dim=2)
            values = torch.cat((_repeat_to(past[1], v), values), dim=2)
        mixed = F.scaled_dot_product_attention(
            rotary.rotate(q, offset),
            keys,
            values,
            attn_mask=attention_mask,
            enable_gqa=self.n_heads != self.n_kv_heads,
        )
        batch, _, length, _ = mixed.shape
        x = x + self.attn_out(mixed.transpose(1, 2).reshape(batch, length, -1))
        normed = self.ff_norm(x)
        x = x + self.ff_out(F.silu(self.ff_proj(normed)) * self.up_proj(normed))
        return x, (k, v)

    def queries_and_keys(
        self, x: Tensor, rotary: Rotary, past_key: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return rotated q (B, heads, T, head_dim) and k (B, kv_heads, P + T, head_dim)."""
        normed = self.attn_norm(x)
        q = self._heads(self.q_proj(normed), self.n_heads)
        k = self._heads(self.k_proj(normed), self.n_kv_heads)
        offset = 0 if past_key is None else past_key.shape[2]
        keys = rotary.rotate(k, offset)
        if past_key is not None:
            keys = torch.cat((_repeat_to(rotary.rotate(past_key, 0), k), keys), dim=2)
        return rotary.rotate(q, offset), keys

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        return x.view(x.shape[0], x.shape[1], heads, self.head_dim).transpose(1, 2)


def _repeat_to(prefix: Tensor, own: Tensor) -> Tensor:
    """Give a prefix of batch b the batch B of ``own``; prefix i serves rows i*B/b … (i+1)*B/b-1."""
    prefix = prefix.to(own.dtype)
    b, batch = prefix.shape[0], own.shape[0]
    if b == batch:
        return prefix
    if b == 1:
        return prefix.expand(batch, -1, -1, -1)
    if batch % b:
        raise ValueError(f"a past of batch {b} cannot serve a batch of {batch}")
    return prefix.repeat_interleave(batch // b, dim=0)


def attention_rows(q: Tensor, k: Tensor, rows: Tensor) -> Tensor:
    """Attention weights of chosen queries over all keys, without any mask.

    Parameters
    ----------
    q : Tensor
        (B, heads, T, head_dim), rotated.
    k : Tensor
        (B, kv_heads, S, head_dim), rotated.
    rows : Tensor
        (R,) int64, rows of q.

    Returns
    -------
    Tensor
        (B, heads, R, S), float32 at least; each row sums to 1.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    chosen = q.index_select(2, rows).to(wide)
    keys = k.to(wide).repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = torch.matmul(chosen * q.shape[-1] ** -0.5, keys.mT)
    return scores.softmax(-1)


class Backbone(nn.Module):
    """A LLaDA language model: embedding, blocks, final norm, head.

    Parameters
    ----------
    config : LladaConfig
        Its sizes.

    Notes
    -----
    The module itself is an ordinary trainable one; loaders freeze it. Attention is bidirectional
    over everything that is given: ``past`` (a prefix that has never seen the suffix) and input.
    """

    def __init__(self, config: LladaConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_f = RMSNorm(config.d_model, config.rms_norm_eps)
        self.ff_out: nn.Linear | None = (
            None
            if config.weight_tying
            else nn.Linear(config.d_model, config.vocab_size, bias=False)
        )
        self.rotary = Rotary(config.head_dim, config.rope_theta)
        self.report = LoadReport()  # of the checkpoint that it was loaded from alone

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.config.n_layers

    @property
    def hidden_size(self) -> int:
        """Width d of the residual stream."""
        return self.config.d_model

    @property
    def vocab_size(self) -> int:
        """Rows of the head, padding rows included."""
        return self.config.vocab_size

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.wte.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return self.wte.weight.dtype

    def embed(self, ids: Tensor) -> Tensor:
        """Embed token ids (B, T) int64 as (B, T, d)."""
        return cast(Tensor, self.wte(ids))

    def run_block(
        self,
        index: int,
        x: Tensor,
        past_kv: KeyValue | None = None,
        return_kv: bool = False,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue | None]:
        """Run one block.

        Parameters
        ----------
        index : int
            Block number, from 0.
        x : Tensor
            (B, T, d) input of the block; its first row stands right after the prefix.
        past_kv : (k, v), optional
            Keys before rotation and values of the prefix, (b, kv_heads, P, head_dim); b is B, 1
            (one prefix shared by all rows), or a divisor of B (rows in groups of B/b).
        return_kv : bool
            Also return the keys (before rotation) and values of ``x`` itself, without the prefix.
        attention_mask : Tensor, optional
            Boolean, broadcastable to (B, heads, T, P+T), True where attention is allowed.

        Returns
        -------
        (Tensor, (k, v) or None)
        """
        out, own = cast(Block, self.blocks[index])(x, self.rotary, past_kv, attention_mask)
        return out, own if return_kv else None

    def queries_and_keys(
        self, index: int, x: Tensor, past_key: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what block ``index`` compares: rotated queries of ``x`` and all rotated keys.

        Parameters
        ----------
        index : int
            Block number, from 0.
        x : Tensor
            (B, T, d) input of the block; its first row stands right after the prefix.
        past_key : Tensor, optional
            Keys before rotation of the prefix, (b, kv_heads, P, head_dim).

        Returns
        -------
        (Tensor, Tensor)
            (B, heads, T, head_dim) and (B, kv_heads, P + T, head_dim).
        """
        return cast(Block, self.blocks[index]).queries_and_keys(x, self.rotary, past_key)

    def attention_weights(
        self, index: int, x: Tensor, rows: Tensor, past_key: Tensor | None = None
    ) -> Tensor:
        """Attention weights of chosen rows of ``x`` in block ``index``.

        Parameters and errors as in :meth:`queries_and_keys`; rows is (R,) int64.

        Returns
        -------
        Tensor
            (B, heads, R, P + T), float32 at least: over the prefix, then over ``x``. Only these
            rows are ever computed, never the whole square.
        """
        return attention_rows(*self.queries_and_keys(index, x, past_key), rows)

    def head(self, hidden: Tensor) -> Tensor:
        """Final norm and language-model head: (…, d) -> logits (…, V)."""
        return F.linear(self.ln_f(hidden), self._head_weight)

    def head_for(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Logits of chosen tokens only: (…, d), (K,) int64 -> (…, K), in float32 at least."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        return F.linear(self.ln_f(hidden).to(wide), self._head_weight[ids].to(wide))

    @property
    def _head_weight(self) -> Tensor:
        return self.wte.weight if self.ff_out is None else self.ff_out.weight

    def forward(
        self,
        embeds: Tensor,
        past: Past | None = None,
        use_cache: bool = False,
        logits_at: Tensor | Sequence[int] | None = None,
        attention_mask: Tensor | None = None,
    ) -> BackboneOutput:
        """Run all blocks.

        Parameters
        ----------
        embeds : Tensor
            (B, T, d).
        past : tuple of (k, v), optional
            As returned by an earlier call with ``use_cache``; gradients flow into it.
        use_cache : bool
            Return the past of prefix and input together.
        logits_at : positions, optional
            Rows (relative to ``embeds``) whose logits are wanted; None means all, an empty
            sequence none. Gathered before the final norm, so the full logits never exist.
        attention_mask : Tensor, optional
            See :meth:`run_block`.

        Returns
        -------
        BackboneOutput
        """
        if past is not None and len(past) != self.n_layers:
            raise ValueError(f"past has {len(past)} layers, the model has {self.n_layers}")
        x = embeds
        hidden: list[Tensor] = []
        caches: list[KeyValue] = []
        for index in range(self.n_layers):
            before = None if past is None else past[index]
            x, own = self.run_block(index, x, before, use_cache, attention_mask)
            hidden.append(x)
            if own is not None:
                caches.append(own if before is None else _append(before, own))
        if logits_at is not None:
            x = x.index_select(1, torch.as_tensor(logits_at, dtype=torch.long, device=x.device))
        return BackboneOutput(
            logits=self.head(x),
            hidden_states=tuple(hidden),
            past=tuple(caches) if use_cache else None,
        )

    def state_dict_for_checkpoint(self) -> dict[str, Tensor]:
        """Parameters under their public checkpoint names (``model.transformer.…``), detached."""
        return {LLADA_PREFIX + name: t.detach() for name, t in self.state_dict().items()}


def _append(before: KeyValue, own: KeyValue) -> KeyValue:
    return (
        torch.cat((_repeat_to(before[0], own[0]), own[0]), dim=2),
        torch.cat((_repeat_to(before[1], own[1]), own[1]), dim=2),
    )


_BLOCK_LLAMA = {
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
_TOP_LLAMA = {"wte": "model.embed_tokens", "ln_f": "model.norm", "ff_out": "lm_head"}


def dialect_of(keys: Iterable[str]) -> str | None:
    """Tell "llada" from "llama" naming by the keys; None if neither is there."""
    names = set(keys)
    if any(name.startswith("model.transformer.") for name in names):
        return "llada"
    if any(name.startswith(("model.layers.", "model.embed_tokens.")) for name in names):
        return "llama"
    return None


def checkpoint_key(parameter: str, dialect: str) -> str:
    """Translate a parameter name of :class:`Backbone` into a checkpoint key of a dialect."""
    if dialect == "llada":
        return LLADA_PREFIX + parameter
    if parameter.startswith("blocks."):
        _, index, module, leaf = parameter.split(".")
        return f"model.layers.{index}.{_BLOCK_LLAMA[module]}.{leaf}"
    module, leaf = parameter.split(".")
    return f"{_TOP_LLAMA[module]}.{leaf}"
