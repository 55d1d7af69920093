"""Folders that version 0.2 of this library saved, before `VideoModel`, load and answer as they did then.

tests/models/saved has a run with a LoRA adapter, and a run of all weights without them: those of the base take their
place. expected.json has what version 0.2 made of both.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rarft.models import VideoModel
from rarft.system.files import BASE

SAVED = Path(__file__).with_name("saved")
EXPECTED = json.loads((SAVED / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("settings", ["in a file", "in config.json alone, as in a checkpoint"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_saved_model_answers_as_it_did(tmp_path, world, name, settings):
    folder = shutil.copytree(SAVED / name, tmp_path / name)
    if name == "full":
        shutil.copy(BASE / "model.safetensors", folder)
    if settings != "in a file":
        if name == "adapter":
            pytest.skip("an adapter has no config.json")
        (folder / "rarft_settings.json").unlink()
    video_model = VideoModel.load(folder, device="cpu")
    assert video_model.settings.style == "plain" and video_model.settings.max_new_tokens in (300, 352)
    samples = [sample for clip in world[:2] for sample in clip.group]
    crops, queries = [sample.crop for sample in samples], [sample.query for sample in samples]
    completions = video_model.generate(crops, queries)
    assert completions == EXPECTED[name]["completions"]
    scores = video_model.refusal_scores(crops, queries, completions)
    np.testing.assert_allclose(scores, EXPECTED[name]["refusal_scores"], atol=1e-5)
