"""What to look at during a run."""

from __future__ import annotations

import html
from collections.abc import Sequence

from transformers import ProcessorMixin, TrainerCallback

from rarft.models.decoding.generation import generate
from rarft.models.vision_cache import VisionCache
from rarft.schema import Sample


class Watch(TrainerCallback):
    """Asks the model the same queries every so many steps and keeps its greedy answers."""

    def __init__(self, processor: ProcessorMixin, cache: VisionCache, samples: Sequence[Sample], every: int = 20):
        self.processor, self.cache, self.samples, self.every = processor, cache, list(samples), every
        self.answers: list[tuple[int, list[str]]] = []  # step, a completion for each sample

    def on_step_begin(self, args, state, control, model=None, **_):
        if state.global_step % self.every == 0:
            self._ask(model, state.global_step)

    def on_train_end(self, args, state, control, model=None, **_):
        self._ask(model, state.global_step)

    def _ask(self, model, step: int) -> None:
        training = model.training
        model.eval()
        features = self.cache.get([sample.crop for sample in self.samples])
        self.answers.append((step, generate(model, self.processor, features, [s.query for s in self.samples])))
        model.train(training)

    def show(self) -> None:
        """A table in the notebook: a row a step, the thinking left out."""
        from IPython.display import HTML, display

        head = "".join(f"<th>{html.escape(sample.query)}</th>" for sample in self.samples)
        body = "".join(
            f"<tr><td>{step}</td>"
            + "".join(f"<td>{html.escape(text.rpartition('</think>')[2])}</td>" for text in texts)
            + "</tr>"
            for step, texts in self.answers
        )
        display(HTML(f"<table><tr><th>step</th>{head}</tr>{body}</table>"))
