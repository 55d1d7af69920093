"""What completions share is computed once and changes nothing: log-probabilities and gradients stay as they were."""

import pytest
import torch

from rarft.training import build_trainer, grpo, grpo_config
from rarft.training.prefix_tree import Tree, pack


@pytest.fixture
def groups(world):
    return [clip.group for clip in world]


@pytest.fixture
def unshared(monkeypatch):
    """A switch to computing every row by itself."""
    return lambda: monkeypatch.setattr(grpo, "share_prefixes", lambda _: False)


def settings(folder, **changes):
    return grpo_config(
        folder,
        **{
            "num_generations": 4,
            "per_device_train_batch_size": 8,
            "max_steps": 2,
            "max_completion_length": 64,
            "top_entropy_quantile": 1.0,
            **changes,
        },
    )


def thirds(completions, **_):
    """A reward that no group gets the same of."""
    return [float(i % 3) for i in range(len(completions))]


def passes(model):
    """Rows and tokens of every forward pass of the language model."""
    shapes = []
    model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    return shapes


def gradients(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_the_rows_one_by_one(base, groups, tmp_path, unshared, checkpointing):
    model = base.model
    trainer = build_trainer(base, groups, settings(tmp_path, temperature=2.0), rewards=[thirds])
    rows = [trainer.train_dataset[i] for i in (0, 3) for _ in range(4)]
    assert rows[0]["duration"] != rows[4]["duration"]  # so one prompt is padded
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions(rows)
    order = [0, 4, 1, 2, 5, 7, 3]  # mixed, and one group lacks one
    features = batch.pop("video_features")
    batch = {k: v[order] if v.ndim else v for k, v in batch.items()}
    batch["video_features"] = [features[i] for i in order]
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    counted = passes(model)
    loss = trainer._compute_loss(model, batch)
    loss.backward()
    shared = gradients(model)
    unshared()
    expected = trainer._compute_loss(model, batch)
    expected.backward()
    plain = gradients(model)
    prompt, answer = batch["prompt_ids"].shape[1], batch["completion_ids"].shape[1]
    assert counted[0][0] == 2 and counted[0][1] < prompt + 4 * (answer + 1) and counted[-1] == (7, prompt + answer)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert shared.keys() == plain.keys() and any(g.abs().max() > 1e-3 for g in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(shared[name], gradient, atol=1e-5, rtol=1e-3)


def test_a_completion_that_was_sampled_twice_is_computed_once(base, groups, tmp_path, unshared):
    model = base.model
    trainer = build_trainer(base, groups, settings(tmp_path, temperature=2.0), rewards=[thirds])
    rows = [trainer.train_dataset[i] for i in (0, 3) for _ in range(4)]
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions(rows)
    for name in ("completion_ids", "completion_mask"):
        batch[name][1] = batch[name][3] = batch[name][0]
        batch[name][4] = batch[name][0]  # the same answer, to another prompt
    batch["completion_mask"][2] = batch["completion_mask"][0]
    batch["completion_ids"][2] = batch["completion_ids"][0]
    batch["completion_mask"][2, int(batch["completion_mask"][2].sum()) - 1] = 0  # the same, but one does not count
    model.train()
    counted = passes(model)
    loss = trainer._compute_loss(model, batch)
    loss.backward()
    shared = gradients(model)
    prompt, lengths = batch["prompt_ids"].shape[1], batch["completion_mask"].sum(1).tolist()
    beginnings = {
        tuple(batch["completion_ids"][row][: n + 1].tolist()) for row in range(4, 8) for n in range(lengths[row])
    }
    ends = {tuple(batch["completion_ids"][row][: lengths[row]].tolist()) for row in range(4, 8)}
    # A token for each beginning, and one more for each branch: as many as there are ends, but one.
    assert counted == [(2, prompt + max(lengths[0], len(beginnings) + len(ends) - 1))]
    unshared()
    expected = trainer._compute_loss(model, batch)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(shared[name], gradient, atol=1e-5, rtol=1e-3)


def test_small_batches_of_a_generation_hold_whole_groups(base, groups, tmp_path):
    """TRL shuffles completions before it splits them; a pass of four rows then has one prompt."""
    model = base.model
    config = settings(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=1)
    counted = passes(model)
    prompts = []
    trainer = build_trainer(base, groups[:3], config)
    usual = grpo.pack
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo, "pack", lambda groups, *rest: prompts.append(len(groups)) or usual(groups, *rest))
        trainer.train()
    assert prompts == [1, 1] and [rows for rows, _ in counted[-2:]] == [1, 1]
    assert trainer.state.global_step == 1


def test_the_reference_model_and_lora_share_too(base, groups, tmp_path, unshared):
    base.add_lora(rank=4)
    model = base.model
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    trainer = build_trainer(base, groups, settings(tmp_path, beta=0.1))
    rows = [trainer.train_dataset[i] for i in (0, 3) for _ in range(4)]
    torch.manual_seed(0)
    shared = trainer._generate_and_score_completions(rows)["ref_per_token_logps"]
    unshared()
    torch.manual_seed(0)
    torch.testing.assert_close(
        shared, trainer._generate_and_score_completions(rows)["ref_per_token_logps"], atol=2e-4, rtol=1e-3
    )


def test_pack_by_hand():
    ids = torch.tensor(
        [[0, 5, 6, 1, 2], [7, 8, 9, 3, 0], [0, 5, 6, 4, 0], [0, 5, 6, 1, 3]]
    )  # prompts of 3, all but one the same; 2 new tokens, whose first is the same in the first and the last row
    mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 1]])
    packed = pack([[0, 2, 3], [1]], ids, mask, 2)
    # The prompt, 1, 2; the prompt's last token again, 4; and 1 again, 3.
    assert packed.input_ids.tolist() == [[0, 5, 6, 1, 2, 6, 4, 1, 3], [7, 8, 9, 3, 0, 0, 0, 0, 0]]
    assert packed.labels.tolist() == [
        [-100, -100, -100, 1, 2, -100, 4, -100, 3],
        [-100, -100, -100, 3, -100, -100, -100, -100, -100],
    ]
    assert packed.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],  # padding sees itself
        [0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 1, 0],
        [0, 1, 1, 0, 0, 0, 0, 1, 1],
    ]
    predictions = torch.arange(16).view(2, 8)
    assert packed.unpack(predictions).tolist() == [[2, 3], [10, 0], [5, 0], [2, 7]]
    assert packed.source.tolist()[1] == [10, -1]
    positions = torch.tensor([[0, 1, 2], [4, 5, 6]])
    assert packed.positions(positions)[0].tolist() == [0, 1, 2, 3, 4, 2, 3, 3, 4]
    assert packed.positions(positions[None])[0, 1, :4].tolist() == [4, 5, 6, 7]


def test_a_tree_has_a_node_for_each_beginning():
    """On random completions: each path spells its completion, and each token is predicted where it should be."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        lengths = torch.randint(0, 7, (6,), generator=generator).tolist()
        completions = [torch.randint(1, 4, (n,), generator=generator).tolist() for n in lengths]
        tree = Tree(9, completions)
        beginnings = {tuple(c[: n + 1]) for c in completions for n in range(len(c))}
        children = {b[:-1] for b in beginnings}
        assert len(tree.tokens) == 1 + 2 * len(beginnings) - len(children), (
            "one repetition for each child but the first"
        )
        attends = tree.attends()
        for completion, path in zip(completions, tree.predictors, strict=True):
            for n, (token, node) in enumerate(zip(completion, path, strict=True)):
                assert tree.predicted[node] == token and tree.depths[node] == n
                assert [tree.tokens[i] for i in attends[node].nonzero()[0]] == [9, *completion[:n]]
