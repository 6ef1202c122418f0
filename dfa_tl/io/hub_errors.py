"""Errors of the Hugging Face hub in plain words: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dfa_tl.display import first_line
from dfa_tl.errors import HubError

TOKENS_PAGE = "https://huggingface.co/settings/tokens"
GIVE_TOKEN = "token=... or the variable HF_TOKEN, or log in with `hf auth login`"


@contextmanager
def explained(
    repo_id: str,
    action: Literal["read", "write"],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    offline: bool | None = None,
) -> Iterator[None]:
    """Turn whatever is raised inside into a `HubError`.

    Args:
        repo_id: The repository.
        action: What is done inside.
        revision: Branch, tag or commit that is asked for.
        token: The token that is given; it never appears in a message.
        offline: Whether only the cache is read (default: as the variable `HF_HUB_OFFLINE` says).
    """
    try:
        yield
    except HubError:
        raise
    # The client's own errors are of several families, and those of the network are not among them.
    except Exception as error:
        offline = bool(constants.HF_HUB_OFFLINE) if offline is None else offline
        raise HubError(_explain(error, repo_id, action, revision, token, offline)) from error


def _explain(
    error: Exception,
    repo_id: str,
    action: Literal["read", "write"],
    revision: str | None,
    token: str | bool | None,
    offline: bool,
) -> str:
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    page = f"https://huggingface.co/{repo_id}"
    has_token = isinstance(token, str) or (token is not False and get_token() is not None)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} cannot be a name on the hub: expected organisation/name"
    if isinstance(error, GatedRepoError):
        given = "the token given has no access" if has_token else "no token was given"
        return (
            f"{repo_id} is gated and {given}: accept its terms at {page}, and give a token of that "
            f"account ({GIVE_TOKEN})"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{repo_id} has no revision {revision!r}: its branches and tags are at {page}/tree/main"
        )
    # Without a token, the hub does not say whether a private repository exists.
    if isinstance(error, RepositoryNotFoundError) or (status == 401 and not has_token):
        return (
            f"the hub has no {repo_id} that this account may see: check the name at {page}; a "
            f"private repository needs a token ({GIVE_TOKEN})"
        )
    if isinstance(error, LocalTokenNotFoundError):
        return f"token=True needs a login, and there is none: give a token ({GIVE_TOKEN})"
    if status == 401:
        return (
            f"the hub refuses the token that was given for {repo_id}: make a new one at "
            f"{TOKENS_PAGE} and give it ({GIVE_TOKEN})"
        )
    if status == 403:
        right = "to write" if action == "write" else "to read gated repositories"
        return (
            f"the token given may not {action} {repo_id}: allow it {right} at {TOKENS_PAGE}, or "
            f"give another ({GIVE_TOKEN})"
        )
    if status is not None:
        reason = f"the hub answered {status} ({first_line(error)})"
    elif isinstance(error, OfflineModeIsEnabled) or (offline and action == "read"):
        reason = "offline mode is on (offline=True or the variable HF_HUB_OFFLINE)"
    else:
        reason = f"the hub cannot be reached ({first_line(error)})"
    if action == "write":
        return f"{repo_id} was not written, because {reason}: check the network and try again"
    at_revision = f" --revision {revision}" if revision else ""
    return (
        f"{repo_id} is not complete in the cache {constants.HF_HUB_CACHE}, and {reason}: run "
        f"`hf download {repo_id}{at_revision}` once where there is a network, or copy that cache "
        "here"
    )
