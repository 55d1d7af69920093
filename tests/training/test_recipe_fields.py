"""Every field of a recipe is used, or refused by its name before a model is loaded or a video encoded."""

import inspect
import random
from dataclasses import fields

import pytest
import yaml
from trl import GRPOConfig, GRPOTrainer, ModelConfig

from coursekit import ROOT
from rarft.system.errors import InputError
from rarft.system.files import RECIPES
from rarft.training import build_trainer, read_recipe, run_recipe
from rarft.training.recipe import RunArguments
from rarft.training.recipe_fields import CHOICES, RANGES, REFUSED, refusal_of


def names(text: str) -> list[str]:
    return text.split()


# Fields that the library reads itself; each has a test of its effect, most of them here.
OURS = names("""
    train_data videos limit variant rewards features features_in_memory encode_together on_bad_video
    decode_seconds fps prompt_style max_pixels reader model_name_or_path model_revision dtype attn_implementation
    use_peft lora_r lora_alpha lora_dropout lora_target_modules lora_modules_to_save use_rslora use_dora
    output_dir seed data_seed shuffle_dataset max_steps num_train_epochs num_generations num_iterations
    generation_batch_size steps_per_generation temperature top_p top_k min_p repetition_penalty generation_kwargs
    max_completion_length ds3_gather_for_generation gradient_checkpointing_kwargs
""")
# Fields that TRL and transformers read, in methods that are not overridden here.
THEIRS = names("""
    per_device_train_batch_size learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps optim optim_args
    weight_decay adam_beta1 adam_beta2 adam_epsilon gradient_accumulation_steps max_grad_norm bf16 fp16 tf32
    activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing neftune_noise_alpha
    torch_empty_cache_steps auto_find_batch_size logging_strategy logging_steps logging_first_step
    log_on_each_node logging_nan_inf_filter log_level log_level_replica disable_tqdm report_to run_name project
    trackio_space_id trackio_bucket_id trackio_static_space_id save_only_model save_strategy save_steps
    save_on_each_node save_total_limit enable_jit_checkpoint push_to_hub hub_token hub_private_repo hub_model_id
    hub_strategy hub_always_push hub_revision restore_callback_states_from_checkpoint full_determinism use_cpu
    accelerator_config dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_in_order ddp_find_unused_parameters ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout deepspeed debug skip_memory_metrics local_rank
    disable_dropout pad_to_multiple_of beta epsilon delta epsilon_high sapo_temperature_neg sapo_temperature_pos
    vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg importance_sampling_level reward_weights
    multi_objective_aggregation scale_rewards loss_type mask_truncated_completions top_entropy_quantile
    entropy_coef use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target
    off_policy_mask_threshold use_bias_correction_kl log_completions num_completions_to_print log_unique_prompts
    log_completions_hub_repo
""")
ALL = {field.name: field for kind in (RunArguments, ModelConfig, GRPOConfig) for field in fields(kind)}


def test_every_field_is_in_the_table_once():
    refused = [name for name in ALL if refusal_of(name)]
    table = [*OURS, *THEIRS, *refused]
    assert len(table) == len(set(table)), "a field is used or refused, not both"
    assert not set(ALL) - set(table), "new fields: does the trainer use them?"
    assert set(REFUSED) <= set(ALL) and set(CHOICES) <= set(ALL) and set(RANGES) <= set(ALL)


def recipe(tmp_path, **changed):
    """The arguments of a recipe whose data is not there: nothing but its fields can be at fault before that is seen."""
    base = yaml.safe_load((RECIPES / "tiny.yaml").read_text())
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**base, "use_cpu": True, "output_dir": str(tmp_path / "run"), **changed}))
    return ["--config", str(path)]


def another_value(field):
    """A value other than the default, of a kind that the parser takes."""
    if isinstance(field.default, bool):
        return not field.default
    special = {
        "eval_strategy": "steps", "train_sampling_strategy": "sequential", "vllm_mode": "server", "use_cache": True,
        "bnb_4bit_quant_type": "fp4", "vllm_model_impl": "transformers", "include_num_input_tokens_seen": True,
        "vllm_importance_sampling_mode": "token_mask", "lora_task_type": "SEQ_CLS", "metric_for_best_model": "loss",
        "label_names": ["a"], "include_for_metrics": ["a"], "lora_target_parameters": ["a"], "length_column_name": "a",
        "dataloader_multiprocessing_context": "spawn", "fsdp": "full_shard", "fsdp_config": "{}",
        "optim_target_modules": "all-linear",
        "torch_compile_mode": "default", "torch_compile_backend": "inductor", "use_transformers_paged": True,
    }  # fmt: skip
    if field.name in special:
        return special[field.name]
    if isinstance(field.default, int | float):
        return field.default + 1
    kind = str(field.type)
    return {"a": 1} if "dict" in kind else 3 if "int" in kind or "float" in kind else True if "bool" in kind else "a"


UNREAD = {"parallelism_config"}  # the parser itself takes no value for it


@pytest.fixture
def nothing_starts(monkeypatch):
    for name in ("VideoModel", "VisionCache", "train_and_save"):
        monkeypatch.setattr(f"rarft.training.recipe.{name}", lambda *_, **__: pytest.fail("work began"))


@pytest.mark.parametrize("name", sorted(name for name in ALL if refusal_of(name) and name not in UNREAD))
def test_a_refused_field_is_named_before_any_work(tmp_path, nothing_starts, name):
    value = another_value(ALL[name])
    more = {"report_to": "none"}
    with pytest.raises(InputError, match=rf"recipe.yaml: .*{name}") as error:
        run_recipe(read_recipe(recipe(tmp_path, **more, **{name: value})))
    assert "\n" not in str(error.value)
    default = ALL[name].default
    if isinstance(default, bool | int | float | str):
        read_recipe(recipe(tmp_path, **{name: default}))  # saying what holds anyway is no mistake


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"rewards": []}, "rewards is empty"),
        ({"rewards": ["format", "brevity"]}, "unknown reward brevity"),
        ({"rewards": ["nowhere:function"]}, "nowhere"),
        ({"variant": "best"}, "unknown reward variant 'best'"),
        ({"limit": -1}, "limit is -1"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": [1]}, "limit is [1]"),
        ({"features_in_memory": 0}, "features_in_memory is 0"),
        ({"encode_together": 0}, "encode_together is 0"),
        ({"decode_seconds": float("nan")}, "decode_seconds is nan"),
        ({"fps": 0}, "fps is 0"),
        ({"max_pixels": -5}, "max_pixels is -5"),
        ({"on_bad_video": "ignore"}, "on_bad_video is 'ignore'"),
        ({"prompt_style": "poem"}, "unknown prompt style 'poem'"),
        ({"reward_weights": [1.0, 2.0]}, "reward_weights has 2 numbers for 4 rewards"),
        ({"rewards": ["format"], "reward_weights": [1.0, 2.0]}, "reward_weights has 2 numbers for 1 rewards"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": [1.0]}, "temperature is [1.0]"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"min_p": 1.5}, "min_p is 1.5"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"top_entropy_quantile": 0.0}, "top_entropy_quantile is 0.0"),
        ({"max_completion_length": 0}, "max_completion_length is 0"),
        ({"num_generations": 2.5}, "num_generations is 2.5; int was expected"),
        ({"max_completion_length": 24.5}, "max_completion_length is 24.5; int was expected"),
        ({"num_iterations": 0}, "num_iterations is 0"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"max_steps": -2}, "max_steps is -2"),
        ({"num_train_epochs": 0}, "num_train_epochs is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"loss_type": "best"}, "loss_type is 'best'"),
        ({"importance_sampling_level": "word"}, "importance_sampling_level is 'word'"),
        ({"scale_rewards": "row"}, "scale_rewards is 'row'"),
        ({"multi_objective_aggregation": "sum"}, "multi_objective_aggregation is 'sum'"),
        ({"report_to": "wandb"}, "wandb is not installed"),
        ({"report_to": "a_logger"}, "'a_logger' is not known"),
        ({"deepspeed": "zero.json"}, "deepspeed"),
        ({"optim": "adamw_bnb_8bit"}, "bitsandbytes"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
        ({"lr_scheduler_kwargs": {"speed": 1}}, "speed"),
        ({"generation_kwargs": {"speed": 1}}, "speed"),
        ({"save_strategy": "best"}, "save_strategy"),
        ({"lora_r": 4}, "lora_r: without use_peft"),
        ({"use_dora": True, "lora_alpha": 4}, "lora_alpha, use_dora: without use_peft"),
        ({"use_peft": True, "lora_r": 0}, "lora_r is 0"),
        ({"use_peft": True, "lora_dropout": 1.5}, "lora_dropout is 1.5"),
        ({"num_generations": 1}, "num_generations is 1; a number of at least 2"),
        ({"num_generations": 7}, "divisible"),
        ({"learning_rte": 1}, "learning_rte"),
        ({"limit": 0.5}, "limit is 0.5; int was expected"),
        ({"limit": True}, "limit is True; int was expected"),
        ({"train_data": None}, "train_data is None; str was expected"),
        ({"prompt_style": True}, "prompt_style is True; str was expected"),
        ({"variant": ["robust"]}, "variant is ['robust']; str was expected"),
        ({"rewards": {"format": 1}}, "rewards is {'format': 1}; list was expected"),
        ({"save_strategy": False}, "save_strategy is False"),
        ({"num_generations": 0}, "num_generations is 0"),
        ({"temperature": None}, "temperature is None; float was expected"),
        ({"beta": None}, "beta is None; float was expected"),
        ({"logging_steps": float("inf")}, "logging_steps is inf"),
        ({"entropy_coef": float("nan")}, "entropy_coef is nan"),
        ({"accelerator_config": 1}, "accelerator_config is 1; dict or str was expected"),
        ({"output_dir": 7}, "output_dir is 7; str was expected"),
        ({"seed": -1}, "seed is -1"),
        ({"data_seed": 2**40}, "data_seed is"),
        ({"adam_beta1": 1.5}, "adam_beta1 is 1.5"),
        ({"adam_beta1": 1.0}, "optim adamw_torch_fused"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers is -1"),
        ({"log_level": "loud"}, "log_level is 'loud'"),
        ({"gradient_checkpointing_kwargs": "abc"}, "checkpointing_kwargs is 'abc'"),
        ({"generation_kwargs": {"max_new_tokens": 2}}, "generation_kwargs: max_new_tokens cannot be changed here"),
        ({"reward_weights": [1.0, None, 0.0, 2.0]}, "reward_weights is"),
    ],
    ids=str,
)
def test_a_value_that_cannot_work_is_one_line_before_any_work(tmp_path, nothing_starts, changed, words):
    with pytest.raises(InputError) as error:
        run_recipe(read_recipe(recipe(tmp_path, **changed)))
    assert words in str(error.value) and "recipe.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_name_that_is_a_number_is_an_error(tmp_path):
    (tmp_path / "r.yaml").write_text("1: 2\n")
    with pytest.raises(InputError, match="r.yaml: the name of a field is a text, not 1"):
        read_recipe(["--config", str(tmp_path / "r.yaml")])


def test_both_spellings_of_config_are_read(tmp_path):
    _, path = recipe(tmp_path)
    assert (
        read_recipe([f"--config={path}"])[2].learning_rate == read_recipe(["--config", path])[2].learning_rate != 1e-6
    )


@pytest.mark.parametrize("text", ["--learning_rat", "--gradient_acc", "--nothing"])
def test_a_field_on_the_command_line_is_written_in_full(tmp_path, text):
    with pytest.raises(InputError, match=f"{text}: not a field"):
        read_recipe([*recipe(tmp_path), text, "1"])


def test_the_kinds_of_loss_are_trls():
    """What the trainer's own code compares `loss_type` with."""
    code = inspect.getsource(GRPOTrainer._compute_loss)
    assert all(f'"{name}"' in code for name in CHOICES["loss_type"])


def test_sampling_fields_reach_generation(base, world, tmp_path):
    changed = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2}
    more = {"max_completion_length": 9, "generation_kwargs": {"no_repeat_ngram_size": 3}}
    config = read_recipe(recipe(tmp_path, **changed, **more, num_generations=2, per_device_train_batch_size=4))[2]
    trainer = build_trainer(base, [clip.group for clip in world[:2]], config)
    sampling = trainer._sampling_config(base.model)
    assert {name: getattr(sampling, name) for name in changed} == changed and sampling.do_sample
    assert sampling.max_new_tokens == 9 and sampling.no_repeat_ngram_size == 3


def test_texts_are_logged_where_it_is_asked_for(tmp_path, capsys):
    data = {"train_data": str(ROOT / "data" / "samples"), "limit": 2, "save_strategy": "no", "max_steps": 1}
    small = {"num_generations": 2, "per_device_train_batch_size": 4, "max_completion_length": 4}
    run_recipe(
        read_recipe(
            recipe(tmp_path, **data, **small, log_completions=True, dataloader_num_workers=1, log_unique_prompts=True)
        )
    )
    assert list((tmp_path / "run" / "completions").glob("*.parquet"))


ODD = [None, True, False, -1, 0, 1.5, float("nan"), float("inf"), 10**30, "abc", "", [1], [None], {"a": 1}]


def test_odd_values_of_any_field_end_in_one_line(tmp_path, capsys):
    """A seeded part of all fields and odd values: accepted, or one line, or argparse's message; never a traceback."""
    draw = random.Random(0)
    for _ in range(60):
        name, value = draw.choice(sorted(ALL)), draw.choice(ODD)
        try:
            read_recipe(recipe(tmp_path, **{name: value}))
        except SystemExit as end:
            assert end.code == 2, (name, value)
        except InputError as error:
            assert "\n" not in str(error), (name, value)
