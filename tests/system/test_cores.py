"""How many cores are used, and how."""

import os

import pytest
import torch

from rarft.models import VideoModel
from rarft.rewards.encoder import default_encoder
from rarft.system import cores as module
from rarft.system.cores import MOST, SMALL, cores, plan_for, threads, use_cores


@pytest.fixture
def machine(monkeypatch):
    """A machine of a number of cores, and what OMP_NUM_THREADS says on it."""

    def of(count, given=None):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if given is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)

    return of


@pytest.mark.parametrize(
    ("given", "expected"), [(None, 6), ("2", 2), ("12", 12), ("4,2", 4), (" 3 ", 3), ("0", 6), ("", 6), ("many", 6)]
)
def test_omp_num_threads_decides_over_the_machine(machine, given, expected):
    machine(6, given)
    assert cores() == expected


def test_a_machine_that_cannot_say_which_cores_are_free_for_this_process(machine, monkeypatch):
    machine(6)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 3)
    assert cores() == 3


@pytest.mark.parametrize(
    ("available", "parameters", "device", "processes", "expected"),
    [
        (2, 1_000_000, "cpu", None, (2, 1)),
        (2, SMALL, "cpu", None, (2, 1)),
        (2, SMALL + 1, "cpu", None, (1, 2)),
        (1, 1_000_000, "cpu", None, (1, 1)),
        (16, 1_000_000, "cpu", None, (MOST, 1)),
        (16, SMALL + 1, "cpu", None, (1, 16)),
        (16, 1_000_000, "cuda", None, (1, 16)),
        (16, SMALL + 1, "cuda", 4, (4, 4)),
        (2, 1_000_000, "cpu", 3, (3, 1)),
        (2, 1_000_000, "cpu", 1, (1, 1)),
        (8, SMALL + 1, "cpu", 2, (2, 4)),
    ],
)
def test_a_small_model_gets_processes_and_a_large_one_threads(
    machine, available, parameters, device, processes, expected
):
    machine(available)
    plan = plan_for(parameters, device, processes=processes)
    assert (plan.processes, plan.threads) == expected and plan.reason


def test_a_small_model_takes_one_thread_and_leaves_the_others_to_its_callers(machine, world):
    machine(2)
    base, seen = VideoModel.load(device="cpu"), []
    base.processes = 1
    base.model.lm_head.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    sample = world[0].group.relevant
    with threads(2):
        base.generate([sample.crop], [sample.query], max_new_tokens=2)
        base.refusal_scores([sample.crop], [sample.query], ["<think> </think> <answer>"])
        default_encoder()(["a sentence that no other test has"])
        assert torch.get_num_threads() == 2
    assert set(seen) == {1}


def test_use_cores_is_for_this_process_and_its_workers(machine, monkeypatch):
    machine(6)
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    try:
        use_cores(3)
        assert cores() == 3 and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
