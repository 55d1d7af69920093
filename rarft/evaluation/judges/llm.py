"""The LLM judge: how well does a refusal explain the mismatch, from 0 to 5, and which categories does it name?

Source: RA-RFT, the section on evaluation (LLM score, RT-IoU). The judge does not decide whether a query was refused;
`rarft.reading.answer` does. If the truth is known exactly, as in the world, use the judges of the data set instead."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.resources import files

from rarft.asking.answer import Prediction
from rarft.asking.dataset import CategoryJudge, Figures
from rarft.asking.llm import LLM, BadReplyError
from rarft.evaluation.scoring import OFFICIAL_RT_IOU, category_figures
from rarft.metrics import mean, rt_iou
from rarft.schema import Category

OFFICIAL = f"{OFFICIAL_RT_IOU}llm"
_figures = partial(category_figures, "llm")
_FILES = files("rarft.evaluation.judges")
SCORE_PROMPT = _FILES.joinpath("score.txt").read_text(encoding="utf-8")
CATEGORY_PROMPT = (
    _FILES.joinpath("categories.txt")
    .read_text(encoding="utf-8")
    .format(categories="\n".join(c.value for c in Category))
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


class LLMJudge:
    """Gives `llm_score` (0 to 5, one decimal), `rt_iou_llm` and `official_rt_iou_llm` to each irrelevant sample.

    As in the released evaluator, the judge reads thought and answer together, and gets one question for the score and
    one for the categories. If the model did not refuse, the figures are 0 and nothing is asked. A refusal without a
    reference explanation gets no score. Refusals without a usable verdict get no figures, and are counted."""

    def __init__(self, llm: LLM, *, concurrency: int = 8, offline: CategoryJudge | None = None):
        """`offline` is a judge of categories; its agreement with the LLM is reported as `offline_agreement`."""
        self.llm, self.concurrency, self.offline = llm, concurrency, offline
        self.about: dict = {}

    def __call__(self, predictions: Sequence[Prediction]) -> list[Figures]:
        """The figures of each prediction. Also sets `about` for the report: the judge's name, its prompts, and counts
        of refusals, failures and tokens."""
        refusals = [i for i, p in enumerate(predictions) if not p.sample.relevant and p.response.refused]
        explained = [i for i in refusals if predictions[i].sample.answer.strip()]
        scored = self._ask(SCORE_PROMPT, [_comparison(predictions[i]) for i in explained], SCORE_SCHEMA)
        named = self._ask(CATEGORY_PROMPT, [_statement(predictions[i]) for i in refusals], CATEGORY_SCHEMA)
        figures: list[Figures] = [
            {} if p.sample.relevant or p.response.refused else {"llm_score": 0.0, **_figures(p.sample, set())}
            for p in predictions
        ]
        for i, reply in zip(explained, scored, strict=True):
            if not isinstance(reply, BadReplyError):
                figures[i]["llm_score"] = round(float(reply["score"]), 1)
        agreement = []
        for i, reply in zip(refusals, named, strict=True):
            sample = predictions[i].sample
            if isinstance(reply, BadReplyError):  # the official evaluator then counts no category
                figures[i][OFFICIAL] = _figures(sample, set())[OFFICIAL]
                continue
            categories = set(reply["categories"])
            figures[i].update(_figures(sample, categories))
            if self.offline:
                agreement.append(rt_iou(categories, self.offline(predictions[i].response)))
        self.about = self._about(len(refusals), [*scored, *named], agreement)
        return figures

    def _ask(self, prompt: str, questions: list[str], schema: dict) -> list[dict | BadReplyError]:
        return self.llm.ask_all(prompt, questions, schema, concurrency=self.concurrency, desc="judge")

    def _about(self, refusals: int, replies: list[dict | BadReplyError], agreement: list[float]) -> dict:
        failures = [str(reply) for reply in replies if isinstance(reply, BadReplyError)]
        return {
            "judge": self.llm.model,
            "server": self.llm.base_url,
            "prompt": f"{SCORE_PROMPT}\n\n{CATEGORY_PROMPT}",
            "refusals": refusals,
            "without_verdict": len(failures),
            "failures": failures[:10],
            "offline_agreement": mean(agreement) if agreement else None,
            "usage": dict(self.llm.usage),
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
