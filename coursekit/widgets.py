"""Interactive widgets: scrub through a clip with its segments, write an irrelevant query about it."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping
from pathlib import Path

import ipywidgets
from PIL import Image

from rarft.hivtg.build import edited_sample
from rarft.hivtg.editors import Proposal, Rejected, check_proposal
from rarft.hivtg.official import rows_of
from rarft.schema import Category, Group, Sample, Span
from rarft.system.errors import InputError
from rarft.system.files import json_lines, open_to_append
from rarft.video.reader import Clip


def clip_player(clip: Clip, spans: Mapping[str, Span] | None = None, height: int = 256) -> ipywidgets.VBox:
    """A slider over the frames of a clip; each named span is marked while the frame lies inside it.

    Names may come from data or a model: they are escaped.
    """
    picture = ipywidgets.Image(format="png", height=height)
    caption = ipywidgets.HTML()
    slider = ipywidgets.IntSlider(0, 0, len(clip.frames) - 1, description="frame")

    def draw(index: int) -> None:
        buffer = io.BytesIO()
        frame = Image.fromarray(clip.frames[index])
        scale = height / frame.height
        frame.resize((round(frame.width * scale), height), Image.Resampling.NEAREST).save(buffer, "png")
        picture.value = buffer.getvalue()
        second = clip.seconds[index]
        inside = [name for name, span in (spans or {}).items() if span.start <= second < span.end]
        caption.value = f"<b>{second:.1f} s</b> {html.escape(' · '.join(inside))}"

    slider.observe(lambda change: draw(change["new"]), names="value")
    draw(0)
    return ipywidgets.VBox([picture, slider, caption])


def annotate(clip: Clip, sample: Sample, output: str | Path) -> ipywidgets.VBox:
    """Watch a clip and its relevant query, write a hard-irrelevant one, and save the pair as a row of HI-VTG.

    Rows are added to `output`, JSON Lines, which every reader of this library takes. What the builder would reject
    (`rarft.hivtg.editors.check_proposal`), and what has no category or more than three, is not saved; the message says
    why.
    """
    output = Path(output)
    wide = ipywidgets.Layout(width="36rem")
    query = ipywidgets.Text(sample.query, description="query", layout=wide)
    answer = ipywidgets.Text("", description="refusal", placeholder="what the video shows instead", layout=wide)
    categories = ipywidgets.SelectMultiple(
        options=[(c.short, c) for c in Category], rows=len(Category), description="edits"
    )
    button = ipywidgets.Button(description="save", icon="check")
    message = ipywidgets.HTML()

    def save(_) -> None:
        proposal = Proposal(query.value.strip(), answer.value.strip(), tuple(categories.value))
        try:
            if not 1 <= len(proposal.categories) <= 3:
                raise Rejected("choose one to three categories, one for each edit")
            check_proposal(sample, proposal, len(proposal.categories), [])
            list(json_lines(output, resume=True))  # its rows are whole: this one joins no line that was cut short
        except (Rejected, InputError) as reason:
            message.value = f"not saved: {html.escape(str(reason))}"
            return
        edited = edited_sample(sample, proposal)
        with open_to_append(output) as file:
            file.write(json.dumps(rows_of([Group(sample, (edited,))])[0], ensure_ascii=False) + "\n")
        message.value = f"saved: {html.escape(edited.query)} ({edited.difficulty.value})"

    button.on_click(save)
    return ipywidgets.VBox(
        [clip_player(clip, {sample.query: sample.spans[0]}), query, answer, categories, button, message]
    )
