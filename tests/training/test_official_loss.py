"""The loss of the released trainer, written down here a second time, against TRL's on the same small tensors.

The release: each process holds one prompt and its answers, and the gradients of all processes are averaged. ρ is
computed against its own detached value. By default it is clipped at ε = 0.2, and the loss is the mean over all tokens
of the process; with its flag `use_grpo`, it is not clipped, and the loss is the mean over answers of each one's mean.
KL is added for each token where β > 0.
"""

import numpy as np
import pytest
import torch

from rarft.training import build_trainer, grpo_config

ANSWERS = 4
EPSILON = 0.2


def released_advantages(rewards):
    """(prompts, answers) → the same shape: with the sample's standard deviation."""
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)


def released_loss(logps, reference, mask, advantages, *, use_grpo, beta):
    """Of one process: logps, reference and mask (answers, tokens), advantages (answers,)."""
    ratio = (logps - logps.detach()).exp()
    gain = ratio * advantages[:, None]
    if not use_grpo:
        gain = torch.minimum(gain, ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantages[:, None])
    away = reference - logps
    loss = beta * (away.exp() - away - 1) - gain
    if use_grpo:
        return ((loss * mask).sum(1) / mask.sum(1)).mean()
    return (loss * mask).sum() / mask.sum()


def drawn(rng, prompts):
    """Log-probabilities, those of a reference, masks of answers of any lengths, and advantages of random rewards."""
    tokens = int(rng.integers(1, 12))
    logps, reference = (torch.tensor(rng.normal(-1.5, 1, (prompts, ANSWERS, tokens))) for _ in range(2))
    lengths = torch.tensor(rng.integers(1, tokens + 1, (prompts, ANSWERS, 1)))
    mask = (torch.arange(tokens) < lengths).long()
    rewards = torch.tensor(rng.choice([0.0, 0.5, 1.0, 2.0, 3.4], (prompts, ANSWERS)))
    return logps, reference, mask, released_advantages(rewards)


@pytest.fixture
def trainer(base, world, tmp_path):
    sizes = {"num_generations": ANSWERS, "per_device_train_batch_size": ANSWERS, "top_entropy_quantile": 1.0}
    config = grpo_config(tmp_path, **sizes, use_bias_correction_kl=False)
    made = build_trainer(base, [clip.group for clip in world], config)
    made.model.train()
    return made


def losses_of_trl(trainer, passes, loss_type, beta):
    """Sum of the losses of some passes, that of one step, by the trainer's own code, and the gradient."""
    trainer.loss_type, trainer.beta = loss_type, beta
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = len(passes)
    total, leaves = 0.0, []
    items = torch.tensor(float(sum(mask.sum() for _, _, mask, _ in passes)))
    for logps, reference, mask, advantages in passes:
        leaf = logps.clone().requires_grad_()
        trainer._get_per_token_logps_and_entropies = lambda *_, leaf=leaf, **__: (leaf, torch.zeros_like(leaf), None)
        tokens = torch.zeros_like(mask)
        inputs = {"prompt_ids": tokens[:, :1], "prompt_mask": mask[:, :1], "completion_ids": tokens}
        inputs |= {"completion_mask": mask, "advantages": advantages, "ref_per_token_logps": reference}
        inputs |= {"num_items_in_batch": items, "video_features": []}
        total += trainer._compute_loss(trainer.model, inputs)
        leaves.append(leaf)
    return total, torch.cat([grad.flatten() for grad in torch.autograd.grad(total, leaves)])


def losses_of_release(batch, use_grpo, beta):
    """The mean over processes, each of which has one of the prompts."""
    leaves = [logps.clone().requires_grad_() for logps in batch[0]]
    parts = zip(leaves, *batch[1:], strict=True)
    mean = torch.stack([released_loss(*part, use_grpo=use_grpo, beta=beta) for part in parts]).mean()
    return mean, torch.cat([grad.flatten() for grad in torch.autograd.grad(mean, leaves)])


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type, use_grpo", [("bnpo", False), ("grpo", True)])
def test_trl_has_both_losses_of_the_release(trainer, loss_type, use_grpo, beta):
    """With one group in each pass, however many passes make a step."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        batch = drawn(rng, prompts=int(rng.choice([1, 2, 8])))
        ours = losses_of_trl(trainer, list(zip(*batch, strict=True)), loss_type, beta)
        theirs = losses_of_release(batch, use_grpo, beta)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


def away(trainer, loss_type, groups_a_pass=1):
    """Median distance of TRL's gradient from the release's default one, relative to its length."""
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        batch = drawn(rng, prompts=8)
        passes = zip(*(part.reshape(-1, ANSWERS * groups_a_pass, *part.shape[2:]) for part in batch), strict=True)
        mine = losses_of_trl(trainer, list(passes), loss_type, 0.0)[1]
        other = losses_of_release(batch, False, 0.0)[1]
        if other.norm() > 0:
            found.append(float((mine - other).norm() / other.norm()))
    return float(np.median(found))


def test_other_losses_and_fuller_passes_are_not_the_release(trainer):
    assert away(trainer, "bnpo") < 1e-6
    assert away(trainer, "bnpo", groups_a_pass=8) > 0.05, "tokens of all groups in one mean: long groups count more"
    assert away(trainer, "dapo") > 0.05, "TRL's default: the same"
    assert away(trainer, "grpo") > 0.05 and away(trainer, "dr_grpo") > 0.05


def test_advantages_are_those_of_the_release(trainer):
    """From the rewards on: groups, the sample's deviation, 1e-4, and the plain sum of all rewards."""
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randint(0, 5, (2 * ANSWERS, 3), generator=generator) / 4
    trainer.reward_funcs = trainer.reward_funcs[:3]
    trainer._calculate_rewards = lambda *_: rewards
    rows = [trainer.train_dataset[i] for i in (0, 3) for _ in range(ANSWERS)]
    trainer.reward_weights = torch.ones(3)
    trainer.reward_func_names = ["a", "b", "c"]
    found = trainer._generate_and_score_completions(rows)["advantages"]
    torch.testing.assert_close(found.view(2, ANSWERS), released_advantages(rewards.sum(1).view(2, ANSWERS)))
