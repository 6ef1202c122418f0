"""Results on the Hugging Face hub: `push_to_hub` and `from_hub` of everything that can be saved.

A repository holds what `save` writes, and a README.md that says what it is and how to load it. What
is fetched is a list of file names known beforehand, of one commit, after a look at their sizes;
`load` then checks every file as it checks a local one. Nothing is unpickled.

Needs the network, but for `from_hub` of what was fetched before. Logging in is huggingface_hub's:
`hf auth login`, the variable HF_TOKEN, or `token=`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import HubError
from dfa_tl.io.atomic import write_file
from dfa_tl.io.strict_json import json_bytes

CARD = "README.md"
Saved = TypeVar("Saved", bound="OnHub")


class OnHub(ABC):
    """What can be saved, and so be put on the hub.

    Attributes:
        hub_file: Name in a repository of the file that `save` writes; empty where it writes a
            folder.
        hub_patterns: The files that `load` may read.
        hub_limit: Most bytes of them together.
    """

    hub_file: ClassVar[str]
    hub_patterns: ClassVar[tuple[str, ...]]
    hub_limit: ClassVar[int]

    @abstractmethod
    def save(self, path: str | Path, /) -> None:
        """Write it to a file or folder."""

    @classmethod
    @abstractmethod
    def load(cls: type[Saved], path: str | Path, /) -> Saved:
        """Read what `save` wrote."""

    @abstractmethod
    def _card_text(self) -> tuple[str, Mapping[str, Any]]:
        """A sentence that says what this is, and facts for the README."""

    @checked_arguments
    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Save it to a repository of the hub, in one commit.

        The repository is made if it is not there, and gets a README.md if it has none.

        Args:
            repo_id: `user/name`.
            private: Whether a new repository is private; None for the account's default.
            token: The account's token; None for the one that is logged in.
            revision: Branch to commit to, made if it is not there; the main one by default.

        Returns:
            Address of the commit.

        Raises:
            HubError: no network, no such account, no right to write.
            FileWriteError: it cannot be saved to a temporary folder first.
        """
        with TemporaryDirectory() as folder:
            self.save(Path(folder) / self.hub_file)
            with _explained(repo_id, revision, "written"):
                api = HfApi(token=token)
                api.create_repo(repo_id, private=private, exist_ok=True)
                if revision is not None:
                    api.create_branch(repo_id, branch=revision, exist_ok=True)
                if not api.file_exists(repo_id, CARD, revision=revision):
                    write_file(Path(folder) / CARD, self._card(repo_id).encode())
                commit = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    revision=revision,
                    commit_message=f"{type(self).__name__} of dfa_tl",
                )
        return str(commit.commit_url)

    @classmethod
    @checked_arguments
    def from_hub(
        cls: type[Saved], repo_id: str, *, revision: str | None = None, token: str | None = None
    ) -> Saved:
        """Load it from a repository of the hub, or from the cache when there is no network.

        Args:
            repo_id: `user/name`.
            revision: Branch, tag or commit; a commit's hash makes the result reproducible.
            token: A token that may read the repository; None for the one that is logged in.

        Raises:
            HubError: no such repository, file or revision; no access to it; files larger than such
                files are; no network and nothing in the cache.
            FileFormatError: a file that does not hold what it should.
        """
        with _explained(repo_id, revision, "read"):
            commit = _listed_commit(cls, repo_id, revision, token)
            folder = snapshot_download(
                repo_id,
                revision=commit or revision,
                token=token,
                allow_patterns=list(cls.hub_patterns),
                local_files_only=commit is None,
            )
        path = Path(folder) / cls.hub_file
        if not path.exists():
            raise HubError(_lacks(cls, repo_id))
        return cls.load(path)

    def _card(self, repo_id: str) -> str:
        name = type(self).__name__
        sentence, facts = self._card_text()
        shown = json_bytes(facts, f"where the {name} came from", indent=1, sort_keys=False).decode()
        return (
            f"---\nlibrary_name: dfa_tl\ntags:\n- dfa_tl\n- mechanistic-interpretability\n---\n\n"
            f"# {name}\n\n{sentence}\n\n"
            f"Made by `dfa_tl` (Differentiable Faithfulness Alignment, arXiv 2604.24302).\n\n"
            f"```python\nfrom dfa_tl import {name}\n\n"
            f'{name}.from_hub("{repo_id}")\n```\n\n'
            f"Where it came from:\n\n```json\n{shown}\n```\n"
        )


def _lacks(cls: type[OnHub], repo_id: str) -> str:
    return (
        f"{repo_id} holds no {cls.__name__}: there is no {cls.hub_patterns[0]} in it. Check the "
        "name and the revision, or load it with the class that was pushed"
    )


def _listed_commit(
    cls: type[OnHub], repo_id: str, revision: str | None, token: str | None
) -> str | None:
    """The commit to fetch, its files looked at; None when the hub cannot be reached."""
    try:
        info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True)
    except (HfHubHTTPError, HFValidationError):
        raise
    except Exception:  # no answer: an error of whichever HTTP library huggingface_hub uses
        return None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    wanted = [name for name in sizes if any(fnmatch(name, each) for each in cls.hub_patterns)]
    if cls.hub_patterns[0] not in wanted:
        raise HubError(_lacks(cls, repo_id))
    total = sum(sizes[name] for name in wanted)
    if total > cls.hub_limit:
        raise HubError(
            f"{repo_id} would take {total:,} bytes, {cls.hub_limit:,} at most are fetched for a "
            f"{cls.__name__}: it is not one, and nothing was fetched"
        )
    return info.sha


@contextmanager
def _explained(repo_id: str, revision: str | None, done: str) -> Iterator[None]:
    """Say in our words why the hub did not do it."""
    log_in = "log in (`hf auth login`) or give token="
    try:
        yield
    except HubError:
        raise
    except HFValidationError as error:
        raise HubError(f"{repo_id!r} cannot be a repository: expected 'user/name'") from error
    except GatedRepoError as error:
        raise HubError(f"{repo_id} is gated: ask for access on its page, then {log_in}") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"no repository {repo_id} that this account may see: check the name; if it is private, "
            f"{log_in}"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{repo_id} has no revision {revision!r}: give a branch, tag or commit"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise HubError(
            f"the hub cannot be reached, so {repo_id} was not {done}, and the cache has nothing of "
            "it that would do. Check the network, and that HF_HUB_OFFLINE is not set"
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise HubError(
            f"the hub answered {status}, so {repo_id} was not {done}: check that the account may "
            f"do that ({log_in}), or try again later"
        ) from error
    except Exception as error:  # an error of whichever HTTP library huggingface_hub uses
        raise HubError(
            f"{repo_id} was not {done} ({type(error).__name__}): check the network and try again"
        ) from error
