"""Checkpoints that are broken, hostile or of another kind: an error names the folder and what is wrong with it; no code
is run, no pickle is opened, no weight is made up in silence."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from rarft.models import VideoModel
from rarft.models.load import _named
from rarft.system.errors import InputError
from rarft.system.files import BASE


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(BASE, tmp_path / "model")


@pytest.fixture
def adapter(tmp_path, copy):
    model = VideoModel.load(copy)
    model.add_lora(rank=2)
    model.save(tmp_path / "adapter")
    return tmp_path / "adapter"


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class Bomb:
    """What a pickle can do: leave a file behind when it is opened."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def refused(folder, *words):
    with pytest.raises(InputError) as error:
        VideoModel.load(folder)
    for word in (folder.name, *words):
        assert word in str(error.value), str(error.value)


def test_a_pickle_is_not_opened(copy, tmp_path):
    (copy / "model.safetensors").unlink()
    torch.save(Bomb(tmp_path / "run"), copy / "pytorch_model.bin")
    refused(copy, "safetensors")
    assert not (tmp_path / "run").exists()


def test_a_pickled_adapter_is_not_opened(adapter, tmp_path):
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(Bomb(tmp_path / "run"), adapter / "adapter_model.bin")
    refused(adapter, "adapter_model.safetensors")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_of_a_checkpoint_is_not_run(copy, tmp_path, name):
    code = f"open({str(tmp_path / 'run')!r}, 'w')\n"
    (copy / "own.py").write_text(code + "class Own: pass\n")
    classes = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoTokenizer")
    mapped = {"auto_map": {auto: "own.Own" for auto in classes}}
    kind = {"model_type": "own"} if name == "config.json" else {}
    change(copy / name, **mapped, **kind)
    if name == "config.json":
        refused(copy, "code")
    else:
        try:
            VideoModel.load(copy)
        except InputError as error:
            assert "model" in str(error)
    assert not (tmp_path / "run").exists()


def test_damaged_weights_are_named(copy):
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 100, whole[:8] + b"x" * 200 + whole[208:]):
        weights.write_bytes(damaged)
        refused(copy)


def test_weights_that_are_missing_are_not_made_up(copy):
    weights = load_file(copy / "model.safetensors")
    gone = next(name for name in weights if "layers.0" in name)
    del weights[gone]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy, "missing", gone.split(".")[-2])


def test_weights_of_another_shape_are_named(copy):
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if "layers.0" in name and weights[name].ndim == 2)
    weights[name] = weights[name][:, :-1].contiguous()
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy)


def test_configurations_that_are_none(copy):
    for text in ("", "[]", "{", "{}", '{"model_type": "bert"}', '{"model_type": "nothing"}', "\x00"):
        (copy / "config.json").write_text(text)
        refused(copy)


def test_an_adapter_without_its_base_names_it(adapter, copy):
    shutil.rmtree(copy)
    refused(adapter, str(copy))


def test_an_adapter_that_is_damaged(adapter):
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(adapter)


def test_an_adapter_with_a_part_missing(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    refused(adapter, "missing adapter keys")


def test_a_tokenizer_without_the_token_of_videos(copy):
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text.replace("<|video_pad|>", "<|other|>"))
    refused(copy, "video")


def test_a_processor_that_is_missing(copy):
    (copy / "processor_config.json").unlink()
    refused(copy)


def test_memory_that_runs_out_is_no_fault_of_the_checkpoint():
    with pytest.raises(RuntimeError, match="can't allocate"), _named("model"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(InputError, match="model: no model"), _named("model"):
        raise RuntimeError("size mismatch")
