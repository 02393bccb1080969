"""The LLaDA backbone against numbers recorded from the original code, and against itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffcam_core.models import Backbone, LladaConfig, load_backbone
from diffcam_core.models.llada import checkpoint_key

ATOL = 2e-4


@pytest.fixture(scope="module")
def golden(golden_arrays):
    return golden_arrays("llada_tiny")


@pytest.fixture(scope="module")
def backbone(golden_folder):
    return load_backbone(golden_folder("llada_tiny"))


def tiny(dtype=torch.float64, **changes) -> Backbone:
    sizes = {"d_model": 16, "n_heads": 4, "n_layers": 2, "mlp_hidden_size": 24, "vocab_size": 40}
    torch.manual_seed(0)
    model = Backbone(LladaConfig(**{**sizes, **changes})).to(dtype).eval()
    return model.requires_grad_(False)


def test_logits_and_hidden_states_of_ids(backbone, golden):
    out = backbone(backbone.embed(torch.from_numpy(golden["input_ids"])))
    np.testing.assert_allclose(out.logits, golden["logits"], atol=ATOL)
    # golden "hidden" holds block INPUTS, then the final normed state
    for layer in range(1, backbone.n_layers):
        np.testing.assert_allclose(
            out.hidden_states[layer - 1][0], golden["hidden"][layer], atol=ATOL
        )
    np.testing.assert_allclose(
        backbone.ln_f(out.hidden_states[-1])[0], golden["hidden"][-1], atol=ATOL
    )


def test_block_outputs_and_gradients(backbone, golden):
    embeds = torch.from_numpy(golden["embeds"]).requires_grad_()
    out = backbone(embeds)
    np.testing.assert_allclose(out.logits.detach(), golden["logits_from_embeds"], atol=ATOL)
    gradients = torch.autograd.grad(out.logits[0, 25, 7], out.hidden_states)
    for layer, (state, gradient) in enumerate(zip(out.hidden_states, gradients, strict=True)):
        np.testing.assert_allclose(state[0].detach(), golden["block_out"][layer], atol=ATOL)
        np.testing.assert_allclose(
            gradient[0], golden["block_grad_of_logit_25_7"][layer], atol=ATOL
        )


def test_prefix_cache(backbone, golden):
    prefix = backbone(torch.from_numpy(golden["embeds"]), use_cache=True, logits_at=[])
    assert prefix.logits.shape == (1, 0, backbone.vocab_size)
    masks = backbone.embed(torch.full((1, 12), 319))
    out = backbone(masks, past=prefix.past)
    np.testing.assert_allclose(out.logits, golden["logits_prefix_cached"], atol=ATOL)


def test_loaded_parameters_are_frozen_and_eval(backbone):
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_logits_at_equals_rows_of_all_logits(backbone, golden):
    embeds = torch.from_numpy(golden["embeds"])
    some = backbone(embeds, logits_at=[3, 25]).logits
    torch.testing.assert_close(some, backbone(embeds).logits[:, [3, 25]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_past_of_two_parts_equals_past_of_one(n_kv_heads):
    model = tiny(n_kv_heads=n_kv_heads)
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    # Causal in parts: the second part sees the first, so both ways must cache the same keys.
    first = model(x[:, :4], use_cache=True)
    second = model(x[:, 4:7], past=first.past, use_cache=True)
    assert second.past[0][0].shape == (1, n_kv_heads, 7, 4)
    parts = model(x[:, 7:], past=second.past).logits
    mask = torch.ones(9, 9, dtype=torch.bool)
    mask[:4, 4:] = False
    mask[4:7, 7:] = False
    whole = model(x, attention_mask=mask).logits[:, 7:]
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("prefixes", [1, 2])
def test_many_suffixes_share_a_prefix(prefixes):
    model = tiny()
    prefix = torch.randn(prefixes, 5, 16, dtype=torch.float64, requires_grad=True)
    suffix = torch.randn(4, 3, 16, dtype=torch.float64)
    past = model(prefix, use_cache=True).past
    together = model(suffix, past=past)
    (gradient,) = torch.autograd.grad(together.logits.square().sum(), prefix)
    expected = torch.zeros_like(prefix)
    for row in range(4):
        source = prefix[[row * prefixes // 4]]
        alone = model(suffix[[row]], past=model(source, use_cache=True).past)
        torch.testing.assert_close(together.logits[row], alone.logits[0])
        expected += torch.autograd.grad(alone.logits.square().sum(), prefix)[0]
    torch.testing.assert_close(gradient, expected)


def test_gradient_through_past_is_the_finite_difference():
    model = tiny()
    prefix = torch.randn(1, 3, 16, dtype=torch.float64, requires_grad=True)
    suffix = torch.randn(1, 2, 16, dtype=torch.float64)

    def score(x):
        past = model(x, use_cache=True, logits_at=[]).past
        return model(suffix, past=past, logits_at=[1]).logits[0, 0, 5]

    assert torch.autograd.gradcheck(score, (prefix,))


def test_llama_names_give_the_same_logits(tmp_path, golden_folder, backbone, golden):
    folder = golden_folder("llada_tiny")
    stored = load_file(folder / "model.safetensors")
    renamed = {
        checkpoint_key(name, "llama"): stored[checkpoint_key(name, "llada")]
        for name, _ in backbone.named_parameters()
    }
    assert "model.layers.0.mlp.down_proj.weight" in renamed
    save_file(renamed, tmp_path / "model.safetensors")
    config = {
        "model_type": "llava_llada",
        "hidden_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_hidden_layers": 5,
        "intermediate_size": 224,
        "vocab_size": 320,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    other = load_backbone(tmp_path)
    ids = torch.from_numpy(golden["input_ids"])
    assert torch.equal(other(other.embed(ids)).logits, backbone(backbone.embed(ids)).logits)


def test_bfloat16_keeps_norm_and_rotation_wide(backbone, golden_folder, golden):
    narrow = load_backbone(golden_folder("llada_tiny"), dtype="bfloat16")
    assert narrow.dtype == torch.bfloat16
    embeds = torch.from_numpy(golden["embeds"])
    wide = backbone(embeds).hidden_states[0]
    got = narrow(embeds.to(torch.bfloat16)).hidden_states[0]
    assert got.dtype == torch.bfloat16
    error = (got.float() - wide).abs().max() / wide.abs().max()
    assert error < 0.02


def test_trainable_under_autocast_with_a_batch():
    torch.manual_seed(0)
    model = Backbone(
        LladaConfig(d_model=16, n_heads=2, n_layers=2, mlp_hidden_size=24, vocab_size=40)
    )
    ids = torch.randint(0, 40, (3, 6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = model.embed(ids)
        for index in range(model.n_layers):
            x, _ = model.run_block(index, x)
        loss = torch.nn.functional.cross_entropy(model.head(x).flatten(0, 1).float(), ids.flatten())
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_tables_made_in_inference_mode_serve_a_later_backward():
    model = tiny()
    x = torch.randn(1, 4, 16, dtype=torch.float64)
    with torch.inference_mode():
        model(x)
    x.requires_grad_()
    model(x).logits.sum().backward()
    assert x.grad is not None


def test_export_has_checkpoint_names(backbone, golden_folder):
    stored = load_file(golden_folder("llada_tiny") / "model.safetensors")
    exported = backbone.state_dict_for_checkpoint()
    assert exported.keys() == stored.keys()
    assert all(torch.equal(exported[key], stored[key]) for key in stored)
