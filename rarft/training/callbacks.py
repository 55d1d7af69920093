"""A callback that records a model's answers during training."""

from __future__ import annotations

import html
from collections.abc import Sequence

from transformers import TrainerCallback

from rarft.models import VideoModel
from rarft.schema import Sample


class Watch(TrainerCallback):
    """Asks the model the same queries every N steps and at the end, and keeps the greedy answers in `answers`."""

    def __init__(self, video_model: VideoModel, samples: Sequence[Sample], every: int = 20):
        self.video_model, self.samples, self.every = video_model, list(samples), every
        self.answers: list[tuple[int, list[str]]] = []  # step, a completion for each sample

    def on_step_begin(self, args, state, control, model=None, **_):
        """Ask before every N-th step, the first one included."""
        if state.global_step % self.every == 0:
            self._ask(model, state.global_step)

    def on_train_end(self, args, state, control, model=None, **_):
        """Ask once more."""
        self._ask(model, state.global_step)

    def _ask(self, model, step: int) -> None:
        training = model.training
        model.eval()
        crops, queries = [sample.crop for sample in self.samples], [sample.query for sample in self.samples]
        self.answers.append((step, self.video_model.generate(crops, queries)))
        model.train(training)

    def show(self) -> None:
        """Draw a table in a notebook: one row per step, without the thinking."""
        from IPython.display import HTML, display

        head = "".join(f"<th>{html.escape(sample.query)}</th>" for sample in self.samples)
        body = "".join(
            f"<tr><td>{step}</td>"
            + "".join(f"<td>{html.escape(text.rpartition('</think>')[2])}</td>" for text in texts)
            + "</tr>"
            for step, texts in self.answers
        )
        display(HTML(f"<table><tr><th>step</th>{head}</tr>{body}</table>"))
