"""Ten minutes of video in small: the data set, the index, and the ways to choose where to look."""

from dataclasses import replace

import numpy as np
import pytest

from rarft.models import VideoModel
from rarft.related import Answer
from rarft.related.long_video.ada_video_rag import AdaVideoRAG, NoRetrieval, Router, add_time, read_time, split_time
from rarft.related.long_video.expansion import enriched_queries, farthest_points, ranking
from rarft.related.long_video.grounder import CachedGrounder, Grounder
from rarft.related.long_video.retrieval import Index
from rarft.related.long_video.vgent import LLMVerifier, Vgent, entities_of, verify_by_grammar
from rarft.related.long_video.videos import (
    PART_SECONDS,
    kind_of_question,
    make_long_video,
    part_of,
    parts_of,
    questions_about,
)
from rarft.related.long_video.windows import (
    NearestWindows,
    SqueezedGrounder,
    Window,
    WindowedGrounder,
    every_window,
    squeezing_reader,
)
from rarft.rewards.encoder import default_encoder
from rarft.schema import Crop, Sample, Span
from rarft.system.errors import InputError
from rarft.video import read_video
from rarft.world.language import paraphrases, parse
from rarft.world.timelines import timeline
from rarft.world.truth import explanation_is_true, happens, match_all


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return [make_long_video(folder, number, parts=6) for number in range(2)]


@pytest.fixture(scope="module")
def asked(videos):
    return questions_about(videos[0], videos[1:], 8)


@pytest.fixture(scope="module")
def index(videos, asked):
    """Of perfect captions."""
    return Index(parts_of(asked[0]), [timeline(story) for story in videos[0].stories], default_encoder())


class Oracle:
    """Answers by the truth of each part, with a refusal score, and notes what it was asked."""

    def __init__(self, video, wrong=()):
        self.video, self.wrong, self.seen = video, set(wrong), []

    def answer(self, samples, bank=None):
        self.seen += [(s.start, s.query) for s in samples]
        answers = []
        for sample in samples:
            spans = self.video.spans_of(parse(sample.query))
            here = [s for s in spans if sample.start <= s.start < sample.end]
            span = Span(here[0].start - sample.start, here[0].end - sample.start) if here else Span(0.0, 0.0)
            lies = (sample.start, sample.query) in self.wrong
            answers.append(Answer(span, 0.1 if here or lies else 0.9))
        return answers


def test_the_file_shows_its_stories_one_after_the_other(videos):
    clip = read_video(videos[0].path, fps=1.0)
    assert videos[0].duration == 6 * PART_SECONDS == pytest.approx(clip.duration, abs=0.2)
    again = make_long_video(videos[0].path.parent, 0, parts=6)
    assert again == videos[0]


def test_relevant_queries_happen_once_and_the_others_nowhere(videos, asked):
    assert [kind_of_question(s) for s in asked[:3]] == ["relevant", "edited", "shuffled"]
    for sample in asked:
        spans = [
            Span(i * PART_SECONDS + match.event.start, i * PART_SECONDS + match.event.end)
            for i, story in enumerate(videos[0].stories)
            for match in match_all(story, parse(sample.query))
            if not match.fails
        ]
        assert spans == sample.spans and len(spans) == (kind_of_question(sample) == "relevant")


def test_no_parts_are_refused(tmp_path):
    with pytest.raises(InputError, match="needs parts"):
        make_long_video(tmp_path, 0, parts=0)


def test_perfect_captions_give_the_stories_back(videos, index):
    assert index.stories == list(videos[0].stories)
    for moment in index.moments:
        assert moment.span in videos[0].spans_of(parse(moment.sentence))
    assert len(index.moments) == sum(len(a.events) for s in videos[0].stories for a in s.actors)


def test_a_caption_that_is_none_leaves_its_part_without_moments(index, asked):
    broken = Index(index.parts, ["nothing to see", *[""] * 5], index.encoder)
    assert broken.moments == [] and broken.stories == [None] * 6
    assert (broken.similarity([asked[0].query]) == -1).all()
    indexes = {asked[0].video: broken}
    [answer] = Vgent(indexes).answer(asked[:1])
    assert answer.refusal == 1
    assert Vgent(indexes).choose(asked[0]) == []


def test_similarity_is_that_of_the_nearest_moment(index, asked):
    found = index.similarity([asked[0].query])[0]
    [query] = index.encoder([asked[0].query])
    for part in range(6):
        sentences = [m.sentence for m in index.moments if m.part == part]
        assert found[part] == pytest.approx(float((index.encoder(sentences) @ query).max()), abs=1e-5)
    assert ranking(index, [asked[0].query])[0] == found.argmax()


def test_the_graph_links_what_appears_in_a_part(index, asked):
    names = entities_of(asked[0].query, index)
    shared = index.entity_counts([*names, "no such thing"])
    for part, story in enumerate(index.stories):
        looks = {f"{a.colour} {a.shape}" for a in story.actors} | {e.action for a in story.actors for e in a.events}
        assert shared[part] == len(looks & set(names))
    assert entities_of("I saw a " + names[0] + " somewhere", index) == [names[0]]


def test_sub_questions_of_perfect_captions_are_right_about_everything(videos, asked, index):
    for sample, answer in zip(asked, Vgent({sample.video: index for sample in asked}).answer(asked), strict=True):
        assert (answer.refusal > 0.5) == (not sample.relevant)
        if sample.relevant:
            assert [answer.span] == sample.spans and answer.refusal == 0
        elif answer.explanation:
            part = int(answer.span.start // PART_SECONDS)
            assert explanation_is_true(videos[0].stories[part], parse(sample.query), answer.explanation)[1]
            assert videos[0].spans_of(parse(answer.correction))


def test_sub_questions_are_about_one_moment_not_the_whole_part(index):
    mixed = [
        (part, f"the {actor.colour} {actor.shape} {event.action}")
        for part, story in enumerate(index.stories)
        for actor, other in (story.actors, story.actors[::-1])
        for event in other.events
        if not happens(story, f"the {actor.colour} {actor.shape} {event.action}")
    ]
    assert len(mixed) > 5
    assert all(verify_by_grammar(index, part, query).denied > 0 for part, query in mixed)


def test_another_language_needs_a_server(index):
    with pytest.raises(InputError, match="LLMVerifier"):
        verify_by_grammar(index, 0, "a dog barks")


class Said:
    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def ask(self, system, user, schema):
        self.asked.append(user)
        return self.reply


def test_a_server_answers_sub_questions(index):
    llm = Said({"answers": [{"question": "a ring?", "yes": True}, {"question": "red?", "yes": False}], "caption": 2})
    checked = LLMVerifier(llm)(index, 1, "a red thing grows")
    moments = [m for m in index.moments if m.part == 1]
    assert (checked.denied, checked.moment) == (0.5, moments[1]) and checked.refusal == 0.75
    assert all(m.sentence in llm.asked[0] for m in moments) and "a red thing grows" in llm.asked[0]


def test_the_window_of_least_doubt_answers_in_seconds_of_the_file(videos, asked):
    oracle = Oracle(videos[0])
    answers = WindowedGrounder(oracle, every_window).answer(asked)
    assert len(oracle.seen) == 6 * len(asked)
    for sample, answer in zip(asked, answers, strict=True):
        assert answer.refusal == (0.1 if sample.relevant else 0.9)
        assert not sample.relevant or [answer.span] == sample.spans


def test_one_wrong_window_is_enough_and_a_no_stops_it(videos, asked, index):
    wrong = next(s for s in asked if kind_of_question(s) == "edited")
    lies = [(float(i * PART_SECONDS), wrong.query) for i in range(6)]
    [answer] = WindowedGrounder(Oracle(videos[0], lies), every_window).answer([wrong])
    assert answer.refusal == 0.1
    [answer] = WindowedGrounder(Oracle(videos[0], lies), Vgent({wrong.video: index}).choose).answer([wrong])
    assert answer.refusal > 0.5


def test_nothing_to_look_at_is_refused_without_a_look(videos, asked):
    oracle = Oracle(videos[0])
    answers = WindowedGrounder(oracle, lambda s: [] if s.relevant else [Window(part_of(s.video, 0))]).answer(asked[:2])
    assert answers[0].refusal == 1 and len(oracle.seen) == 1


def test_the_nearest_parts_are_looked_at(asked, index):
    choices = NearestWindows({asked[0].video: index}, 2)(asked[0])
    similar = index.similarity([asked[0].query])[0]
    assert [index.parts.index(c.crop) for c in choices] == np.argsort(-similar)[:2].tolist()


def test_a_squeezed_video_seems_short(videos):
    clip = squeezing_reader(20.0)(videos[0].path, fps=2.0)
    assert (clip.duration, len(clip.frames)) == (20.0, 40) and clip.seconds.max() < 20
    answers = [Answer(Span(5.0, 10.0), 0.2)]
    whole = SqueezedGrounder(type("Fixed", (), {"answer": lambda self, samples: answers})(), 20.0)
    [answer] = whole.answer([Sample("long.mp4", "q", duration=600.0)])
    assert answer.span == Span(150.0, 300.0)


def test_a_real_model_looks(videos, asked):
    grounder = Grounder(VideoModel.load(device="cpu"))
    [answer] = WindowedGrounder(grounder, lambda s: [Window(part_of(s.video, 2))]).answer(asked[:1])
    assert 2 * PART_SECONDS <= answer.span.start <= answer.span.end <= 3 * PART_SECONDS
    assert grounder.asked == 1
    part = part_of(asked[0].video, 2)
    look = Sample(part.video, asked[0].query, duration=float(PART_SECONDS), start=part.start, end=part.end)
    remembering = CachedGrounder(grounder.video_model)
    assert remembering.answer([look, look]) == grounder.answer([look]) * 2 == remembering.answer([look]) * 2
    assert remembering.asked == 3 and len(remembering.known) == 1
    [said] = grounder.describe([Crop(str(videos[0].path), 0.0, float(PART_SECONDS))])
    assert said.count(" : ") >= 3


def test_paraphrases_mean_the_same_and_drifted_ones_say_more(asked):
    rng = np.random.default_rng(0)
    for sample in asked:
        meant = parse(sample.query)
        assert all(parse(version) == meant for version in paraphrases(sample.query))
        for version in enriched_queries(sample.query, 5, rng):
            added = parse(version)
            assert set(added.filled) > set(meant.filled)
            assert all(getattr(added, slot) == getattr(meant, slot) for slot in meant.filled)
    assert enriched_queries("a dog barks", 3, rng) == ["a dog barks"]


def test_farthest_points_are_far():
    rng = np.random.default_rng(0)
    for _ in range(200):
        vectors = rng.normal(size=(int(rng.integers(1, 12)), 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        count = int(rng.integers(1, 14))
        chosen = [0]
        while len(chosen) < min(count, len(vectors)):
            left = [i for i in range(len(vectors)) if i not in chosen]
            chosen.append(max(left, key=lambda i: min(1 - vectors[i] @ vectors[j] for j in chosen)))
        assert farthest_points(vectors, count) == chosen


def test_a_time_is_read_and_taken_out(asked):
    assert read_time(add_time("the red ring grows", 200.5)) == (200, "the red ring grows")
    assert read_time("the red ring grows") == (None, "the red ring grows")
    sample = split_time(replace(asked[0], query=add_time(asked[0].query, 75)))
    assert (sample.query, sample.extra["at"]) == (asked[0].query, 75)


def test_a_named_time_needs_one_look(videos, asked):
    oracle, whole = Oracle(videos[0]), Oracle(videos[0])
    named = [split_time(replace(s, query=add_time(s.query, 40))) for s in asked[:2]]
    NoRetrieval(oracle, whole).answer(named)
    assert oracle.seen == [(32.0, s.query) for s in named] and whole.seen == []


def test_the_router_takes_the_cheapest_way_that_works_and_answers_in_order(asked):
    questions = [add_time("the ring grows", t) for t in range(9)] + [
        f"the ring grows before it {x}" for x in "abcdefghi"
    ]
    right = {"direct": [True] * 9 + [False] * 9, "search": [True] * 18}
    router = Router(("direct", "search"))
    router.fit(questions, right)
    assert router(["at 9:59 the ring grows", "the ring grows before it stops"]) == ["direct", "search"]
    ways = {
        "direct": lambda samples: [Answer(Span(0, 1), 0.1) for _ in samples],
        "search": lambda samples: [Answer(Span(0, 2), 0.2) for _ in samples],
    }
    samples = [replace(asked[0], query=q) for q in (questions[-1], questions[0], questions[-2])]
    system = AdaVideoRAG(router, ways)
    assert [a.refusal for a in system.answer(samples)] == [0.2, 0.1, 0.2]
    assert system.routes == ["search", "direct", "search"]
