"""`Registry`: records by name, such as the attribution methods. A name is given once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from dfa_tl.errors import ConfigError


@runtime_checkable
class Named(Protocol):
    """A record with a name."""

    @property
    def name(self) -> str:
        """The name to find it by."""
        ...


Record = TypeVar("Record", bound=Named)


class Registry(Mapping[str, Record], Generic[Record]):
    """Records by name, in the order in which they were registered.

    Args:
        kind: What a record is, for messages: `attribution method`.
        records: The records to start with.
    """

    def __init__(self, kind: str, records: Iterable[Record] = ()) -> None:
        self.kind = kind
        self._records: dict[str, Record] = {}
        for record in records:
            self.register(record)

    def register(self, record: Record) -> Record:
        """Add a record and return it.

        Raises:
            ConfigError: the name is taken, or holds more than letters, digits and `_ - . +`.
        """
        name: Any = record.name
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
            raise ConfigError(
                f"{name!r} cannot name a {self.kind}: use letters, digits, and any of _ - . +"
            )
        if name in self._records:
            raise ConfigError(
                f"there is already a {self.kind} {name!r}: choose another name, or call "
                f"remove({name!r}) first"
            )
        self._records[name] = record
        return record

    def remove(self, name: str) -> None:
        """Remove a record, for instance to register it again after a change."""
        del self._records[self.find(name).name]

    def find(self, name: str) -> Record:
        """The record with a name. For an unknown name the `ConfigError` lists the known ones."""
        if name not in self._records:
            raise ConfigError(f"unknown {self.kind} {name!r}: choose one of {', '.join(self)}")
        return self._records[name]

    def __getitem__(self, name: str) -> Record:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self)})"
