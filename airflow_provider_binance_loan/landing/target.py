"""The interface of a destination: an object store that a sink writes to."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Destination(Protocol):
    """A bucket of an object store, and how to write to it. A key names an object in it."""

    def check(self, keys: Collection[str]) -> None:
        """Return if objects with these keys can be written, as far as can be known before an upload.

        :raises ConfigurationError: a key is not valid, or there is no such bucket.
        :raises TransientError: the object store cannot answer at present.
        """

    def exists(self, key: str) -> bool:
        """Return whether an object exists.

        :raises ConfigurationError: the credentials do not allow to find out.
        """

    def upload(self, file: IO[bytes], key: str, metadata: Mapping[str, str], *, replace: bool = True) -> None:
        """Write a whole object, from the file's start; it is visible only once it is complete.

        :raises FileExistsError: an object exists, and `replace` is not set.
        :raises ConfigurationError: the object store refuses it.
        """

    def remove(self, key: str, metadata: Mapping[str, str]) -> None:
        """Remove an object, unless its metadata shows that another upload wrote it."""

    def uri(self, key: str) -> str:
        """Return the address of an object, as other tools read it."""

    def console_url(self, key: str) -> str:
        """Return the page of an object in the object store's console, or an empty text without one."""
