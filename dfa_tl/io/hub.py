"""Results on the Hugging Face hub: `push_to_hub` and `from_hub` of everything that can be saved.

A repository holds what `save` writes, and a README.md that says what it is and how to load it.
`from_hub` fetches files whose names are known beforehand, from one commit, after checking their
sizes; `load` then checks every file as it checks a local one. Nothing is unpickled.

This needs the network, except for `from_hub` of files in the cache. Log in as for huggingface_hub:
`hf auth login`, the variable HF_TOKEN, or `token=`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import HubError
from dfa_tl.io.atomic import write_file
from dfa_tl.io.hub_errors import explained
from dfa_tl.io.strict_json import json_bytes

CARD = "README.md"
Saved = TypeVar("Saved", bound="OnHub")


class OnHub(ABC):
    """A result that can be saved, and so pushed to the hub.

    Attributes:
        hub_file: Name of the file that `save` writes; empty where it writes a folder.
        hub_patterns: The files that `load` may read, the required one first.
        hub_limit: The most bytes that they may have together.
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
        """A sentence that says what the object is, and facts for the README."""

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

        The repository is created if it does not exist, and gets a README.md if it has none.

        Args:
            repo_id: `user/name`.
            private: Whether a new repository is private; None for the account's default.
            token: The account's token; None for the one that is logged in.
            revision: Branch to commit to, created if needed; the main branch by default.

        Returns:
            Address of the commit.

        Raises:
            HubError: there is no network, no such account, or no right to write.
            FileWriteError: the temporary folder cannot be written.
        """
        with TemporaryDirectory() as folder:
            self.save(Path(folder) / self.hub_file)
            with explained(repo_id, "write", revision=revision, token=token):
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
            HubError: the repository, file or revision does not exist, or this account has no
                access; the files are too large; or there is no network, and no copy in the cache.
            FileFormatError: a file does not hold what it should.
        """
        with explained(repo_id, "read", revision=revision, token=token):
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
            raise HubError(_not_found_text(cls, repo_id))
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


def _not_found_text(cls: type[OnHub], repo_id: str) -> str:
    return (
        f"{repo_id} holds no {cls.__name__}: {cls.hub_patterns[0]} is missing. Check the "
        "name and the revision, or load it with the class that it was saved from"
    )


def _listed_commit(
    cls: type[OnHub], repo_id: str, revision: str | None, token: str | None
) -> str | None:
    """The commit to fetch, after its files are checked; None when the hub cannot be reached."""
    try:
        info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True)
    except (HfHubHTTPError, HFValidationError):
        raise
    except Exception:  # no answer: an error of whichever HTTP library huggingface_hub uses
        return None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    wanted = [name for name in sizes if any(fnmatch(name, each) for each in cls.hub_patterns)]
    if cls.hub_patterns[0] not in wanted:
        raise HubError(_not_found_text(cls, repo_id))
    total = sum(sizes[name] for name in wanted)
    if total > cls.hub_limit:
        raise HubError(
            f"{repo_id} has {total:,} bytes, and a {cls.__name__} has at most {cls.hub_limit:,}: "
            "it is not one, and nothing was fetched"
        )
    return info.sha
