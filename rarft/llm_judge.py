"""The LLM judge: how well does a refusal explain the mismatch, from 0 to 5, and which categories does it name?

Source: RA-RFT, the section on evaluation (LLM score, RT-IoU). Whether a query was refused is not asked: the span rule
(`rarft.evaluate`) says so without a judge. Where the truth is known exactly, use `rarft.judge` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from rarft.evaluate import Prediction
from rarft.llm import LLM, BadReply
from rarft.metrics import rt_iou
from rarft.schema import Category

PROMPT = files("rarft").joinpath("prompt_files/judge.txt").read_text(encoding="utf-8").format(
    categories="\n".join(c.value for c in Category)
)
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "score": {"type": "integer", "minimum": 0, "maximum": 5},
        "categories": {"type": "array", "items": {"enum": [c.value for c in Category]}},
    },
    "required": ["score", "categories"],
}


def llm_judge(predictions: Sequence[Prediction], llm: LLM, *, concurrency: int = 8) -> dict:
    """Add `llm_score` (0 to 5) and `llm_rt_iou` to the `judged` of each irrelevant sample, in place.

    Where the model did not refuse, both are 0, and nothing is asked. Refusals that get no usable verdict are left
    without one, and counted.

    Returns what a report needs to be read: the judge's name, its prompt, and counts of verdicts, failures, tokens.
    """
    refusals = []
    for prediction in predictions:
        if prediction.sample.relevant:
            continue
        if prediction.response.refused:
            refusals.append(prediction)
        else:
            prediction.judged |= {"llm_score": 0.0, "llm_rt_iou": 0.0}
    verdicts = llm.ask_all(PROMPT, [_question(p) for p in refusals], SCHEMA, concurrency=concurrency, desc="judge")
    failures = [str(v) for v in verdicts if isinstance(v, BadReply)]
    for prediction, verdict in zip(refusals, verdicts, strict=True):
        if isinstance(verdict, BadReply):
            continue
        true = {c.value for c in prediction.sample.categories}
        prediction.judged["llm_score"] = float(verdict["score"])
        prediction.judged["llm_rt_iou"] = rt_iou(true, set(verdict["categories"]))
    return {
        "judge": llm.model,
        "server": llm.base_url,
        "prompt": PROMPT,
        "refusals": len(refusals),
        "without_verdict": len(failures),
        "failures": failures[:10],
        "usage": dict(llm.usage),
    }


def _question(prediction: Prediction) -> str:
    sample = prediction.sample
    return (
        f"Query: {sample.query}\nTrue explanation: {sample.answer}\n"
        f"The model's explanation: {prediction.response.answer}"
    )
