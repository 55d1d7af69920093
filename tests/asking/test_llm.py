"""The client and the judge against a real HTTP server whose replies are recorded: good, bad and none."""

import dataclasses

import pytest

from rarft.asking.llm import LLM, parse_reply
from rarft.evaluation import Answer, Prediction, judged, reference_predictions, scores, summary
from rarft.evaluation.judges.llm import CATEGORY_SCHEMA, SCORE_SCHEMA, LLMJudge
from rarft.metrics import rt_iou
from rarft.system.errors import BadReplyError
from rarft.world.judge import claimed_categories

SCHEMA = {
    "type": "object",
    "properties": {**SCORE_SCHEMA["properties"], **CATEGORY_SCHEMA["properties"]},
    "required": ["score", "categories"],
}
GOOD = '{"reason": "same", "score": 5, "categories": ["Attribute/AttributeValue"]}'
CLOSE = GOOD.replace("5", "3.46")


@pytest.mark.parametrize("text", [GOOD, f"Sure!\n```json\n{GOOD}\n```", f"  {GOOD} Hope that helps."])
def test_json_is_found_in_prose(text):
    assert parse_reply(text, SCHEMA)["score"] == 5


@pytest.mark.parametrize(
    "text, error",
    [
        ("", "no JSON object"),
        ("five", "no JSON object"),
        ('{"score": 5', "no JSON object"),
        ('{"score": 5,}', "not JSON"),
        ('{"score": 9, "categories": []}', "score"),
        ('{"score": 4, "categories": ["Colour"]}', "categories.0"),
        ('{"score": 4}', "categories"),
    ],
)
def test_bad_json_is_named(text, error):
    with pytest.raises(ValueError, match=error):
        parse_reply(text, SCHEMA)


def test_a_bad_reply_is_asked_again_with_its_error(serve):
    server = serve(lambda messages: GOOD if len(messages) > 2 else "a score of five")
    llm = LLM("m", server.url)
    assert llm.ask("s", "u", SCHEMA)["score"] == 5
    assert "no JSON object" in server.asked[1][-1]["content"]
    assert llm.usage == {"asked": 2, "prompt_tokens": 20, "completion_tokens": 6}


def test_no_control_token_of_a_text_reaches_the_server(serve):
    server = serve(lambda _: GOOD)
    LLM("m", server.url).ask("s", "he said <|im_end|> and </s>", SCHEMA)
    assert server.asked[0][1]["content"] == "he said < |im_end|> and < /s>"


def test_attempts_are_bounded_and_server_errors_are_named(serve):
    llm = LLM("m", serve(lambda _: "no").url, attempts=2)
    with pytest.raises(BadReplyError, match="in 2 attempts.*no JSON object"):
        llm.ask("s", "u", SCHEMA)
    refusing = serve(lambda _: 400)
    with pytest.raises(BadReplyError, match=refusing.url):
        LLM("m", refusing.url).ask("s", "u", SCHEMA)


def test_a_server_that_is_not_there_stops_the_run(serve):
    for url in ("http://127.0.0.1:9/v1", serve(lambda _: 401).url, serve(lambda _: 404).url):
        with pytest.raises(ConnectionError, match=url):
            LLM("m", url).ask_all("s", ["a"], SCHEMA)


def test_a_run_that_was_killed_does_not_ask_twice(serve, tmp_path):
    server, path = serve(lambda _: GOOD), tmp_path / "cache" / "replies.jsonl"
    LLM("m", server.url, cache=path).ask_all("s", ["a", "b"], SCHEMA)
    path.write_text(path.read_text() + '{"key": "cut sho')
    again = LLM("m", server.url, cache=path)
    assert [r["score"] for r in again.ask_all("s", ["a", "b", "c"], SCHEMA)] == [5, 5, 5]
    assert len(server.asked) == 3 and again.usage["cached"] == 2
    assert len(LLM("m", server.url, cache=path)._replies) == 3
    LLM("another", server.url, cache=path).ask("s", "a", SCHEMA)
    assert len(server.asked) == 4, "another judge is another question"


def test_questions_that_read_the_same_are_asked_once_and_each_gets_the_reply(serve):
    server = serve(lambda m: "hm" if m[1]["content"] == "bad" else GOOD)
    llm = LLM("m", server.url, attempts=2)
    replies = llm.ask_all("s", ["a", "bad", "a", "b", "bad", "a"], SCHEMA)
    assert len(server.asked) == 4, "a and b once, the bad one twice"
    assert [isinstance(r, dict) for r in replies] == [True, False, True, True, False, True]


def test_the_judge_survives_bad_replies(serve, world):
    samples = [s for clip in world for s in clip.group]
    predictions = reference_predictions(samples, "oracle")
    silent = next(i for i, s in enumerate(samples) if not s.relevant)
    answered = next(i for i, s in enumerate(samples) if not s.relevant and i != silent)
    predictions[answered] = reference_predictions(samples, "never refuse")[answered]
    server = serve(lambda m: "hm" if samples[silent].query in m[1]["content"] else CLOSE)
    judge = LLMJudge(LLM("m", server.url, attempts=2), offline=claimed_categories)
    predictions = judged(predictions, judge)
    about = judge.about
    refusals = sum(not s.relevant for s in samples) - 1
    assert (about["judge"], about["refusals"], about["without_verdict"]) == ("m", refusals, 2), "one for each question"
    assert "Attribute/Counting" in about["prompt"] and "no JSON object" in about["failures"][0]
    assert predictions[silent].judged == {"official_rt_iou_llm": 0.0}, (
        "the official evaluator goes on without categories"
    )
    assert predictions[answered].judged == {"llm_score": 0.0, "rt_iou_llm": 0.0, "official_rt_iou_llm": 0.0}
    assert summary(scores(predictions))["llm_score"] == pytest.approx(3.5 * (refusals - 1) / refusals), "one decimal"
    expected = [
        rt_iou({"Attribute/AttributeValue"}, claimed_categories(p.response))
        for i, p in enumerate(predictions)
        if not p.sample.relevant and i not in (silent, answered)
    ]
    assert about["offline_agreement"] == pytest.approx(sum(expected) / len(expected))


def test_the_judge_reads_thought_and_answer_and_no_score_is_given_without_a_reference(serve, world):
    wrong = next(s for clip in world for s in clip.group if not s.relevant)
    text = "<think>THOUGHT</think><answer>no such segment : ANSWER</answer><correction>CORRECTION</correction>"
    predictions = [Prediction(s, Answer(text)) for s in (wrong, dataclasses.replace(wrong, answer=""))]
    server = serve(lambda _: GOOD)
    predictions = judged(predictions, LLMJudge(LLM("m", server.url)))
    questions = [messages[1]["content"] for messages in server.asked]
    assert len(questions) == 2, "one for the score of the first, one for the categories of both: they read the same"
    assert all("THOUGHT" in q and "ANSWER" in q and "CORRECTION" not in q for q in questions)
    assert "llm_score" in predictions[0].judged and "llm_score" not in predictions[1].judged
