"""A destination in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import IO


class MemoryDestination:
    """Objects in a dict: a destination that is not S3.

    :param failing: the end of the keys whose upload fails.
    :param secretive: whether it is not allowed to find out what exists.
    """

    def __init__(self, *, failing: str | None = None, secretive: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.metadata: dict[str, Mapping[str, str]] = {}
        self.checked: list[str] = []
        self.uploads: list[str] = []
        self._failing = failing
        self._secretive = secretive

    def check(self, keys: Collection[str]) -> None:
        self.checked += keys

    def exists(self, key: str) -> bool:
        if self._secretive:
            raise PermissionError(key)
        return key in self.objects

    def upload(self, file: IO[bytes], key: str, metadata: Mapping[str, str], *, replace: bool = True) -> None:
        if self._failing and key.endswith(self._failing):
            raise ConnectionError(key)
        if not replace and key in self.objects:
            raise FileExistsError(key)
        self.uploads.append(key)
        self.objects[key] = file.read()
        self.metadata[key] = metadata

    def remove(self, key: str, metadata: Mapping[str, str]) -> None:
        if self.metadata.get(key) == metadata:
            del self.objects[key]

    def uri(self, key: str) -> str:
        return f"memory://lake/{key}"

    def console_url(self, key: str) -> str:
        return f"https://console.example/{key}"
