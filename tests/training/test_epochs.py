"""What a run of several epochs asks: every row of an epoch, other negatives in each, the same after a kill."""

import dataclasses
import math
from collections import Counter

import pytest
from transformers import TrainerCallback
from trl.trainer.utils import RepeatSampler

from rarft.schema import Group
from rarft.training import VideoGRPOTrainer, build_trainer, grpo_config, refusal_dataset, train_rarft
from rarft.training.epochs import EpochSampler
from rarft.training.run import epochs_of


def test_the_first_epoch_is_in_trls_order():
    for rows, prompts, generations, passes, seed in ((12, 4, 2, 1, 0), (30, 5, 3, 2, 7), (16, 8, 8, 4, 42)):
        theirs = RepeatSampler(range(rows), generations, prompts, passes, seed=seed)
        ours = EpochSampler(rows, prompts=prompts, generations=generations, passes=passes, seed=seed)
        assert list(ours) == list(theirs) and len(ours) == len(theirs)


@pytest.mark.parametrize("rows, prompts", [(12, 4), (10, 4), (3, 8), (1, 2)])
def test_no_row_of_an_epoch_is_left_out(rows, prompts):
    for epoch in range(4):
        sampler = EpochSampler(rows, prompts=prompts, generations=2, passes=3, epoch=lambda: epoch)  # noqa: B023
        asked = list(sampler)
        assert len(asked) == len(sampler) and {row // rows for row in asked} == {epoch}
        counts = Counter(asked)
        least = -(-rows // prompts) * prompts // rows * 6
        assert len(counts) == rows and all(least <= count <= least + 6 for count in counts.values())


class Asked(TrainerCallback):
    """Notes the rows that rewards see, step by step, and stops before the end if asked to."""

    def __init__(self, stop: int | None = None):
        self.stop, self.rows = stop, []

    def reward(self, completions, query, trainer_state, **_):
        self.rows.append((trainer_state.global_step, tuple(query)))
        return [float(i % 2) for i in range(len(query))]

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.stop:
            control.should_save = control.should_training_stop = True
        return control

    def queries(self) -> list[str]:
        return [query for _, queries in self.rows for query in queries]


@pytest.fixture(autouse=True)
def rows_only(monkeypatch):
    """Which rows are asked does not depend on the answers: none is sampled, and nothing is learned from them."""

    def answers(self, prompt_ids, *_, **__):
        return [[self.processing_class.tokenizer.eos_token_id]] * len(prompt_ids), None

    def loss(self, model, inputs):
        return 0 * next(p for p in model.parameters() if p.requires_grad).sum()

    monkeypatch.setattr(VideoGRPOTrainer, "_generate_single_turn", answers)
    monkeypatch.setattr(VideoGRPOTrainer, "_compute_loss", loss)


def groups_of(world, count):
    """Groups of three irrelevant queries each, whose texts are their own."""
    groups = []
    for number, clip in enumerate(world[:count]):
        relevant, irrelevant = clip.group.relevant, clip.group.irrelevant[0]
        others = (dataclasses.replace(irrelevant, query=f"the red ring grows {number} {i}") for i in range(3))
        groups.append(Group(dataclasses.replace(relevant, query=f"the red ring grows {number}"), tuple(others)))
    return groups


def run(base, world, folder, *, stop=None, resume=False, count=3, **changes):
    asked = Asked(stop)
    config = grpo_config(
        folder,
        **{
            "num_generations": 2,
            "per_device_train_batch_size": 4,
            "max_completion_length": 2,
            "max_steps": -1,
            "num_train_epochs": 2,
            **changes,
        },
    )
    options = {"rewards": [asked.reward], "callbacks": [asked], "resume": resume}
    trainer = train_rarft(base, groups_of(world, count), config, **options)
    return asked, trainer


def test_every_epoch_draws_new_negatives(base, world, tmp_path):
    """Six videos with three irrelevant queries each, three epochs: other negatives in each."""
    asked, trainer = run(base, world, tmp_path, count=6, num_train_epochs=3)
    queries = asked.queries()[::2]  # a group has two completions
    assert trainer.state.global_step == 18 and trainer.state.epoch == 3 and len(queries) == 36
    epochs = [queries[i : i + 12] for i in (0, 12, 24)]
    relevant = {group.relevant.query for group in groups_of(world, 6)}
    negatives = [set(epoch) - relevant for epoch in epochs]
    assert all(relevant <= set(epoch) for epoch in epochs) and all(len(drawn) == 6 for drawn in negatives)
    assert len({frozenset(drawn) for drawn in negatives}) == 3 and len(set.union(*negatives)) > 9
    rows = refusal_dataset(groups_of(world, 6), "plain", epochs=3)
    assert sorted(queries) == sorted(rows[i]["query"] for i in range(36))


@pytest.mark.parametrize(
    "stop, changes",
    [
        (5, {}),  # in the middle of the second epoch
        (3, {}),  # at the end of the first
        (4, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}),
        (3, {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2, "generation_batch_size": 4}),
        (7, {"steps_per_generation": 2, "num_iterations": 2, "count": 2}),  # within a generation
        (4, {"count": 2, "per_device_train_batch_size": 6, "data_seed": 3}),  # the last step of an epoch is filled up
    ],
)
def test_a_run_resumed_within_an_epoch_asks_the_rows_of_an_undisturbed_one(base, world, tmp_path, stop, changes):
    whole, trainer = run(base, world, tmp_path / "whole", **changes)
    first, _ = run(base, world, tmp_path / "killed", stop=stop, **changes)
    second, _ = run(base, world, tmp_path / "killed", resume=True, **changes)
    args = trainer.args
    generations = stop * args.gradient_accumulation_steps / (args.steps_per_generation * args.num_iterations)
    whole, first, second = ([queries for _, queries in asked.rows] for asked in (whole, first, second))
    assert first == whole[: math.ceil(generations)]
    assert second == whole[math.floor(generations) :], "one that was cut is sampled again"


def test_data_seed_draws_the_rows(base, world, tmp_path):
    runs = [run(base, world, tmp_path / str(i), num_train_epochs=1, **c)[0].queries() for i, c in enumerate(
        ({"seed": 1}, {"seed": 2}, {"seed": 1, "data_seed": 2}, {"seed": 1, "shuffle_dataset": False})
    )]  # fmt: skip
    assert runs[0] != runs[1] and runs[1] == runs[2]
    assert runs[3][::4] == [group.relevant.query for group in groups_of(world, 3)]


@pytest.mark.parametrize(
    "steps, batch", [(1, {}), (8, {}), (7, {"gradient_accumulation_steps": 4}), (9, {"num_iterations": 3})]
)
def test_a_number_of_steps_has_rows_enough(base, world, tmp_path, steps, batch):
    """Fewer rows than steps ask: the run goes through as many epochs as it needs."""
    asked, trainer = run(base, world, tmp_path, count=3, max_steps=steps, **batch)
    assert trainer.state.global_step == steps
    assert len(trainer.train_dataset) >= 6 * math.ceil(trainer.state.epoch)
    assert epochs_of(trainer.args, 6) <= math.ceil(trainer.state.epoch) + 1


def test_fewer_rows_than_a_step_has_prompts_are_repeated(base, world, tmp_path):
    asked, trainer = run(base, world, tmp_path, count=1, per_device_train_batch_size=8, num_train_epochs=2)
    assert trainer.state.global_step == 2 and [len(set(queries)) for _, queries in asked.rows] == [2, 2]


def test_an_empty_list_of_rewards_is_not_all_of_them(base, world, tmp_path):
    with pytest.raises(ValueError, match="reward"):
        build_trainer(base, groups_of(world, 2), grpo_config(tmp_path), rewards=[])
