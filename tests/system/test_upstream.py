"""The fence around transformers and TRL: what overrides of ours rely on is there, and its absence is named."""

import ast
from pathlib import Path

import pytest
from trl import GRPOTrainer

from coursekit import ROOT
from rarft.models import VideoModel
from rarft.models.families import FAMILIES, family_of
from rarft.system.errors import UpstreamChangedError
from rarft.system.upstream import check_upstream, of_trl
from rarft.system.upstream.of_transformers import check_trainer, check_video_model
from rarft.training import build_trainer, grpo_config
from rarft.training.grpo import VideoGRPOTrainer

# Modules of upstream whose names are documented, or not likely to move; all others belong behind the fence.
PUBLIC = {"transformers", "transformers.utils", "trl", "peft", "datasets", "accelerate", "accelerate.utils"}


def test_the_installed_versions_have_what_overrides_rely_on(base, world, tmp_path):
    of_trl.check_grpo_trainer_class()
    check_trainer()
    model, processor = base.model, base.processor
    check_video_model(model, processor, mrope=family_of(model).mrope)
    groups = [clip.group for clip in world[:2]]
    config = grpo_config(tmp_path, num_generations=2, per_device_train_batch_size=4)
    of_trl.check_grpo_trainer(build_trainer(base, groups, config))


def test_every_override_of_trl_is_in_the_contract():
    overridden = {name for name in vars(VideoGRPOTrainer) if name in dir(GRPOTrainer) and not name.startswith("__")}
    assert overridden == set(of_trl.OVERRIDDEN)


@pytest.mark.parametrize("name", of_trl.OVERRIDDEN)
def test_a_method_that_moves_is_named_with_its_override(name, monkeypatch):
    monkeypatch.setattr(GRPOTrainer, name, None)  # some are inherited
    with pytest.raises(
        UpstreamChangedError, match=rf"trl \S+: GRPOTrainer.{name} (is gone|has no parameter).*VideoGRPOTrainer.{name}"
    ):
        of_trl.check_grpo_trainer_class()


def test_a_parameter_or_an_attribute_that_moves_is_named():
    class Upstream:
        def method(self, kept):
            pass

    with pytest.raises(UpstreamChangedError, match="no parameter moved any more; ours relies on it"):
        check_upstream("trl", Upstream, {"method": ("kept", "moved")}, "ours")
    with pytest.raises(UpstreamChangedError, match="Upstream.gone is gone; ours relies on it"):
        check_upstream("trl", Upstream(), {"method": None, "gone": None}, "ours")


def test_a_trainer_is_not_built_on_a_changed_trl(base, world, tmp_path, monkeypatch):
    monkeypatch.setattr(of_trl, "ATTRIBUTES", ("_buffered_inputs", "_moved"))
    groups = [clip.group for clip in world[:2]]
    with pytest.raises(UpstreamChangedError, match="_moved"):
        build_trainer(base, groups, grpo_config(tmp_path, num_generations=2, per_device_train_batch_size=4))


@pytest.mark.parametrize("path", sorted((ROOT / "rarft").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_private_names_are_imported_behind_the_fence_only(path: Path):
    if path.parent.name == "upstream":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            package = node.module.split(".")[0]
            if package in PUBLIC:
                assert node.module in PUBLIC, f"{path.name}:{node.lineno} {node.module}"
                assert not any(alias.name.startswith("_") for alias in node.names)


def test_a_family_that_is_not_in_the_table_is_an_error(monkeypatch):
    monkeypatch.delitem(FAMILIES, "qwen3_vl")
    with pytest.raises(ValueError, match="model_type 'qwen3_vl' is not known.*rarft/models/families.py"):
        VideoModel.load()
