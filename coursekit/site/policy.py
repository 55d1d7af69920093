"""A content security policy in every page of the site: what a chapter's output says is shown and never run, and no page
asks a network for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from rarft.system.files import read_text, write_text

# Pages are opened from disk, where 'self' means nothing to a browser; hence file:.
POLICY = (
    "default-src 'none'; script-src 'self' file: {scripts}; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data:; font-src 'self' file: data:; connect-src 'self'; form-action 'self' file:; "
    "base-uri 'none'"
)
_META = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n?')
_CHARSET = re.compile(r"<meta charset=[^>]*>\n?", re.IGNORECASE)


def set_policy(folder: Path) -> None:
    """Give all pages below `folder` a policy that allows the scripts of their templates; a policy that a page has is
    replaced. Pages that do not name their character set were not made by us and stay as they are."""
    for path in folder.rglob("*.html"):
        page = _META.sub("", read_text(path))
        charset = _CHARSET.search(page)
        if charset:
            meta = f'<meta http-equiv="Content-Security-Policy" content="{_policy(page)}">\n'
            write_text(path, page[: charset.end()] + meta + page[charset.end() :])


def _policy(page: str) -> str:
    found = _TemplateScripts()
    found.feed(page)
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found.texts]
    return POLICY.format(scripts=" ".join(f"'sha256-{digest}'" for digest in digests))


class _TemplateScripts(HTMLParser):
    """The inline scripts of a page that are not in its text: `article` on Sphinx's pages, `div.reveal` of slides."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._tag, self._depth = "", 0  # of the element that holds the text, while inside it
        self._inline = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where the page's text begins, and where a script does outside of it."""
        if self._depth:
            self._depth += tag == self._tag
        elif tag == "article" or (tag == "div" and "reveal" in (dict(attrs).get("class") or "").split()):
            self._tag, self._depth = tag, 1
        self._inline = tag == "script" and not self._depth and "src" not in dict(attrs)
        if self._inline:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        """Keep the text of such a script."""
        if self._inline:  # a script that holds `</` comes in pieces
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        """Note where the script, or the page's text, ends."""
        self._inline = False
        if self._depth and tag == self._tag:
            self._depth -= 1
