"""Loading a folder's tokenizer so that it splits text as its file says, and the BOS token.

Transformers chooses a tokenizer class by the model's type, and some of these classes split text in
their own way around the saved vocabulary. Where the tokens differ from those of the saved
`tokenizer.json`, the file is right: the model was trained with it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dfa_tl.errors import ModelError

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
                "%s and %s split text differently; the file is used",
                type(tokenizer).__name__,
                file,
            )
            tokenizer = _load(PreTrainedTokenizerFast, folder)
    # TransformerLens gives a tokenizer without a BOS its EOS as one: keep what it came with.
    tokenizer.init_kwargs.setdefault("bos_token", tokenizer.bos_token)
    return tokenizer


def has_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer had a BOS token before TransformerLens gave it one."""
    came_with = getattr(tokenizer, "init_kwargs", {})
    return came_with.get("bos_token", tokenizer.bos_token) is not None


def bos_to_prepend(tokenizer: Any, rows: int) -> int:
    """The token that `prepend_bos=True` puts before a prompt.

    TransformerLens gives a tokenizer without a BOS its EOS as one, and one without either the text
    `<|endoftext|>`, which may be no token.

    Args:
        tokenizer: As TransformerLens holds it.
        rows: Rows of the model's embedding.

    Raises:
        ModelError: that text is not a single token of the tokenizer, or the embedding has no row
            for it.
    """
    text, token = tokenizer.bos_token, tokenizer.bos_token_id
    if text is not None and token is not None and token < rows:
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        if list(found) == [token] and tokenizer.convert_ids_to_tokens(token) == text:
            return token
    raise ModelError(
        f"prompts should begin with a BOS, and the tokenizer has none that the model knows (it has "
        f"{text!r}, token {token}; the embedding has {rows} rows): give the tokenizer a bos_token "
        "or an eos_token, or load the model with prepend_bos=False"
    )


def without_second_bos(tokens: Int[Tensor, " pos"], bos: int | None) -> Int[Tensor, " left"]:
    """The tokens of a prompt, with one BOS where it had one before another was prepended."""
    # A tokenizer may put another special token first, as XGLM's does.
    for start in (0, 1):
        if tokens[start : start + 2].tolist() == [bos, bos]:
            return torch.cat([tokens[:start], tokens[start + 1 :]])
    return tokens


def _load(kind: Any, folder: Path) -> PreTrainedTokenizerBase:
    # TransformerLens expects the tokenizer to prepend a BOS, and removes it for models that use
    # none. A tokenizer without a BOS raises.
    try:
        return kind.from_pretrained(folder, add_bos_token=True)
    except ValueError:
        return kind.from_pretrained(folder)
