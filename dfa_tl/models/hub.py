"""A model's files from the Hugging Face hub, as a folder of the local cache.

Everything that can go wrong between here and the hub (gated, missing, token, network, offline) is
one kind of error, raised before any weight is read: after that a model is a local folder.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dfa_tl.errors import HubError

# Settings and tokenizers; not the copies of the weights for other frameworks, nor those in folders.
FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
LEFT_OUT = ["*/*", "consolidated*"]


def hub_folder(
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    offline: bool | None = None,
) -> Path:
    """The folder with a hub model's settings, tokenizer and weights; fetched if need be.

    Args:
        name: `organisation/model`.
        revision: Branch, tag or commit (default: the main branch).
        token: Access token; by default that of `HF_TOKEN` or of `hf auth login`.
        offline: Use what is in the cache and do not look at the network (default: as the variable
            `HF_HUB_OFFLINE` says).

    Raises:
        HubError: the model cannot be had, and what to do about it.
    """
    only_cache = bool(constants.HF_HUB_OFFLINE) if offline is None else offline

    def fetch(weights: str) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                token=token,
                local_files_only=only_cache,
                allow_patterns=[*FILES, weights],
                ignore_patterns=LEFT_OUT,
            )
        )

    try:
        folder = fetch("*.safetensors")
        if not only_cache and not any(folder.glob("*.safetensors")):
            folder = fetch("pytorch_model*.bin")
        return folder
    # The client's own errors are of several families, and those of the network are not among them.
    except Exception as error:
        raise HubError(_what_to_do(error, name, revision, token, only_cache)) from error


def _what_to_do(
    error: Exception, name: str, revision: str | None, token: str | bool | None, only_cache: bool
) -> str:
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    page = f"https://huggingface.co/{name}"
    has_token = isinstance(token, str) or (token is not False and get_token() is not None)
    give_one = "token=... or the variable HF_TOKEN, or log in with `hf auth login`"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HFValidationError):
        return f"{name!r} cannot be a model's name on the hub: expected organisation/model"
    if isinstance(error, GatedRepoError):
        given = "the token given has no access" if has_token else "no token was given"
        return (
            f"{name} is gated and {given}: accept its terms at {page}, and give a token of that "
            f"account ({give_one})"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision!r}: its branches and tags are at {page}/tree/main"
    # The hub does not tell whoever has no token which private models there are.
    if isinstance(error, RepositoryNotFoundError) or (status == 401 and not has_token):
        return (
            f"the hub has no model {name} that this account may see: check the name at {page}; "
            f"a private model needs a token ({give_one})"
        )
    if isinstance(error, LocalTokenNotFoundError):
        return f"token=True asks for the token of a login, and there is none: give one ({give_one})"
    if status == 401:
        return (
            f"the hub refuses the token that was given for {name}: make a new one at "
            f"https://huggingface.co/settings/tokens and give it ({give_one})"
        )
    if status == 403:
        return (
            f"the token given may not read {name}: allow it to read gated repositories at "
            f"https://huggingface.co/settings/tokens, or give another ({give_one})"
        )
    if only_cache or isinstance(error, OfflineModeIsEnabled):
        why = "offline mode is on (offline=True or the variable HF_HUB_OFFLINE)"
    else:
        why = f"the hub cannot be reached ({first_line(error)})"
    at_revision = f" --revision {revision}" if revision else ""
    return (
        f"{name} is not complete in the cache {constants.HF_HUB_CACHE}, and {why}: run "
        f"`hf download {name}{at_revision}` once where there is a network, or copy that cache here"
    )


def first_line(error: BaseException) -> str:
    """An exception's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
