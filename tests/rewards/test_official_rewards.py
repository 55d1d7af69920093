"""`official` against a second statement of its rules: the plain regular expressions and arithmetic, on generated
completions.

The grammar mixes every kind of completion that once read differently. Its counts are printed: pytest -s.
"""

import itertools
import random
import re
import time
from collections import Counter

import numpy as np
import pytest

from rarft.rewards import NAMES, REWARDS

COUNT = 30_000
FORMAT = r"<think>.*?</think>\s*<answer>.*?</answer>\s*<correction>.*?</correction>"
SPAN = r"(\d+\.?\d*)\s+to\s+(\d+\.?\d*)"
NUMBERS = ("5", "15", "5.", "15.25", ".5", "5.0.1", "0", "007", "٣", "9" * 20, "-5")
JOINTS = (" to ", " TO ", " tO\n", "\t to  ", " to", "to ", " - ", " and ", " to to ")
WORDS = (
    "no such segment : red not blue",
    "NIL",
    "vanilla",
    "nil.",
    "a ring",
    "from",
    "tomato 5 to go",
    "",
    " ",
    "\n",
    "to 5 to 15",
)
TAGS = ("think", "answer", "correction", "correct", "Answer", "ANSWER")
SPACES = ("", "", "", " ", "\n", "!", "\u2003")


def text_of_answer(draw):
    pieces = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        pair = draw.choice(NUMBERS) + draw.choice(JOINTS) + draw.choice(NUMBERS)
        pieces.append(draw.choice((pair, draw.choice(WORDS), draw.choice(WORDS) + " " + pair)))
    return draw.choice((" ", ", ", "")).join(pieces)


def completion(draw):
    """(class, text)"""
    blocks = [f"<{tag}>{text_of_answer(draw)}</{tag}>" for tag in TAGS[:3]]
    if draw.random() < 0.5:
        blocks[2] = f"<correction>{draw.choice(WORDS)}</correction>"
    kind = draw.choice(("whole", "missing", "unbalanced", "repeated", "order", "case", "soup"))
    if kind == "missing":
        del blocks[draw.randrange(3)]
    elif kind == "unbalanced":
        place = draw.randrange(3)
        tag = draw.choice(re.findall(r"<[^>]*>", blocks[place]))
        blocks[place] = blocks[place].replace(tag, draw.choice(("", tag + tag, tag + "x" + tag)), 1)
    elif kind == "repeated":
        blocks.insert(draw.randrange(4), draw.choice(blocks))
    elif kind == "order":
        draw.shuffle(blocks)
    elif kind == "case":
        blocks[1] = blocks[1].replace("answer", draw.choice(TAGS[4:]), draw.choice((1, 2)))
    elif kind == "soup":
        tags = [f"<{slash}{tag}>" for tag, slash in itertools.product(TAGS, ("", "/"))]
        blocks = [draw.choice((draw.choice(tags), text_of_answer(draw))) for _ in range(draw.randrange(12))]
    return kind, "".join(draw.choice(SPACES) + block for block in blocks)


def block(text, tag):
    found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return found[-1].strip() if found else None


def refuse_iou(text, truth, duration):
    answer = block(text, "answer")
    if answer is None:
        return 0.0
    match = re.search(SPAN, answer, re.IGNORECASE)
    if not truth:
        return 0.0 if match else 1.0
    if not match or not duration:
        return 0.0
    s, e, (a, b) = float(match[1]), float(match[2]), truth
    if not max(e, b) - min(s, a) > 0:
        return 0.0
    value = (
        max(0.0, min(e, b) - max(s, a))
        / (max(e, b) - min(s, a))
        * (1 - abs(s - a) / duration)
        * (1 - abs(e - b) / duration)
    )
    return value if abs(value) < float("inf") else 0.0


def explain(text, answer, contrast, cosine):
    said = block(text, "answer")
    return 0.0 if said is None else (cosine(said, answer) - cosine(said, contrast)) / 2


def correction(text, truth, reference, cosine):
    said = block(text, "correction")
    if said is None:
        return 0.0
    if truth:
        return float("NIL" in said.upper())
    return 0.0 if "NIL" in said.upper() else (1 + cosine(said, reference)) / 2


class Letters:
    """An encoder that costs nothing: the cosine of letter counts. What is compared is which texts are asked about."""

    def cosine(self, left, right):
        return np.array([letters(a, b) for a, b in zip(left, right, strict=True)])


def letters(left, right):
    a, b = Counter(left), Counter(right)
    norms = (sum(n * n for n in a.values()) * sum(n * n for n in b.values())) ** 0.5
    return sum(n * b[c] for c, n in a.items()) / norms if norms else 0.0


def test_official_equals_a_second_statement_of_its_rules():
    draw = random.Random(0)
    cases = Counter()
    wrong = []
    kinds, texts, columns = (
        [],
        [],
        {name: [] for name in ("spans", "duration", "answer", "contrast", "correction", "query")},
    )
    for _ in range(COUNT):
        kind, text = completion(draw)
        relevant = draw.random() < 0.5
        answers = ["49.97 to 56.15", "no such segment : red not blue"]
        kinds.append(kind)
        texts.append(text)
        columns["spans"].append([draw.choice(([5.0, 15.0], [5.0, 5.0], [15.0, 5.0]))] if relevant else [])
        columns["duration"].append(draw.choice((20.0, 20.0, 7.5, None, 0)))
        columns["answer"].append(answers[not relevant])
        columns["contrast"].append(answers[relevant])
        columns["correction"].append("" if relevant else "the red ring grows")
        columns["query"].append("the blue ring grows")
    paid = {name: REWARDS["official"][name](texts, **columns, encoder=Letters()) for name in NAMES}
    for i, (kind, text) in enumerate(zip(kinds, texts, strict=True)):
        truth = columns["spans"][i]
        expected = {
            "format": float(bool(re.fullmatch(FORMAT, text.strip(), re.DOTALL))),
            "refuse_iou": refuse_iou(text, truth and truth[0], columns["duration"][i]),
            "explain": explain(text, columns["answer"][i], columns["contrast"][i], letters),
            "correction": correction(text, truth, columns["correction"][i], letters),
        }
        for name in NAMES:
            cases[kind, name] += 1
            cases[kind, name, "paid"] += expected[name] != 0
            if paid[name][i] != pytest.approx(expected[name], abs=1e-9):
                wrong.append((kind, name, text, expected[name], paid[name][i]))
    disagreements = Counter((kind, name) for kind, name, *_ in wrong)
    for kind in dict.fromkeys(kinds):
        shown = ", ".join(
            f"{name} {disagreements[kind, name]} of {cases[kind, name]} ({cases[kind, name, 'paid']} paid)"
            for name in NAMES
        )
        print(f"\ndisagreements, {kind}: {shown}", end="")
    assert not wrong
    assert all(cases[kind, name, "paid"] for kind in ("whole", "repeated") for name in NAMES), (
        "the grammar pays too little"
    )


@pytest.mark.parametrize(
    "piece", ["1", "1 to ", "to ", " ", "\n to", "1.", "<answer>", "</answer>", "<answer>1 to</answer>"]
)
def test_hostile_text_takes_linear_time(piece):
    columns = {"spans": [[]], "duration": [20.0]}

    def seconds(size):
        text = f"<answer>1 {piece * (size // len(piece))}</answer>"
        begin = time.perf_counter()
        REWARDS["official"]["refuse_iou"]([text], **columns)
        REWARDS["official"]["format"]([text])
        return time.perf_counter() - begin

    seconds(10_000)
    assert seconds(400_000) < 40 * max(seconds(20_000), 2e-3)  # 20 times the text: far from 400 times the time


def test_a_number_beyond_every_float_is_paid_nothing():
    text = f"<answer>{'9' * 400} to {'9' * 401}</answer>"
    assert REWARDS["official"]["refuse_iou"]([text], spans=[[[5.0, 15.0]]], duration=[20.0]) == [0.0]
