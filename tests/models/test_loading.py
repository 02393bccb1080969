"""Loading: what is accepted, and one clear line for everything that is not."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_checkpoint import tiny_config, tiny_tokenizer, write_tiny_lavida

from diffcam_core.cli import main
from diffcam_core.engine import explain
from diffcam_core.errors import CheckpointError, DiffcamError, InputError
from diffcam_core.events import Notice
from diffcam_core.models import Backbone, LladaConfig, load_backbone, load_model
from diffcam_core.models import loading as loading_module
from diffcam_core.models.base import DiffusionVLM
from diffcam_core.models.llada import checkpoint_key
from diffcam_core.models.loading import unused_keys

BLOCK0 = "model.transformer.blocks.0.q_proj.weight"


@pytest.fixture
def folder(tiny_lavida, tmp_path):
    """A private copy of the tiny checkpoint."""
    return shutil.copytree(tiny_lavida, tmp_path / "model")


def rewrite(folder, change):
    """Load the weights, let ``change`` edit the dict, store them again."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    path.unlink()
    save_file(weights, path)


def reconfigure(folder, **changes):
    (folder / "config.json").write_text(json.dumps(tiny_config(**changes)))


def refusal(folder, *words, kind=CheckpointError) -> str:
    """Check that loading is refused in one line that has all ``words``."""
    with pytest.raises(kind) as caught:
        load_model(folder, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.mend
    for word in words:
        assert word in message, message
    return message


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8))


def test_loads_frozen_and_answers_the_protocol(tiny_lavida):
    model = load_model(tiny_lavida, device="cpu")
    assert isinstance(model, DiffusionVLM)
    assert not any(p.requires_grad or p.is_meta for p in model.network.parameters())
    assert model.dtype == torch.float32
    facts = model.describe()
    assert facts["family"] == "LaViDa-LLaDA"
    assert facts["name"] == "tiny-lavida"
    assert facts["layers"] == 3
    assert facts["parameters"] == sum(
        t.numel() for t in load_file(tiny_lavida / "model.safetensors").values()
    )
    assert json.dumps(facts)
    assert model.default_generation.max_new_tokens == 8


def test_embedded_is_the_shipped_folder(tiny_lavida, monkeypatch):
    monkeypatch.setattr(loading_module, "resource_path", lambda name: tiny_lavida)
    assert load_model("embedded", device="cpu").name == "embedded"


def test_shards_equal_the_single_file(folder, tiny_lavida):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": keys[::2]}
    parts["model-00002-of-00002.safetensors"] = keys[1::2]
    for name, members in parts.items():
        save_file({key: weights[key] for key in members}, folder / name)
    index = {"weight_map": {key: name for name, members in parts.items() for key in members}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    one, other = (load_model(f, device="cpu").network.state_dict() for f in (folder, tiny_lavida))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)

    (folder / "model-00002-of-00002.safetensors").unlink()
    refusal(folder, "missing", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "model.bin"])
def test_index_may_not_lead_astray(folder, name):
    index = {"weight_map": {BLOCK0: name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refusal(folder, name)


def test_index_that_promises_too_much(folder):
    index = {"weight_map": {BLOCK0: "model.safetensors", "nothing": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refusal(folder, "nothing", "promises")


def test_extra_layer_head_and_post_norm_of_the_tower_are_left_over(
    folder, tiny_lavida, tmp_path, capsys
):
    tower = "model.vision_tower.vision_tower.vision_model."

    def add(weights):
        for key in [k for k in weights if ".encoder.layers.1." in k]:
            weights[key.replace("layers.1.", "layers.2.")] = weights[key].clone()
        weights[tower + "post_layernorm.weight"] = torch.ones(16)
        weights[tower + "head.probe"] = torch.ones(1, 1, 16)

    rewrite(folder, add)
    model, plain = (load_model(f, device="cpu") for f in (folder, tiny_lavida))
    assert tower + "head.probe" in model.report.unused
    assert model.describe()["unused_keys"] == model.report.unused
    assert unused_keys(folder) == model.report.unused
    assert len(model.report.unused) == 18
    assert set(model.report.unused) < set(load_backbone(folder).report.unused)
    # Whoever runs it is told, and `diffcam models` names all of them.
    events = []
    explain(model, image(), "Hi", out=tmp_path / "r.dcam", layers=[0], on_event=events.append)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any("18 tensors" in text and model.report.unused[0] in text for text in told)
    capsys.readouterr()
    assert main(["models", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert all(f"not used: {key}\n" in shown for key in model.report.unused)
    assert torch.equal(model.prepare(image(), "Hi").embeds, plain.prepare(image(), "Hi").embeds)


def test_tower_features_are_those_before_the_last_layer_and_without_norm(tiny_lavida):
    """The whole SigLIP model of transformers, with its last layer, gives the same state."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    network = load_model(tiny_lavida, device="cpu").network
    torch.manual_seed(0)
    whole = SiglipVisionModel(SiglipVisionConfig(**network.config.vision)).eval()
    mine = {
        name.removeprefix("core."): tensor
        for name, tensor in network.vision_tower.state_dict().items()
    }
    loaded = whole.load_state_dict(mine, strict=False)
    assert not loaded.unexpected_keys
    pixels = torch.rand(2, 3, 40, 40) * 2 - 1
    with torch.no_grad():
        expected = whole(pixels, output_hidden_states=True).hidden_states[-2]
        torch.testing.assert_close(network.vision_tower(pixels), expected)


def test_llama_names_load_as_the_same_lavida(folder, tiny_lavida):
    plain = load_model(tiny_lavida, device="cpu")

    def rename(weights):
        for name, _ in plain.backbone.named_parameters():
            weights[checkpoint_key(name, "llama")] = weights.pop(checkpoint_key(name, "llada"))

    rewrite(folder, rename)
    renamed = load_model(folder, device="cpu")
    embeds = plain.prepare(image(), "Hi").embeds
    assert torch.equal(renamed.prepare(image(), "Hi").embeds, embeds)
    assert torch.equal(renamed.backbone(embeds).logits, plain.backbone(embeds).logits)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", torch.float64])
def test_dtype_as_asked(tiny_lavida, dtype):
    model = load_model(tiny_lavida, device="cpu", dtype=dtype)
    expected = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert {p.dtype for p in model.network.parameters()} == {expected}
    prompt = model.prepare(image(), "Hi")
    assert prompt.embeds.dtype == expected
    assert torch.isfinite(model.backbone(prompt.embeds, logits_at=[-1 % 9]).logits).all()


def test_half_precision_files_become_float32_on_a_small_cpu_model(folder):
    rewrite(folder, lambda w: w.update({k: t.to(torch.bfloat16) for k, t in w.items()}))
    model = load_model(folder, device="cpu")
    assert model.dtype == torch.float32


def test_grouped_heads_and_tied_head(tmp_path):
    folder = write_tiny_lavida(tmp_path / "tied", n_kv_heads=1, weight_tying=True)
    assert "model.transformer.ff_out.weight" not in load_file(folder / "model.safetensors")
    model = load_model(folder, device="cpu")
    assert model.backbone.head(torch.zeros(1, 24)).shape == (1, 272)


def test_vocabulary_comes_from_the_tensor(folder):
    def grow(weights):
        for key in ("wte", "ff_out"):
            name = f"model.transformer.{key}.weight"
            weights[name] = torch.cat((weights[name], torch.zeros(8, 24)))

    rewrite(folder, grow)
    assert load_model(folder, device="cpu").backbone.vocab_size == 280


def test_weights_are_copies_and_outlive_the_file(folder):
    model = load_model(folder, device="cpu")
    before = model.backbone.wte.weight.clone()
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\x7f" * 4096)
    (folder / "model.safetensors").write_bytes(b"")
    assert torch.equal(model.backbone.wte.weight, before)


# --- refusals


def test_missing_folder_and_files(folder, tmp_path):
    refusal(tmp_path / "nowhere", "nowhere", "does not exist")
    (folder / "tokenizer.json").unlink()
    refusal(folder, "tokenizer.json")
    (folder / "config.json").unlink()
    refusal(folder, "config.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": ', "\udcff", "[" * 100_000])
def test_broken_config(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refusal(folder, "config.json")


@pytest.mark.parametrize("text", ["", "{}", '{"model": {}}', "not json", "\udcff"])
def test_broken_tokenizer(folder, text):
    (folder / "tokenizer.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refusal(folder, "tokenizer.json")


def test_tokenizer_without_special_tokens(folder):
    data = json.loads(tiny_tokenizer())
    data["added_tokens"] = data["added_tokens"][:2]
    (folder / "tokenizer.json").write_text(json.dumps(data))
    refusal(folder, "<|start_header_id|>", "tokenizer")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"d_model": None}, "d_model"),
        ({"d_model": "wide"}, "d_model"),
        ({"n_heads": 5}, "heads"),
        ({"n_heads": 0}, "below 1"),
        ({"n_kv_heads": 5}, "heads"),
        ({"d_model": 32}, "shape"),
        ({"n_layers": 4}, "missing"),
        ({"n_layers": 2}, "no place"),
        ({"mlp_hidden_size": 41}, "shape"),
        ({"activation_type": "gelu"}, "activation_type"),
        ({"layer_norm_type": "default"}, "layer_norm_type"),
        ({"alibi": True}, "alibi"),
        ({"mm_patch_merge_type": "flat"}, "mm_patch_merge_type"),
        ({"image_aspect_ratio": "anyres_max_4"}, "image_aspect_ratio"),
        ({"mm_projector_type": "linear"}, "mm_projector_type"),
        ({"mm_spatial_pool_mode": "max"}, "mm_spatial_pool_mode"),
        ({"image_aspect_ratio": "anyres"}, "image_grid_pinpoints"),
        ({"image_aspect_ratio": "anyres", "image_grid_pinpoints": "boom()"}, "pinpoints"),
        ({"image_aspect_ratio": "anyres", "image_grid_pinpoints": [[40, 0]]}, "pinpoints"),
        ({"image_aspect_ratio": "anyres", "image_grid_pinpoints": [[4000, 4000]]}, "pinpoints"),
        ({"vision_config": None}, "vision tower"),
        ({"vision_config": []}, "vision_config"),
        ({"vision_config": {"hidden_size": "x"}}, "hidden_size"),
        ({"vision_config": {**tiny_config()["vision_config"], "patch_size": 50}}, "vision_config"),
        ({"mask_token_id": 9999}, "<|mdm_mask|>"),
        ({"default_generation": 3}, "default_generation"),
        ({"default_generation": {"max_new_tokens": 0}}, "default_generation"),
        ({"n_layers": 30_000_000}, "30000000 layers"),
        (
            {"vision_config": {**tiny_config()["vision_config"], "num_hidden_layers": 10**8}},
            "100000000 layers",
        ),
        ({"tokenizer_model_max_length": "long"}, "tokenizer_model_max_length"),
    ],
)
def test_config_that_does_not_fit(folder, changes, word):
    reconfigure(folder, **changes)
    refusal(folder, word)


@pytest.mark.parametrize(
    "key",
    [
        BLOCK0,
        "model.transformer.ln_f.weight",
        "model.mm_projector.2.bias",
        "model.image_newline",
        "model.vision_tower.vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
    ],
)
def test_missing_tensor_is_named(folder, key):
    rewrite(folder, lambda weights: weights.pop(key))
    refusal(folder, "1 tensor(s) missing", key)


def test_many_missing_tensors_stay_one_line(folder):
    rewrite(folder, lambda w: [w.pop(k) for k in list(w) if ".blocks.1." in k])
    message = refusal(folder, "9 tensor(s) missing", "…")
    assert len(message) < 500


def test_shape_mismatch(folder):
    rewrite(folder, lambda w: w.update({BLOCK0: torch.zeros(24, 25)}))
    refusal(folder, BLOCK0, "[24, 25]", "[24, 24]")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(folder, value):
    def spoil(weights):
        weights[BLOCK0][3, 4] = value

    rewrite(folder, spoil)
    refusal(folder, BLOCK0, "not finite")


def test_huge_but_finite_values_load(folder):
    def fill(weights):
        weights[BLOCK0].fill_(3e38)  # their sum overflows

    rewrite(folder, fill)
    load_model(folder, device="cpu")


def test_integer_weights(folder):
    rewrite(folder, lambda w: w.update({BLOCK0: torch.zeros(24, 24, dtype=torch.int8)}))
    refusal(folder, BLOCK0, "int8")


@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, 0.999])
def test_truncated_weights(folder, kept):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    refusal(folder, "model.safetensors", "truncated")


def test_header_that_lies(folder):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
    refusal(folder, "model.safetensors")


def test_pickle_is_never_read(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return trap.touch, ()

    torch.save({"x": Trap()}, folder / "pytorch_model.bin")
    refusal(folder, "pickle", "pytorch_model.bin", "safetensors")
    assert not trap.exists()


def test_several_files_without_index(folder):
    shutil.copy(folder / "model.safetensors", folder / "model2.safetensors")
    (folder / "model.safetensors").rename(folder / "model1.safetensors")
    refusal(folder, "no index")


def test_other_families(folder, tmp_path):
    dream = {
        "model.embed_tokens.weight": torch.zeros(8, 24),
        "model.layers.0.self_attn.q_proj.bias": torch.zeros(24),
        "visual.patch_embed.proj.weight": torch.zeros(2, 2),
    }
    (folder / "model.safetensors").unlink()
    save_file(dream, folder / "model.safetensors")
    reconfigure(folder, model_type="dream-vl")
    refusal(folder, "dream-vl", "family")

    (folder / "model.safetensors").unlink()
    save_file({"bert.weight": torch.zeros(2)}, folder / "model.safetensors")
    refusal(folder, "no known language model")
    with pytest.raises(CheckpointError, match="no known language model"):
        load_backbone(folder)


def test_text_only_model_is_a_backbone_but_no_vision_model(golden_folder):
    refusal(golden_folder("llada_tiny"), "vision tower")


def test_backbone_with_foreign_biases_is_refused(tmp_path):
    model = Backbone(
        LladaConfig(d_model=8, n_heads=2, n_layers=1, mlp_hidden_size=8, vocab_size=16)
    )
    weights = {checkpoint_key(n, "llama"): p.detach() for n, p in model.named_parameters()}
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(8)
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(2)
    save_file(weights, tmp_path / "model.safetensors")
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    sizes |= {"intermediate_size": 8, "vocab_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    with pytest.raises(CheckpointError, match=r"1 language-model tensor.*q_proj\.bias"):
        load_backbone(tmp_path)
    # ...while the biases are fine where the configuration asks for them
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "attention_bias": True}))
    with pytest.raises(CheckpointError, match="2 tensor"):
        load_backbone(tmp_path)
    del weights["model.layers.0.self_attn.q_proj.bias"]
    (tmp_path / "model.safetensors").unlink()
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    load_backbone(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "xla"])
def test_unknown_device(tiny_lavida, device):
    with pytest.raises(InputError, match=device.split(":")[0]):
        load_model(tiny_lavida, device=device)


def test_unknown_dtype(tiny_lavida):
    with pytest.raises(InputError, match="int4"):
        load_model(tiny_lavida, device="cpu", dtype="int4")


def test_hub_id_asks_for_safe_files_only(tiny_lavida, monkeypatch, tmp_path):
    asked = {}

    def snapshot(repo_id, **options):
        asked.update(options, repo_id=repo_id)
        return str(tiny_lavida)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert load_model("somebody/some-model", device="cpu").name == "somebody/some-model"
    assert asked["repo_id"] == "somebody/some-model"
    assert asked["allow_patterns"] == ["*.safetensors", "*.json"]


def test_hub_failure_is_one_line(monkeypatch, tmp_path):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot(repo_id, **options):
        raise LocalEntryNotFoundError("no\nnetwork")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    refusal("somebody/some-model", "somebody/some-model", "no network")


def test_a_folder_wins_over_a_hub_id(tiny_lavida, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_lavida, tmp_path / "some" / "model")
    assert load_model("some/model", device="cpu").name == "model"


def test_every_refusal_is_ours():
    assert issubclass(CheckpointError, DiffcamError)


def test_loading_the_backbone_imports_no_transformers(golden_folder):
    code = (
        "import sys; from diffcam_core.models import load_backbone; "
        f"load_backbone({str(golden_folder('llada_tiny'))!r}); "
        "print('transformers' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
