"""Several processes give what one gives: answers, features, scores and gradients."""

import copy
import gc
import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coursekit import ROOT
from rarft.asking import LocalAsker
from rarft.models import VideoModel, workers
from rarft.models.workers import batches, can_split, differentiate_parts, processes_of, run_parts, shares
from rarft.system.errors import VideoError, WorkerError
from rarft.system.processes import Helper, close_helpers, helpers, worker_pool
from rarft.training import build_trainer, grpo_config
from rarft.training.sft import sft_arguments, train_sft
from rarft.video import GuardedReader
from rarft.world.completions import demonstrations


@pytest.fixture
def asked(world):
    samples = [sample for clip in world[:8] for sample in clip.group]
    assert len(samples) >= workers.LEAST, "fewer would stay in one process"
    return [s.crop for s in samples], [s.query for s in samples]


def with_processes(video_model, count):
    other = copy.copy(video_model)
    other.processes = count
    return other.with_cache()


@pytest.mark.parametrize("temperature", [0.0, 2.0])
@pytest.mark.parametrize("lora", [False, True])
def test_equal_seeds_give_equal_completions_for_any_number_of_processes(base, asked, temperature, lora):
    if lora:
        base.add_lora(rank=4)
    found = []
    for count in (1, 2, 3):
        torch.manual_seed(1)
        options = {"num_generations": 3, "temperature": temperature, "max_new_tokens": 100}
        texts = with_processes(base, count).generate(*asked, **options)
        found.append((texts, torch.rand(3).tolist()))
    assert found[0] == found[1] == found[2], "and the random numbers go on alike"
    assert len(set(found[0][0])) > (20 if temperature else 4)


def test_features_scores_and_errors_are_those_of_one_process(base, asked, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LEAST", 4)  # there are eight videos
    crops, queries = asked
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    crops = [*crops, crops[0]._replace(video=str(tmp_path / "broken.mp4"))]
    answers, features = {}, {}
    for count in (1, 2):
        with GuardedReader() as reader:
            asker = LocalAsker(with_processes(base, count).with_cache(reader=reader), batch_size=8)
            cache = asker.video_model.cache
            assert cache._can_share(list(set(crops))) is (count == 2)
            answers[count] = list(asker.ask(crops, [*queries, "q"]))
            assert cache.encoded == len(set(crops)) - 1
            features[count] = asker.video_model.features(crops[:-1])
            with pytest.raises(VideoError, match="broken"):
                asker.video_model.features(crops)
    for one, two in zip(features[1], features[2], strict=True):
        torch.testing.assert_close(two.embeds, one.embeds, atol=1e-5, rtol=1e-5)
    for one, two in zip(answers[1], answers[2], strict=True):
        assert (one.completion, one.error) == (two.completion, two.error)
        assert one.refusal_score == pytest.approx(two.refusal_score, abs=1e-5)
    assert "broken" in answers[2][-1].error


def darkened(clip):
    return replace(clip, frames=clip.frames // 2)


def test_changed_videos_are_encoded_in_helpers_where_these_can_import_the_change(base, asked, monkeypatch):
    monkeypatch.setattr(workers, "LEAST", 4)
    crops = list(dict.fromkeys(asked[0]))
    found = {}
    for name, count, change in (("one", 1, darkened), ("two", 2, darkened), ("local", 2, lambda clip: darkened(clip))):
        cache = LocalAsker(with_processes(base, count)).with_change(change).video_model.cache
        assert cache._can_share(crops) is (name == "two")
        found[name] = [one.embeds for one in cache.get(crops)]
    for name in ("two", "local"):
        torch.testing.assert_close(found[name], found["one"], atol=1e-5, rtol=1e-5)
    plain = [one.embeds for one in with_processes(base, 1).features(crops)]
    assert not any(torch.allclose(dark, bright, atol=1e-2) for dark, bright in zip(found["two"], plain, strict=True))


def test_copies_have_the_weights_of_now(base, asked):
    """Changes that torch's version counters do not see, too."""
    two = with_processes(base, 2)
    before = two.generate(*asked, max_new_tokens=20)
    with torch.no_grad():
        base.model.lm_head.weight.data.roll(1, 0)
        base.model.get_input_embeddings().weight.data.mul_(-1.0)
    changed = two.generate(*asked, max_new_tokens=20)
    assert changed != before and changed == with_processes(base, 1).generate(*asked, max_new_tokens=20)
    base.model.generation_config.suppress_tokens = list(range(100))
    assert two.generate(*asked, max_new_tokens=20) == with_processes(base, 1).generate(*asked, max_new_tokens=20)


def test_copies_follow_an_adapter(base, asked):
    base.add_lora(rank=4)
    with torch.no_grad():
        for name, p in base.model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=2.0)
    two, found = with_processes(base, 2), []
    for change in ("merge_adapter", "unmerge_adapter", "disable_adapter_layers", "enable_adapter_layers"):
        found.append(two.generate(*asked, max_new_tokens=30))
        assert found[-1] == with_processes(base, 1).generate(*asked, max_new_tokens=30), change
        getattr(base.model, change, getattr(base.model.base_model, change))()
    assert found[3] != found[0]


def test_rows_are_dealt_out_by_length(base):
    base.processes = 3
    lengths = np.random.default_rng(0).integers(1, 100, 40).tolist()
    parts = shares(base, lengths)
    assert sorted(row for part in parts for row in part) == list(range(40))
    assert all(part == sorted(part) for part in parts) and {len(part) for part in parts} == {13, 14}
    totals = [sum(lengths[row] for row in part) for part in parts]
    assert max(totals) - min(totals) <= max(lengths)
    assert shares(base, lengths[:5]) == [[0, 1, 2, 3, 4]], "too few rows for a second process"
    assert len(shares(base, lengths[:5], each=8)) == 3
    assert shares(base, []) == [[]]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (15, 4), (16, 4), (40, 64), (41, 7), (150, 100), (512, 64)])
def test_batches_have_rows_of_similar_lengths(base, count, rows, size):
    base.processes = count
    lengths = np.random.default_rng(0).integers(1, 100, rows).tolist()
    parts = batches(base, lengths, size)
    assert sorted(row for part in parts for batch in part for row in batch) == list(range(rows))
    assert len(parts) == (count if rows >= 16 else 1)
    assert all(len(batch) <= size for part in parts for batch in part)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1, "as many batches for each"
    if max(map(len, parts)) > 1:
        ranges = sorted((min(lengths[i] for i in b), max(lengths[i] for i in b)) for part in parts for b in part)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))
    else:
        totals = [sum(lengths[i] for i in part[0]) for part in parts]
        assert max(totals) - min(totals) <= 100, "no process has all the long ones"


def test_an_answer_has_the_refusal_score_of_its_completion(base, asked):
    """While sampling, and by a pass over the whole completion: the second says what the first has to give."""
    crops, queries = asked
    features = base.features(crops)
    for count, size, length in ((1, None, None), (2, 3, None), (1, 7, 200), (1, None, 150)):
        model = with_processes(base, count)
        model.settings = replace(model.settings, max_new_tokens=length or model.settings.max_new_tokens)
        texts, scores = model.answer(features, queries, batch_size=size)
        assert texts == model.generate(features, queries)
        expected = model.refusal_scores(features, queries, texts)
        assert (np.isnan(scores) == np.isnan(expected)).all()
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.isnan(scores).any() and not np.isnan(scores).all(), "some answers do not fit into 150 tokens"


def test_an_answer_cut_after_its_tag_has_a_score(base, asked):
    crops, queries = asked
    features = base.features(crops[:1])
    [text] = base.generate(features, queries[:1])
    begun = text[: text.index("<answer>") + len("<answer>")]
    length = len(base.processor.tokenizer(begun, add_special_tokens=False)["input_ids"])
    base.settings = replace(base.settings, max_new_tokens=length)
    texts, scores = base.answer(features, queries[:1])
    assert texts == [begun]
    np.testing.assert_allclose(scores, base.refusal_scores(features, queries[:1], texts))


def test_one_process_where_several_would_not_do_the_same(base, monkeypatch):
    base.processes = 2
    base.model.train()
    assert processes_of(base) == 2 and can_split(base)
    handle = base.model.lm_head.register_forward_hook(lambda *_: None)
    assert processes_of(base) == 1, "the hook would not see what a helper does"
    handle.remove()
    base.model.lm_head.bfloat16()
    assert processes_of(base) == 1, "weights of two types"
    dropping = VideoModel.load(device="cpu")
    dropping.add_lora(rank=2, dropout=0.1)
    dropping.model.train()
    assert not can_split(dropping)
    dropping.model.eval()
    assert can_split(dropping) and not can_split(dropping, "bf16")
    dropping.load_copy = lambda _: VideoModel.load
    assert not can_split(dropping), "a copy that was loaded does not follow the training"
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    dropping.processes = 2
    assert processes_of(dropping) == 1, "may not start processes"


def run(trainer, groups):
    """Samples, loss and gradients of one step."""
    rows = [trainer.train_dataset[i] for i in range(4) for _ in range(8)]
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    torch.manual_seed(3)
    batch = trainer._generate_and_score_completions(rows)
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()
    return batch["completion_ids"].tolist(), loss.item(), gradients


def varied(completions, **_):
    return [float(i % 3) for i in range(len(completions))]


@pytest.mark.parametrize("lora", [False, True])
def test_a_step_of_grpo_has_the_samples_loss_and_gradients_of_one_process(base, world, tmp_path, lora):
    if lora:
        base.add_lora(rank=4)
    groups = [clip.group for clip in world]
    settings = {"max_completion_length": 60, "temperature": 1.5, "per_device_train_batch_size": 32}
    found = []
    for count in (1, 2):
        base.processes = count
        trainer = build_trainer(base, groups, grpo_config(tmp_path, **settings), rewards=[varied])
        found += [run(trainer, groups), run(trainer, groups)]
    (ids, loss, one), _, (two_ids, two_loss, two), again = found
    assert ids == two_ids == again[0] and loss == pytest.approx(two_loss, abs=1e-6)
    assert one.keys() == two.keys() and any(g.abs().max() > 1e-3 for g in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(again[2][name], two[name])


def test_another_trainer_of_the_model_has_its_own_temperature(base, world, tmp_path):
    groups, found = [clip.group for clip in world], {}
    settings = {"max_completion_length": 40, "per_device_train_batch_size": 32}
    for temperature in (1.0, 2.0):
        for count in (1, 2):
            base.processes = count
            config = grpo_config(tmp_path, temperature=temperature, **settings)
            found[count] = run(build_trainer(base, groups, config, rewards=[varied]), groups)
        assert found[1][0] == found[2][0]
        for name, gradient in found[1][2].items():
            torch.testing.assert_close(found[2][2][name], gradient, atol=1e-5, rtol=1e-3)


def test_a_weight_without_a_gradient_has_none(base):
    base.processes = 2
    parts = differentiate_parts(base, scaled, [(1.0,), (2.0,)])
    sum(part[0] for part in parts).backward()
    assert [p.grad is not None for p in base.model.parameters()].count(True) == 1


@pytest.mark.parametrize("bf16", [False, True])
def test_supervised_training_on_two_processes_is_that_on_one(base, world, tmp_path, bf16):
    shown = demonstrations([(clip.story, clip.group) for clip in world[:6]])
    weights, losses = [], []
    for count in (1, 2):
        model = VideoModel.load(device="cpu")
        model.processes = count
        log = train_sft(model, shown, sft_arguments(tmp_path, steps=3, batch=16, rate=1e-3, seed=0, bf16=bf16))
        losses.append([row["loss"] for row in log if "loss" in row])
        weights.append(torch.cat([p.detach().flatten() for p in model.model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in base.model.parameters()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2 if bf16 else 1e-4) and len(losses[0]) == 3
    assert (weights[0] - weights[1]).norm() < (0.1 if bf16 else 0.01) * (weights[0] - start).norm()


def ended(_, how):
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "error":
        raise VideoError("not this one")
    return how


def test_an_ended_helper_is_an_error_and_the_next_call_starts_another(base):
    base.processes = 2
    with pytest.raises(WorkerError, match="a worker process ended"):
        run_parts(base, ended, [("fine",), ("kill",)])
    assert run_parts(base, ended, [("a",), ("b",)]) == ["a", "b"]
    with pytest.raises(VideoError, match="not this one") as caught:
        run_parts(base, ended, [("fine",), ("error",)])
    assert "In a worker process" in caught.value.__notes__[0]
    assert run_parts(base, ended, [("a",), ("b",)]) == ["a", "b"]


def test_an_error_of_this_process_leaves_no_answer_behind(base):
    base.processes = 2
    run_parts(base, ended, [("a",), ("b",)])
    [before] = helpers(1)
    with pytest.raises(VideoError):
        run_parts(base, ended, [("error",), ("an answer that nobody reads",)])
    assert run_parts(base, ended, [("c",), ("d",)]) == ["c", "d"]
    assert helpers(1)[0] is not before


def scaled(video_model, factor):
    return (video_model.model.lm_head.weight.sum() * factor,)


def test_a_second_forward_pass_before_the_backward_pass_is_an_error(base):
    base.processes = 2
    first = differentiate_parts(base, scaled, [(1.0,), (2.0,)])
    differentiate_parts(base, scaled, [(1.0,), (2.0,)])
    with pytest.raises(RuntimeError, match="one forward pass at a time"):
        first[1][0].backward()


def test_gradients_add_up(base):
    base.processes = 3
    weight = base.model.lm_head.weight
    for _ in range(2):
        parts = differentiate_parts(base, scaled, [(1.0,), (2.0,), (3.0,)])
        sum(part[0] for part in parts).backward()
    torch.testing.assert_close(weight.grad, torch.full_like(weight, 12.0))


def test_where_no_process_can_be_started_one_does_all_the_work(base, asked, monkeypatch, caplog):
    close_helpers()
    one = with_processes(base, 1).generate(*asked, max_new_tokens=20)

    def refused(self):
        raise OSError("no more processes")

    monkeypatch.setattr(Helper, "__init__", refused)
    two = with_processes(base, 2)
    with caplog.at_level(logging.WARNING):
        assert two.generate(*asked, max_new_tokens=20) == one
        assert two.generate(*asked, max_new_tokens=20) == one
    assert [r.message for r in caplog.records] == [
        "no worker processes (no more processes): one process does all the work"
    ]


class Unpicklable:
    def __reduce__(self):
        raise TypeError("of this process only")


def test_a_model_that_cannot_be_copied_runs_in_one_process(base, asked, caplog):
    base.model.own = Unpicklable()
    texts = with_processes(base, 2).generate(*asked, max_new_tokens=10)
    assert "of this process only" in caplog.text
    other = VideoModel.load(device="cpu")
    other.processes = 2
    assert other.generate(*asked, max_new_tokens=10) == texts and processes_of(other) == 2, "others are not affected"


def test_a_model_that_is_gone_leaves_the_helpers(asked):
    close_helpers()
    for _ in range(4):
        model = VideoModel.load(device="cpu")
        model.processes = 2
        model.generate(*asked, max_new_tokens=5)
        del model
        gc.collect()
    helper = helpers(1)[0]
    helper.send(number_of_copies)
    assert helper.result() == 1, "the last one is dropped at the next call"


def number_of_copies():
    return len(workers._here)


def test_a_script_needs_no_guard_and_runs_once(tmp_path):
    """Python's own processes would run the script again."""
    (tmp_path / "script.py").write_text(
        "print('once')\n"
        "from rarft.models import VideoModel\n"
        "from rarft.system.processes import worker_pool\n"
        "from coursekit import sample_world\n"
        "model = VideoModel.load()\n"
        "model.processes = 2\n"
        "samples = [s for clip in sample_world() for s in clip.group][:16]\n"
        "texts = model.generate([s.crop for s in samples], [s.query for s in samples], max_new_tokens=5)\n"
        "with worker_pool(1) as pool: print(len(texts), pool.submit(abs, -3).result())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, env=environment)
    assert found.stdout.splitlines() == ["once", "16 3"], found.stderr


def test_helpers_end_with_their_process(tmp_path):
    code = (
        "import time\nfrom rarft.system.processes import helpers\n"
        "[h] = helpers(1); h.send(abs, -1); h.result(); h.send(time.sleep, 600); print(h.process.pid, flush=True); "
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    import psutil

    for end in ("", "time.sleep(600)"):
        parent = subprocess.Popen(
            [sys.executable, "-c", code + end], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        if end:
            parent.kill()
        parent.wait(20)
        assert not psutil.wait_procs([child], 10)[1]


def test_helpers_use_one_thread_and_start_no_helpers(base, asked):
    base.processes = 2
    base.generate(*asked, max_new_tokens=5)
    helper = helpers(1)[0]
    helper.send(threads_and_cores)
    assert helper.result() == (1, 1)


def threads_and_cores():
    from rarft.system.cores import cores

    return torch.get_num_threads(), cores()


def test_an_interrupt_is_for_the_first_process():
    [helper] = helpers(1)
    helper.send(abs, -1)
    assert helper.result() == 1
    helper.send(time.sleep, 0.5)
    os.kill(helper.process.pid, signal.SIGINT)
    assert helper.result() is None


def test_a_helper_that_was_interrupted_while_it_was_asked_is_replaced(monkeypatch):
    [helper] = helpers(1)

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(helper, "_pipe", SimpleNamespace(send_bytes=interrupted, close=helper._pipe.close))
    with pytest.raises(KeyboardInterrupt):
        helper.send(abs, -1)
    assert helpers(1)[0] is not helper


def pool_of_its_own(crops, queries):
    model = VideoModel.load(device="cpu")
    model.processes = 2
    return len(model.generate(crops, queries, max_new_tokens=3))


def test_a_process_of_another_pool_ends_with_its_helpers(asked):
    begin = time.perf_counter()
    with worker_pool(1) as pool:
        assert pool.submit(pool_of_its_own, *asked).result() == len(asked[0])
    assert time.perf_counter() - begin < 60
