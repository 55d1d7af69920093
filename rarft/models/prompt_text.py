"""Chat messages → the text of a prompt, and that text → token ids.

Control tokens come only from the chat template, the video's placeholder and the end of a turn. A control token in what
a user or a model wrote, such as `<|video_pad|>` in a query, is tokenized as ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase, ProcessorMixin

from rarft.schema import without_surrogates

# Inserted after the first character of each control token that is ordinary text, and removed when the text is
# tokenized. Unicode reserves this character for use inside programs.
MARK = "\ufdd0"


def prompt_text(processor: ProcessorMixin, messages: Sequence[dict[str, Any]]) -> str:
    """The chat-templated messages, ending where the model's turn begins. Tokenize them with `tokenize_texts`."""
    marked = [{**message, "content": _marked(processor.tokenizer, message["content"])} for message in messages]
    return processor.apply_chat_template(marked, add_generation_prompt=True, tokenize=False)


def _marked(tokenizer: PreTrainedTokenizerBase, content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return as_text(tokenizer, content)
    return [{**part, "text": as_text(tokenizer, part["text"])} if part["type"] == "text" else part for part in content]


def as_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text, with control tokens in it marked as ordinary text."""
    return _control_tokens(tokenizer).sub(lambda found: found[0][0] + MARK + found[0][1:], text.replace(MARK, "\ufffd"))


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(added.union(tokenizer.all_special_tokens), key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else re.compile("(?!)()")


def tokenize_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, Any]:
    """Token ids and attention mask (B, L), padded on the left. Texts without a mark are tokenized as they are."""
    if not any(MARK in text for text in texts):
        return tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="left")
    ids = [_in_parts(tokenizer, text) if MARK in text else tokenizer(text)["input_ids"] for text in texts]
    return tokenizer.pad({"input_ids": ids}, return_tensors="pt", padding_side="left")


def _in_parts(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text: unmarked control tokens become one id each, everything between them ordinary text."""
    ids = list(tokenizer("")["input_ids"])  # some tokenizers put a token before each text
    for number, part in enumerate(_control_tokens(tokenizer).split(text)):
        if number % 2:
            ids.append(tokenizer.convert_tokens_to_ids(part))
        elif part:
            ids += tokenizer(part.replace(MARK, ""), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def unknown_words(tokenizer: PreTrainedTokenizerBase, query: str) -> list[str]:
    """The words of a query that a tokenizer has no tokens for, such as "door" for the tiny base.

    Empty for tokenizers that can spell any word, such as those of all published models.
    """
    if tokenizer.unk_token_id is None or not tokenizer.is_fast:
        return []
    text = {"add_special_tokens": False, "split_special_tokens": True}
    tokens = tokenizer(without_surrogates(query), return_offsets_mapping=True, **text)
    places = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    return [query[begin:end] for token, (begin, end) in places if token == tokenizer.unk_token_id]
