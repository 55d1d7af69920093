"""A Sphinx extension: formulae as MathML, which browsers draw by themselves, without a script from a network."""

from __future__ import annotations

import html
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert_to_element
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_mathml(node))
    raise nodes.SkipNode


def display(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_mathml(node, display="block")}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, **options: Any) -> str:
    """A node's formula. What is none, such as a price between dollar signs, is a warning and stays as it is."""
    text = node.astext()
    try:
        formula = convert_to_element(text, **options)
    except Exception as error:  # latex2mathml has a dozen, and no base for them
        logger.warning("not a formula: %s (%s)", text, type(error).__name__, location=node)
        return f"<code>{html.escape(text)}</code>"
    for part in formula.iter():  # it holds entities beside the text of \text as it is, which may be a tag
        part.text = html.unescape(part.text or "")
    return ElementTree.tostring(formula, encoding="unicode")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
