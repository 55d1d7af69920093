"""The attention that shares prompts in generation changes no answer and is not saved."""

from rarft.models.decoding import shared_prefix
from rarft.models.decoding.shared_prefix import share_prefixes
from rarft.video import read_video


def test_another_attention_goes_without_sharing(base, world):
    model = base.model
    clips, queries = [read_video(c.path) for c in world[:2]], [c.group.relevant.query for c in world[:2]]
    shared = base.generate(clips, queries, num_generations=2, max_new_tokens=40)
    model.set_attn_implementation("eager")
    assert not share_prefixes(model)
    assert base.generate(clips, queries, num_generations=2, max_new_tokens=40) == shared


def test_a_saved_model_does_not_name_the_attention(base, tmp_path):
    model = base.model
    assert share_prefixes(model)
    model.save_pretrained(tmp_path)
    assert shared_prefix.NAME not in (tmp_path / "config.json").read_text()
