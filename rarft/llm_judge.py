"""The LLM judge: how well does a refusal explain the mismatch, from 0 to 5, and which categories does it name?

Source: RA-RFT, the section on evaluation (LLM score, RT-IoU). Whether a query was refused is not asked: the reader
of answers (`rarft.segments`) says so without a judge. Where the truth is known exactly, use `rarft.judge` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files

from rarft.evaluate import Prediction
from rarft.llm import LLM, BadReply
from rarft.metrics import mean, rt_iou
from rarft.schema import Category

_FILES = files("rarft").joinpath("prompt_files")
SCORE_PROMPT = _FILES.joinpath("judge.txt").read_text(encoding="utf-8")
CATEGORY_PROMPT = _FILES.joinpath("categories.txt").read_text(encoding="utf-8").format(
    categories="\n".join(c.value for c in Category)
)
SCORE_SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "number", "minimum": 0, "maximum": 5}},
    "required": ["score"],
}
CATEGORY_SCHEMA = {
    "type": "object",
    "properties": {"categories": {"type": "array", "items": {"enum": [c.value for c in Category]}}},
    "required": ["categories"],
}


def llm_judge(
    predictions: Sequence[Prediction],
    llm: LLM,
    *,
    concurrency: int = 8,
    offline: Callable[[Prediction], set[str]] | None = None,
) -> dict:
    """Add `llm_score` (0 to 5, one decimal) and `llm_rt_iou` to the `judged` of each irrelevant sample, in place.

    As in the released evaluator, the judge reads thought and answer together, and is asked for the score and for the
    categories apart. Where the model did not refuse, both figures are 0, and nothing is asked; a score for which there
    is no true explanation stays away. Refusals that get no usable verdict are left without one, and counted.

    Args:
        offline: names categories without a language model; how far it agrees is reported as `offline_agreement`.

    Returns what a report needs to be read: the judge's name, its prompts, and counts of verdicts, failures, tokens.
    """
    refusals = []
    for prediction in predictions:
        if prediction.sample.relevant:
            continue
        if prediction.response.refused:
            refusals.append(prediction)
        else:
            prediction.judged |= {"llm_score": 0.0, "llm_rt_iou": 0.0}
    explained = [p for p in refusals if p.sample.answer.strip()]
    asked = {"concurrency": concurrency, "desc": "judge"}
    scores = llm.ask_all(SCORE_PROMPT, [_comparison(p) for p in explained], SCORE_SCHEMA, **asked)
    named = llm.ask_all(CATEGORY_PROMPT, [_statement(p) for p in refusals], CATEGORY_SCHEMA, **asked)
    failures = [str(verdict) for verdict in (*scores, *named) if isinstance(verdict, BadReply)]
    for prediction, verdict in zip(explained, scores, strict=True):
        if not isinstance(verdict, BadReply):
            prediction.judged["llm_score"] = round(float(verdict["score"]), 1)
    agreement = []
    for prediction, verdict in zip(refusals, named, strict=True):
        if isinstance(verdict, BadReply):
            continue
        categories = set(verdict["categories"])
        prediction.judged["llm_rt_iou"] = rt_iou({c.value for c in prediction.sample.categories}, categories)
        if offline:
            agreement.append(rt_iou(categories, offline(prediction)))
    return {
        "judge": llm.model,
        "server": llm.base_url,
        "prompt": f"{SCORE_PROMPT}\n\n{CATEGORY_PROMPT}",
        "refusals": len(refusals),
        "without_verdict": len(failures),
        "failures": failures[:10],
        "offline_agreement": mean(agreement) if agreement else None,
        "usage": dict(llm.usage),
    }


def _statement(prediction: Prediction) -> str:
    response = prediction.response
    return (
        f"Query: {prediction.sample.query}\n"
        f"The model's thought: {response.think or ''}\n"
        f"The model's answer: {response.answer or ''}"
    )


def _comparison(prediction: Prediction) -> str:
    return f"{_statement(prediction)}\nTrue explanation: {prediction.sample.answer}"
