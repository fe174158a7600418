"""The body of an answer, decompressed by one bounded decompressor, so that both clients read it alike."""

from __future__ import annotations

import zlib
from typing import Any

from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.validation import shown_from_answer

#: What `Accept-Encoding` says.
ACCEPTED_CODINGS = "gzip, deflate"
# A page of a hundred records has some hundred thousand bytes.
_MAX_BODY_BYTES = 32 * 2**20
_GZIP, _ZLIB, _RAW_DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Body:
    """The bytes of an answer, bounded in number.

    :param path: the path of the request, for error messages.
    :param status: the HTTP status. With any but 200, a body that cannot be read counts as an empty one: the
        status says what to do.
    :param coding: the header `Content-Encoding`, or None.
    """

    def __init__(self, path: str, status: int, coding: str | None) -> None:
        self._path = path
        self._status = status
        self._bytes = bytearray()
        self._received = 0
        self._is_readable = True
        self._wbits: int | None = None
        self._decompressor: Any = None
        codings = [name.strip().lower() for name in (coding or "").split(",")]
        codings = [name for name in codings if name not in {"", "identity"}]
        if codings in (["gzip"], ["x-gzip"]):
            self._wbits = _GZIP
        elif codings == ["deflate"]:
            self._wbits = _ZLIB
        elif codings:
            self._flaw(f"has the Content-Encoding {shown_from_answer(coding)}, which was not asked for")

    def add(self, chunk: bytes) -> bool:
        """Add bytes as they were received, and return whether more of them are of use.

        :raises BadResponseError: the body is longer than any page, or cannot be decompressed.
        """
        self._received += len(chunk)
        if self._received > _MAX_BODY_BYTES:
            self._too_long()
        if not self._is_readable:
            return False
        if self._wbits is None:
            self._bytes += chunk
        else:
            try:
                self._decompress(chunk, self._wbits)
            except zlib.error:
                self._flaw("cannot be decompressed", may_pass=True)
        return self._is_readable

    def _decompress(self, chunk: bytes, wbits: int) -> None:
        while chunk:
            if self._decompressor is None:
                # Some servers send deflate without zlib's header, whose first half byte is 8.
                is_raw = wbits == _ZLIB and chunk[0] & 0x0F != 8
                self._decompressor = zlib.decompressobj(_RAW_DEFLATE if is_raw else wbits)
            room = _MAX_BODY_BYTES - len(self._bytes) + 1
            self._bytes += self._decompressor.decompress(chunk, room)
            if len(self._bytes) > _MAX_BODY_BYTES:
                self._too_long()
                return
            chunk = self._decompressor.unused_data
            if not self._decompressor.eof:
                return
            if wbits == _GZIP:
                self._decompressor = None  # another member may follow
            elif chunk:
                raise zlib.error

    def content(self) -> bytes:
        """Return the whole body, once all of it was added.

        :raises BadResponseError: the compressed body is cut off.
        """
        if self._decompressor is not None and not self._decompressor.eof:
            self._flaw("is compressed, and cut off", may_pass=True)
        return bytes(self._bytes) if self._is_readable else b""

    def _too_long(self) -> None:
        self._flaw(f"has more than {_MAX_BODY_BYTES // 2**20} MiB, which no page has")

    def _flaw(self, flaw: str, *, may_pass: bool = False) -> None:
        self._is_readable = False
        if self._status == 200:
            raise BadResponseError(
                f"Check the proxies and firewalls on the way to Binance: the answer {flaw}.",
                status=self._status,
                path=self._path,
                may_pass=may_pass,
            )
