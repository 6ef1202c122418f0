"""A model folder's tokenizer, splitting text as the file that was saved there does.

Transformers picks a tokenizer class by the model's type, and some of these classes build their own
way of splitting text around the saved vocabulary. Where that gives other tokens than the saved
`tokenizer.json`, the file is right: it is what the model was trained with.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

PROBE = "When Mary and John went to the store , John's dog ate 12 apples, (a) then 345.\n\tCafé!"


def saved_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder."""
    tokenizer = _load(AutoTokenizer, folder)
    file = folder / "tokenizer.json"
    if file.is_file():
        saved = Tokenizer.from_file(str(file)).encode(PROBE, add_special_tokens=False).ids
        if tokenizer.encode(PROBE, add_special_tokens=False) != saved:
            logger.warning(
                "%s splits text in another way than %s, which is used instead",
                type(tokenizer).__name__,
                file,
            )
            tokenizer = _load(PreTrainedTokenizerFast, folder)
    # TransformerLens gives a tokenizer without a BOS its EOS as one: keep what it came with.
    tokenizer.init_kwargs.setdefault("bos_token", tokenizer.bos_token)
    return tokenizer


def has_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer came with a BOS token, whatever TransformerLens made of it since."""
    came_with = getattr(tokenizer, "init_kwargs", {})
    return came_with.get("bos_token", tokenizer.bos_token) is not None


def _load(kind: Any, folder: Path) -> PreTrainedTokenizerBase:
    # TransformerLens wants a BOS to be prepended by the tokenizer itself, and takes it off again
    # for models that use none; a tokenizer without a BOS refuses.
    try:
        return kind.from_pretrained(folder, add_bos_token=True)
    except ValueError:
        return kind.from_pretrained(folder)
