"""Whether a text says no to something, in the languages in which video language models answer."""

from __future__ import annotations

import re

_DENIAL = re.compile(
    r"\b(?:no|not|none|never|nobody|nothing|nowhere|neither|nor|without|cannot|instead|rather|unlike|whereas|but|"
    r"irrelevant|unrelated|mismatch\w{0,5}|mismatches|inconsisten\w{1,5}|absent|absence|missing|lacks?|fails?|unable|"
    r"inappropriate|differs?|different|contradict\w{0,5}|wrong|incorrect|inaccurate|false|refuse|unanswerable|n/a|"
    r"null|nil|sorry|nunca|ningún|ninguna|nadie|sin|não|nenhuma?|sem|pas|aucune?|jamais|kein\w{0,2}|nicht|nie|niemand|"
    r"ohne|non|nessun\w?|не|нет|никто|ничего|без|لا|لم|ليس|لن|नहीं|không)\b"
    r"|n['’]t\b|[没沒无無不未非]|ない|なかっ|なし|ません|없|않|아니|ไม่",
    re.IGNORECASE,
)


def denies(text: str) -> bool:
    """Whether a text says no to something: "not", "nobody", "instead", "unrelated", "没有", "ない" and similar."""
    return _DENIAL.search(text) is not None
