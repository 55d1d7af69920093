"""Official behaviour by the table of the rules; holes open in `official`, closed in `robust`."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rarft.metrics import temporal_iou
from rarft.reading.completion import format_completion
from rarft.rewards import NAMES, REWARDS, VARIANTS, make_rewards
from rarft.schema import Span

TRUE, QUERY, ORIGINAL = "no such segment : red not blue", "the blue ring grows", "the red ring grows"
IRRELEVANT = {
    "spans": [[]],
    "duration": [20.0],
    "answer": [TRUE],
    "contrast": ["5 to 15"],
    "query": [QUERY],
    "correction": [ORIGINAL],
}
RELEVANT = {
    "spans": [[[5.0, 15.0]]],
    "duration": [20.0],
    "answer": ["5 to 15"],
    "contrast": [TRUE],
    "query": [ORIGINAL],
    "correction": ["NIL"],
}
HONEST_REFUSAL = format_completion("a", TRUE, ORIGINAL)
HONEST_ANSWER = format_completion("a", "5 to 15", "NIL")


def refuse_iou(answer, spans, variant, duration=20.0):
    text = f"<think>a</think><answer>{answer}</answer><correction>b</correction>"
    return REWARDS[variant]["refuse_iou"]([text], spans=[spans], duration=[duration])[0]


@pytest.mark.parametrize(
    "answer, relevant, official, robust",
    [
        ("5 to 15", True, 1.0, 1.0),
        ("5.0s to 15.0s", True, 0.0, 1.0),
        ("5 - 15", True, 0.0, 1.0),
        ("00:05 to 00:15", True, 0.0, 1.0),
        ("5 and 15", True, 0.0, 1.0),
        ("-5 to 15", True, 1.0, 0.0),
        ("5 to 65", True, (10 / 60) * 1.0 * (1 - 50 / 20), 0.0),
        ("10 to 15", True, 0.5 * 0.75, 0.5 * 0.75),
        ("", False, 1.0, 0.0),
        ("I don't know", False, 1.0, 0.0),
        ("12.5s to 17.8s", False, 1.0, 0.0),
        ("12.5 to 17.8", False, 0.0, 0.0),
        ("nobody rides a bike from 3.0 to 12.5 here", False, 0.0, 1.0),
        ("there are 2 to 3 people, not five", False, 0.0, 1.0),
        (TRUE, False, 1.0, 1.0),
    ],
)
def test_refuse_iou_clause_by_clause(answer, relevant, official, robust):
    spans = [[5.0, 15.0]] if relevant else []
    assert refuse_iou(answer, spans, "official") == pytest.approx(official)
    assert refuse_iou(answer, spans, "robust") == pytest.approx(robust)


def test_paper_variant_pays_plain_iou():
    assert refuse_iou("10 to 15", [[5.0, 15.0]], "paper") == pytest.approx(0.5)
    assert refuse_iou("5 to 15", [[0.0, 2.0], [5.0, 15.0]], "robust") == pytest.approx(1.0)


@pytest.mark.parametrize(
    "text, official, robust",
    [
        (HONEST_ANSWER, 1, 1),
        ("  " + HONEST_ANSWER + "\n", 1, 1),
        ("<think></think><answer></answer><correction></correction>", 1, 0),
        (HONEST_ANSWER + "<correction>b</correction>", 1, 0),
        (HONEST_ANSWER + "!", 0, 0),
        (HONEST_ANSWER.replace("</think>", "</think> then "), 0, 0),
        (HONEST_ANSWER.replace("answer", "reply"), 0, 0),
        ("", 0, 0),
    ],
)
def test_format(text, official, robust):
    assert REWARDS["official"]["format"]([text]) == REWARDS["paper"]["format"]([text]) == [official]
    assert REWARDS["robust"]["format"]([text]) == [robust]


def test_official_variant_equals_the_table_of_its_rules(encoder):
    """official_rewards.csv: rows written by hand from the official rules, each with its clause and its arithmetic.

    The cosines in `working` come from sentence-transformers itself, in float64 and rounded to four digits.
    """
    with open(Path(__file__).with_name("official_rewards.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 300
    columns = {
        "spans": [[[float(t) for t in row["truth"].split()]] if row["truth"] else [] for row in rows],
        "duration": [float(row["duration"] or 1) for row in rows],
        "answer": [row["reference"] for row in rows],
        "contrast": [row["contrast"] for row in rows],
        "correction": [row["reference"] for row in rows],
        "query": [""] * len(rows),
    }
    paid = {f.__name__: f([row["completion"] for row in rows], **columns) for f in make_rewards("official")}
    wrong = [
        (row["clause"], row["completion"], row["expected"], paid[row["reward"]][i])
        for i, row in enumerate(rows)
        if paid[row["reward"]][i] != pytest.approx(float(row["expected"]), abs=2e-4)
    ]
    assert not wrong


def test_explain_formulae(encoder):
    said = "no such segment : green not blue"
    text = format_completion("a", said, "b")
    near, far = (float(encoder.cosine([said], [other])[0]) for other in (TRUE, "5 to 15"))
    paid = {variant: REWARDS[variant]["explain"]([text], **IRRELEVANT)[0] for variant in VARIANTS}
    expected = {"official": (near - far) / 2, "paper": near - far, "robust": near}
    assert paid == pytest.approx(expected, abs=1e-5)


def test_correction_formulae(encoder):
    said = "the green ring grows"
    text = format_completion("a", TRUE, said)
    near = float(encoder.cosine([said], [ORIGINAL])[0])

    def pay(completion, variant, columns=IRRELEVANT):
        return REWARDS[variant]["correction"]([completion], **columns)[0]

    assert pay(text, "official") == pytest.approx((1 + near) / 2, abs=1e-5)
    assert pay(text, "paper") == pytest.approx(near, abs=1e-5)
    copy = format_completion("a", TRUE, QUERY)
    assert pay(copy, "official") > 0.8 and pay(copy, "robust") == 0
    vanilla = format_completion("a", "5 to 15", "vanilla")
    assert pay(vanilla, "official", RELEVANT) == 1 and pay(vanilla, "robust", RELEVANT) == 0
    refusing = format_completion("a", TRUE, "NIL")
    assert pay(refusing, "official", RELEVANT) == 1 and pay(refusing, "robust", RELEVANT) == 0


CHEATS = {
    "always refuse, always NIL": format_completion("a", "this does not happen at all", "NIL"),
    "refuse and give a span": format_completion("a", "no such segment : red not blue 5 to 15", ORIGINAL),
    "copy the query": format_completion("a", TRUE, QUERY),
    "keywords": format_completion(
        "a", "red blue green ring square grows not shrinks two three", "red blue green ring square"
    ),
    "empty tags": "<think></think><answer></answer><correction></correction>",
    "duplicated tags": HONEST_REFUSAL + HONEST_REFUSAL,
    "echo of the example": format_completion("timeline", "START to END", "NIL"),
    "very long": format_completion("a", TRUE + " and red not blue" * 200, ORIGINAL + " and the red ring grows" * 200),
    "whole video": format_completion("a", "0 to 20", "NIL"),
    "many spans": format_completion("a", " and ".join(f"{n} to {n + 10}" for n in range(5, 15)), "NIL"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_is_paid_more_than_honesty(name):
    functions = make_rewards("robust")
    for columns, honest in ((IRRELEVANT, HONEST_REFUSAL), (RELEVANT, HONEST_ANSWER)):
        fair, cheat = (sum(f([text], **columns)[0] for f in functions) for text in (honest, CHEATS[name]))
        assert cheat <= fair + 1e-6
    paid = [sum(f([CHEATS[name]], **c)[0] for f in functions) for c in (IRRELEVANT, RELEVANT)]
    fair = [
        sum(f([h], **c)[0] for f in functions) for c, h in ((IRRELEVANT, HONEST_REFUSAL), (RELEVANT, HONEST_ANSWER))
    ]
    assert sum(paid) < sum(fair) - 0.5, "a fixed policy must lose against telling them apart"


def test_the_official_fixed_point_exists_and_robust_has_none():
    always = CHEATS["always refuse, always NIL"]
    pay = {
        v: [
            sum(f([always], **c)[0] for f in make_rewards(v, ("format", "refuse_iou", "correction")))
            for c in (RELEVANT, IRRELEVANT)
        ]
        for v in ("official", "robust")
    }
    assert pay["official"] == [2.0, 2.0]
    assert pay["robust"][0] < 2.0


@given(st.floats(0, 20), st.floats(0, 20), st.sampled_from(VARIANTS))
def test_ranges_and_monotonicity(a, b, variant):
    start, end = sorted((round(a, 1), round(b, 1)))
    value = refuse_iou(f"{start} to {end}", [[5.0, 15.0]], variant)
    assert -1 <= value <= 1
    better = refuse_iou(f"{(start + 5) / 2:.2f} to {(end + 15) / 2:.2f}", [[5.0, 15.0]], "robust")
    if temporal_iou(Span(start, end), Span(5, 15)) > 0:
        assert better >= refuse_iou(f"{start} to {end}", [[5.0, 15.0]], "robust") - 1e-6


def test_mixed_batches_in_trl_form():
    texts = [HONEST_ANSWER, HONEST_REFUSAL, ""]
    columns = {k: [RELEVANT[k][0], IRRELEVANT[k][0], IRRELEVANT[k][0]] for k in RELEVANT}
    for variant in VARIANTS:
        for function in make_rewards(variant):
            plain = function(texts, **columns, prompts=[None] * 3, completion_ids=None, trainer_state=None)
            messages = function([[{"role": "assistant", "content": t}] for t in texts], **columns)
            assert plain == messages and len(plain) == 3 and all(isinstance(v, float) for v in plain)
    assert [f.__name__ for f in make_rewards("robust")] == list(NAMES)
    for arguments in (("lenient",), ("robust", ("format", "style"))):
        with pytest.raises(ValueError, match="unknown"):
            make_rewards(*arguments)
    with pytest.raises(ValueError, match="duration"):
        REWARDS["robust"]["refuse_iou"]([HONEST_ANSWER], spans=[[[5.0, 15.0]]], duration=[None])


@pytest.mark.parametrize(
    "answer",
    [
        "The man opens a door from 4.2 to 9.6 seconds, the door is red.",
        "The man opens a door from 9.6 to 4.2 seconds.",
        "The man opens a door from -4.2 to 9.6 seconds.",
        "The event happens in 4.2 - 9.6 seconds.",
        "the event is shown in this video",
        "",
    ],
)
def test_robust_pays_an_irrelevant_query_no_grounding_in_prose_and_nothing_unreadable(answer):
    text = format_completion("a", answer, ORIGINAL)
    assert [REWARDS["robust"][name]([text], **IRRELEVANT)[0] for name in NAMES[1:]] == [0, 0, 0]


@pytest.mark.parametrize(
    "answer", ["视频中没有人打开门，只有一只狗。", "ドアを開ける人はいません。犬がいます。", "ไม่มีใครเปิดประตูในวิดีโอนี้"]
)
def test_a_refusal_in_a_script_without_spaces_is_one(answer):
    text = format_completion("a", answer, ORIGINAL)
    assert refuse_iou(answer, [], "robust") == 1
    assert REWARDS["robust"]["explain"]([text], **{**IRRELEVANT, "answer": [answer]})[0] == pytest.approx(1, abs=1e-5)


def test_nothing_is_paid_for_a_completion_without_blocks():
    for text in (
        "",
        "4.2 to 9.6",
        "<think>cut off at the token limit",
        "<ANSWER>no such segment : red not blue</ANSWER>",
    ):
        for variant in VARIANTS:
            for columns in (RELEVANT, IRRELEVANT):
                assert [REWARDS[variant][name]([text], **columns)[0] for name in NAMES] == [0, 0, 0, 0], (text, variant)


def test_a_row_without_a_reference_is_not_paid_by_it(encoder):
    columns = {**IRRELEVANT, "answer": [""], "correction": [""]}
    paid = {
        variant: [REWARDS[variant][name]([HONEST_REFUSAL], **columns)[0] for name in NAMES[2:]] for variant in VARIANTS
    }
    assert paid == {"official": [None, 0], "paper": [None, 0], "robust": [None, None]}


def test_a_reward_from_outside(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(
        "def short(completions, **_):\n    return [1.0 / len(c) for c in completions]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own, explain = make_rewards("robust", ["my_rewards:short", "explain"])
    assert own(["four"], **IRRELEVANT) == [0.25] and explain.__name__ == "explain"
    for wrong in ("nowhere:reward", "my_rewards:nothing"):
        with pytest.raises(ValueError, match="module:function"):
            make_rewards("robust", [wrong])


@pytest.mark.parametrize("variant", VARIANTS)
def test_unpaired_surrogates_end_no_run(variant):
    """JSON may hold them, and so may what a server answers; a tokenizer takes none."""
    said = "<think>\ud800</think><answer>no such thing \udfff is here</answer><correction>the \ud83d ring</correction>"
    columns = {"query": ["a \ud800"], "answer": ["no such \udc00 segment"], "contrast": ["1 to 2"]}
    for reward in make_rewards(variant):
        [value] = reward([said], spans=[[]], duration=[3.0], correction=["the \ud83d ring"], **columns)
        assert value is None or 0 <= value <= 2
