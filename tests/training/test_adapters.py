"""A run that starts from a LoRA adapter trains that adapter, or says before any work that it will not."""

import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import TrainerCallback

from coursekit import ROOT
from rarft.models import VideoModel, VisionCache
from rarft.models.lora import add_lora, fingerprint
from rarft.system.errors import InputError
from rarft.system.files import BASE
from rarft.training import build_trainer, cold_start, grpo_config, read_recipe, run_recipe, train_rarft
from rarft.training.grpo import VideoGRPOTrainer
from rarft.training.recipe import add_adapter
from rarft.training.run import save_run
from rarft.world.completions import demonstrations

QUICK = {
    "num_generations": 2,
    "per_device_train_batch_size": 4,
    "max_completion_length": 4,
    "learning_rate": 0.01,
    "warmup_steps": 0,
    "temperature": 3.0,  # the base gives one answer otherwise
    "top_entropy_quantile": 1.0,
}
LORA = ["--use_peft", "true", "--lora_r", "4", "--lora_alpha", "8", "--lora_dropout", "0"]


def recipe(output, *more):
    """A run of two steps whose rewards differ within a group."""
    fields = f"--config {ROOT / 'recipes' / 'tiny.yaml'} --use_cpu true --train_data {ROOT / 'data' / 'samples'}"
    fields += f" --output_dir {output} --max_steps 2 --limit 2 --save_strategy no "
    fields += " ".join(f"--{name} {value}" for name, value in QUICK.items())
    return [*fields.split(), "--rewards", "tests.training.test_adapters:alternating", *map(str, more)]


def alternating(completions, **_):
    return [float(i % 2) for i in range(len(completions))]


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """The result of a LoRA run, far enough from its start to be told from a new adapter."""
    folder = tmp_path_factory.mktemp("lora") / "first"
    run_recipe(read_recipe(recipe(folder, *LORA)))
    return folder


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--gradient_checkpointing", "true"],
        ["--beta", "0.1"],
        ["--beta", "0.1", "--gradient_checkpointing", "true"],
        LORA,
        ["--use_peft", "true"],
        ["--use_peft", "true", "--lora_target_modules", "all-linear"],
    ],
    ids=" ".join,
)
def test_a_run_from_an_adapter_continues_it(adapter, tmp_path, more):
    before = weights(adapter)
    trainer = run_recipe(read_recipe(recipe(tmp_path / "second", "--model_name_or_path", adapter, *more)))
    first = next(row for row in trainer.state.log_history if "grad_norm" in row)
    assert first["grad_norm"] > 0
    if "--beta" in more:
        assert first["kl"] == pytest.approx(0, abs=1e-6), "the reference is the base with the starting adapter"
    after = weights(tmp_path / "second")
    assert set(after) == set(before) and all(after[n].shape == before[n].shape for n in after)
    moved = max((after[n] - before[n]).abs().max() for n in after)
    far = max((after[n] - before[n]).abs().mean() / before[n].abs().mean() for n in after if "lora_A" in n)
    assert moved > 1e-3 and far < 0.9, "it moved, and from where it was: a new adapter's A would be unlike it"
    assert LoraConfig.from_pretrained(str(tmp_path / "second")).base_model_name_or_path == "data/base"


@pytest.mark.parametrize(
    "field, value", [("lora_r", "8"), ("lora_alpha", "32"), ("use_rslora", "true"), ("lora_target_modules", "q_proj")]
)
def test_another_kind_of_adapter_is_refused_before_anything_is_loaded(adapter, tmp_path, field, value, monkeypatch):
    monkeypatch.setattr("rarft.training.recipe.open_model", lambda *_, **__: pytest.fail("a model was loaded"))
    fields = recipe(tmp_path / "run", "--model_name_or_path", adapter, "--use_peft", "true", f"--{field}", value)
    with pytest.raises(InputError, match=r"this adapter has .* was asked for; .*merge") as error:
        run_recipe(read_recipe(fields))
    assert str(adapter) in str(error.value)


def test_a_merged_model_takes_a_new_adapter_of_any_rank(adapter, tmp_path):
    model = VideoModel.load(adapter)
    model.model = model.model.merge_and_unload()
    model.save(tmp_path / "merged")
    run_recipe(
        read_recipe(
            recipe(tmp_path / "run", "--model_name_or_path", tmp_path / "merged", "--use_peft", "true", "--lora_r", 2)
        )
    )
    config = LoraConfig.from_pretrained(str(tmp_path / "run"))
    assert config.r == 2 and config.base_model_name_or_path == str(tmp_path / "merged")


def test_an_adapter_on_an_adapter_adds_to_it(adapter, tmp_path, world):
    """As other tools write them: the base of an adapter is a folder with an adapter."""
    outer = add_lora(VideoModel.load(adapter).model.merge_and_unload(), rank=2)
    for name, parameter in outer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    outer.peft_config["default"].base_model_name_or_path = str(adapter)
    outer.save_pretrained(tmp_path / "outer")
    found = VideoModel.load(tmp_path / "outer").model
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(found(input_ids=ids).logits, outer.eval()(input_ids=ids).logits)
        assert (found(input_ids=ids).logits - VideoModel.load(adapter).model(input_ids=ids).logits).abs().max() > 1e-2
    run_recipe(read_recipe(recipe(tmp_path / "run", "--model_name_or_path", tmp_path / "outer")))
    assert max((a - b).abs().max() for a, b in zip(*(weights(tmp_path / n).values() for n in ("run", "outer")))) > 1e-3  # noqa: B905


def test_an_adapter_continues_in_supervised_training_and_in_a_notebook(adapter, tmp_path, world):
    adapted = VideoModel.load(adapter)
    model = adapted.model
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    cold_start(adapted, demonstrations([(c.story, c.group) for c in world[:2]]), tmp_path, steps=2)
    learned = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert learned and all("lora_" in n for n in learned)


def test_weights_that_cannot_be_trained_are_an_error(adapter, tmp_path, world):
    """peft opens an adapter for inference unless told otherwise: its gradients would be none."""
    frozen = VideoModel.load(BASE)
    frozen.model = PeftModel.from_pretrained(frozen.model, str(adapter))
    groups = [clip.group for clip in world[:2]]
    config = grpo_config(tmp_path, num_generations=2, per_device_train_batch_size=4)
    with pytest.raises(InputError, match="no weight of this model is trainable"):
        build_trainer(frozen, groups, config)
    with pytest.raises(InputError, match="no weight of this model is trainable"):
        cold_start(frozen, demonstrations([(world[0].story, world[0].group)]), tmp_path, steps=1)


def test_an_adapter_on_a_model_changed_in_memory_brings_it_along(base, world, tmp_path):
    """The checkpoint that the model was loaded from is another one: with it, the adapter would be another model."""
    cold_start(base, demonstrations([(c.story, c.group) for c in world[:2]]), tmp_path / "sft", steps=2)
    base.add_lora(rank=2, modules_to_save=["embed_tokens"])
    lora = base.model
    config = grpo_config(tmp_path / "run", max_steps=1, save_strategy="steps", save_steps=1, **QUICK)
    groups = [clip.group for clip in world[:2]]
    save_run(train_rarft(base, groups, config, rewards=[alternating]))
    assert "/base" in (tmp_path / "run" / "checkpoint-1" / "adapter_config.json").read_text()
    again = VideoModel.load(tmp_path / "run").model
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=ids).logits, lora(input_ids=ids).logits)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert (moved / "base" / "model.safetensors").exists()
    for folder in (moved, moved / "checkpoint-1"):
        with torch.no_grad():
            torch.testing.assert_close(VideoModel.load(folder).model(input_ids=ids).logits, lora(input_ids=ids).logits)


def test_one_changed_row_is_a_change(base):
    before = fingerprint(base.model)
    assert fingerprint(base.model) == before == base.loaded_fingerprint
    with torch.no_grad():
        base.model.get_input_embeddings().weight[7] += 1
    assert fingerprint(base.model) != before


@pytest.mark.parametrize("option", [{"init_lora_weights": "pissa"}, {"trainable_token_indices": [5]}])
def test_adapters_that_change_the_weights_below_are_refused(base, option):
    with pytest.raises(InputError, match="an adapter is saved alone"):
        add_lora(base.model, **option)


def test_an_adapter_on_a_model_as_loaded_is_saved_alone(adapter):
    assert not (adapter / "base").exists()


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        control.should_save = control.should_training_stop = state.global_step == 1
        return control


@pytest.mark.parametrize("more", [[], ["--beta", "0.1"]], ids=["beta 0", "beta 0.1"])
@pytest.mark.parametrize("start", ["new", "continued"])
def test_a_lora_run_that_was_killed_ends_where_an_undisturbed_one_does(adapter, tmp_path, monkeypatch, start, more):
    more = [*LORA, *more] if start == "new" else ["--model_name_or_path", adapter, *more]
    run_recipe(read_recipe(recipe(tmp_path / "whole", *more)))
    with monkeypatch.context() as patch:
        init = VideoGRPOTrainer.__init__

        def stopping(self, *args, callbacks=(), **kwargs):
            init(self, *args, callbacks=[*callbacks, Stop()], **kwargs)

        patch.setattr(VideoGRPOTrainer, "__init__", stopping)
        run_recipe(read_recipe(recipe(tmp_path / "killed", *more)))
    (tmp_path / "killed" / "log.json").unlink()
    trainer = run_recipe(read_recipe(recipe(tmp_path / "killed", *more)), resume=True)
    assert trainer.state.global_step == 2
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "fields, is_so",
    [
        ("--lora_target_modules q_proj v_proj", lambda c: {n[-6:] for n in c.target_modules} == {"q_proj", "v_proj"}),
        ("--lora_target_modules all-linear", lambda c: {n[-4:] for n in c.target_modules} == {"proj"}),
        ("--lora_target_modules .*layers.0.*proj", lambda c: all(".layers.0." in n for n in c.target_modules)),
        ("--lora_modules_to_save embed_tokens", lambda c: c.modules_to_save == ["embed_tokens"]),
        ("--use_rslora true", lambda c: c.use_rslora),
        ("--use_dora true", lambda c: c.use_dora),
        ("--lora_dropout 0.3", lambda c: c.lora_dropout == 0.3),
    ],
)  # fmt: skip
def test_lora_fields_reach_the_adapter(tmp_path, fields, is_so):

    arguments = [*recipe(tmp_path, *LORA), *fields.split()]
    base = VideoModel.load(BASE)
    add_adapter(base, read_recipe(arguments)[1])
    wrapped = base.model
    config = wrapped.peft_config["default"]
    assert is_so(config) and config.r == 4 and not any("visual" in name for name in config.target_modules)
    trained = {n for n, p in wrapped.named_parameters() if p.requires_grad}
    assert any("embed_tokens" in n for n in trained) == ("embed_tokens" in fields)
    VisionCache(base)  # which refuses a trainable tower


@pytest.mark.parametrize("field", ["targets", "modules_to_save"])
@pytest.mark.parametrize("name", ["merger", "q_projection", "lm_head.weight"])
def test_a_target_that_is_no_part_of_the_language_model_is_named(base, field, name):
    with pytest.raises(InputError, match=f"has no {name}; it has .*q_proj"):
        add_lora(base.model, **{field: [name]})


def test_modules_that_the_vision_tower_has_too_are_not_saved(base):
    with pytest.raises(InputError, match="mlp is also part of the frozen vision tower"):
        add_lora(base.model, modules_to_save=["mlp"])


def test_a_seed_draws_the_same_adapter_twice(tmp_path):
    for name in ("a", "b"):
        run_recipe(read_recipe(recipe(tmp_path / name, *LORA, "--max_steps", "1")))
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    shutil.rmtree(tmp_path / "b")
