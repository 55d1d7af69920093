import numpy as np
import pytest
import torch

from rarft.evaluation import (
    Answer,
    Prediction,
    predict,
    read_predictions,
    reference_predictions,
    scores,
    selective_risk,
    summary,
)
from rarft.models import video_kwargs
from rarft.models.decoding.refusal import span_tokens
from rarft.video import read_video


def test_it_is_the_probability_of_the_real_next_token(base, world):
    model, processor = base.model, base.processor
    clips, queries = [read_video(c.path) for c in world[:3]], [c.group.irrelevant[0].query for c in world[:3]]
    texts = base.generate(clips, queries)
    found = base.refusal_scores(base.encode(clips), queries, texts)
    for clip, query, text, probability in zip(clips, queries, texts, found, strict=True):
        prefix = base.prompt_texts([query])[0] + text[: text.index("<answer>") + len("<answer>")]
        inputs = processor(text=[prefix], return_tensors="pt", **video_kwargs([clip]))
        with torch.no_grad():
            shares = torch.softmax(model(**inputs).logits[0, -1], -1)
        shares[model.generation_config.suppress_tokens] = 0
        digits = [i for word, i in processor.tokenizer.get_vocab().items() if word.isdigit()]
        assert probability == pytest.approx(1 - float(shares[digits].sum() / shares.sum()), abs=1e-3)


def test_completions_without_an_answer_have_none(base, world):
    processor = base.processor
    features = base.encode([read_video(world[0].path)])
    query = [world[0].group.relevant.query]
    assert np.isnan(base.refusal_scores(features, query, ["<think> nothing"]))
    assert set(processor.tokenizer.convert_ids_to_tokens(span_tokens(processor.tokenizer))) == {
        str(n) for n in range(25)
    }


def test_predictions_keep_it_and_reports_use_it(base, world, tmp_path):
    samples = [s for c in world[:3] for s in c.group]
    found = predict(base, samples, output=tmp_path / "p.jsonl")
    again = read_predictions(tmp_path / "p.jsonl", samples)
    assert [p.refusal_probability for p in again] == [p.refusal_probability for p in found]
    assert all(0 <= p.refusal_probability <= 1 for p in found)


def test_auroc_and_selective_risk_by_hand(world):
    samples = [s for c in world[:2] for s in c.group]  # relevant, irrelevant, relevant, irrelevant
    oracle = reference_predictions(samples, "never refuse")
    sure = [0.1, 0.4, 0.2, None]
    values = scores([Prediction(p.sample, Answer(p.completion, s)) for p, s in zip(oracle, sure, strict=True)])
    assert summary(values)["auroc"] == 1.0
    coverage, risk = selective_risk(values)
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3])
    assert len(selective_risk(scores(oracle))[0]) == 0 and "auroc" not in summary(scores(oracle))
