"""The first stage of the tiny base: pretrain its vision tower, as CLIP does for a large one.

Each merged vision token reads out, through one linear probe an attribute, the actor of its quarter of the frame:
looks, action, place and size at this second. The probes are thrown away; what stays is a tower whose tokens hold
these things linearly. Captions alone take far longer: the language model must find the token before the token
is worth finding.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin, Trainer, TrainingArguments

from rarft.models.families import vision_tower
from rarft.models.features import video_kwargs
from rarft.training.checkpoints import resume_training
from rarft.training.sft import LikeLengthSampler
from rarft.video.reader import Clip
from rarft.world import scenes
from rarft.world.render import RADIUS, SIZE, trajectory
from rarft.world.scenes import Story

ATTRIBUTES = {
    "colour": scenes.COLOURS,
    "shape": scenes.SHAPES,
    "part": scenes.PARTS,
    "count": scenes.COUNTS,
    "size": scenes.SIZES,
    "action": scenes.ACTIONS,
    "layout": tuple(scenes.PLACES),
    "scene": scenes.SCENES,
}
MOTION = 6  # x, y, radius at the first and the second frame of the pair, in units of the frame
SCALE = 0.5  # of the finished tokens: what attention adds to them, such as a timestamp, must not drown
TOKENS = 4  # merged tokens of a second: a 2×2 grid, in reading order


def lane_of_token(layout: str) -> list[int]:
    """Which actor's lane each of the four quarters belongs to."""
    return [0, 1, 0, 1] if layout == "side" else [0, 0, 1, 1]


def labels_of(story: Story) -> tuple[np.ndarray, np.ndarray]:
    """Targets of every token: attribute numbers (seconds * 4, 8) and motion (seconds * 4, 6)."""
    classes = np.zeros((story.duration, TOKENS, len(ATTRIBUTES)), np.int64)
    motion = np.zeros((story.duration, TOKENS, MOTION), np.float32)
    times = np.arange(2 * story.duration) / 2
    paths = [trajectory(story, lane, times) for lane in (0, 1)]
    for second in range(story.duration):
        scene = next(s.scene for s in story.settings if s.start <= second < s.end)
        for token, lane in enumerate(lane_of_token(story.layout)):
            actor = story.actors[lane]
            action = next(e.action for e in actor.events if e.start <= second < e.end)
            values = (actor.colour, actor.shape, actor.part, actor.count, actor.size, action, story.layout, scene)
            classes[second, token] = [names.index(v) for names, v in zip(ATTRIBUTES.values(), values, strict=True)]
            pair = slice(2 * second, 2 * second + 2)
            path = paths[lane]
            motion[second, token] = np.concatenate(
                [path.x[pair] / SIZE, path.y[pair] / SIZE, path.radius[pair] / RADIUS["bigger"]]
            )
    return classes.reshape(-1, len(ATTRIBUTES)), motion.reshape(-1, MOTION)


class ProbedTower(nn.Module):
    """A vision tower with linear probes on its merged tokens."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.tower = vision_tower(model)
        width = model.config.vision_config.out_hidden_size
        self.probes = nn.ModuleList(nn.Linear(width, len(names)) for names in ATTRIBUTES.values())
        self.motion = nn.Linear(width, MOTION)
        for probe in (*self.probes, self.motion):  # start at "no idea": random guesses would drown the gradient
            nn.init.zeros_(probe.weight)
            nn.init.zeros_(probe.bias)

    def forward(self, pixel_values_videos, video_grid_thw, classes, motion) -> dict[str, torch.Tensor]:
        """loss, and accuracy (8,) of each attribute."""
        tokens = self.tower(pixel_values_videos, grid_thw=video_grid_thw).pooler_output
        logits = [probe(tokens) for probe in self.probes]
        losses = [nn.functional.cross_entropy(z, y) for z, y in zip(logits, classes.T, strict=True)]
        # Differences within the pair are small and carry the direction: weight them up.
        error = self.motion(tokens) - motion
        change = error[:, 1::2] - error[:, ::2]
        losses += [5 * error.square().mean(), 50 * change.square().mean()]
        hits = torch.stack([(z.argmax(-1) == y).float().mean() for z, y in zip(logits, classes.T, strict=True)])
        return {"loss": torch.stack(losses).sum(), "hits": hits.detach()}


class _ProbeTrainer(Trainer):
    def __init__(self, *args, lengths: list[int], **kwargs):
        super().__init__(*args, **kwargs)
        self.lengths = lengths

    def _get_train_sampler(self, train_dataset=None):
        generator = torch.Generator().manual_seed(self.args.seed)
        return LikeLengthSampler(self.lengths, self.args.train_batch_size, generator)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of the tower with its probes; their accuracies go into the log."""
        outputs = model(**inputs)
        if self.state.global_step % self.args.logging_steps == 0:
            shares = zip(ATTRIBUTES, outputs["hits"].tolist(), strict=True)
            self.log({f"accuracy/{name}": round(share, 3) for name, share in shares})
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


def train_vision(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    clips: list[Clip],
    stories: list[Story],
    arguments: TrainingArguments,
    repeat: int,
) -> list[dict]:
    """Train the tower of `model` in place, from the last checkpoint if there is one. Returns the log, with the accuracy
    of each probe."""

    def collate(indices: list[int]) -> dict[str, torch.Tensor]:
        videos = [clips[i] for i in indices]
        batch = processor.video_processor(**video_kwargs(videos), return_tensors="pt")
        classes, motion = zip(*(labels_of(stories[i]) for i in indices), strict=True)
        return {
            "pixel_values_videos": batch["pixel_values_videos"],
            "video_grid_thw": batch["video_grid_thw"],
            "classes": torch.from_numpy(np.concatenate(classes)),
            "motion": torch.from_numpy(np.concatenate(motion)),
        }

    trainer = _ProbeTrainer(
        model=ProbedTower(model),
        args=arguments,
        train_dataset=list(range(len(clips))) * repeat,
        data_collator=collate,
        lengths=[story.duration for story in stories] * repeat,
    )
    resume_training(trainer)
    _bring_to_scale(trainer.model.tower, collate(list(range(min(32, len(clips))))))
    return trainer.state.log_history


@torch.no_grad()
def _bring_to_scale(tower: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """Scale the last layer so that tokens have a root mean square of SCALE; the probes have let them grow to ten times
    it."""
    tokens = tower(batch["pixel_values_videos"], grid_thw=batch["video_grid_thw"]).pooler_output
    factor = SCALE / tokens.square().mean().sqrt()
    for parameter in tower.merger.linear_fc2.parameters():
        parameter.mul_(factor)
