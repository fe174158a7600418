"""Records as objects with declared fields: smaller than dicts, and unseen by the garbage collector.

A record is one of these where its answer was exactly as documented, and a dict otherwise. Both are read by
name, `record["groupId"]`, so that they may stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.fields import Record


# Its fields hold texts, numbers, and other typed records or lists of them: nothing that could refer back to
# it. So it needs no garbage collector, which would else look at each of them again and again.
class TypedRecord(msgspec.Struct, gc=False):
    """The base of the types of records, and of the objects in them."""

    def __getitem__(self, name: str) -> Any:
        """Return a field."""
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or the default for one that is not declared."""
        return getattr(self, name, default)


#: A record of either kind.
AnyRecord = Mapping[str, Any] | TypedRecord


def plain(record: AnyRecord) -> Record:
    """Return a record as a dict, and all that is nested in it; the record itself if it is one."""
    plain_record: Record = record if isinstance(record, dict) else msgspec.to_builtins(record)
    return plain_record


def shallow(record: AnyRecord) -> Record:
    """Return the fields of a record as a new dict; what is nested in it stays as it is."""
    return msgspec.structs.asdict(record) if isinstance(record, TypedRecord) else dict(record)


def are_typed(records: Sequence[AnyRecord]) -> bool:
    """Return whether none of some records is a dict."""
    return all(isinstance(record, TypedRecord) for record in records)


def column_of(typed_records: Sequence[AnyRecord], name: str) -> list[Any]:
    """Return the values of a field; it takes half the time of reading them by name."""
    return list(map(attrgetter(name), typed_records))


def with_fields_in_front(record: TypedRecord, fields: Mapping[str, Any]) -> TypedRecord:
    """Return a record of another type, with further fields before its own."""
    wider = _wider_type(type(record), tuple(fields))
    return wider(*fields.values(), *msgspec.structs.astuple(record))


@cache
def _wider_type(record_type: type[TypedRecord], names: tuple[str, ...]) -> type[TypedRecord]:
    all_names = (*names, *record_type.__struct_fields__)
    return build_record_type(record_type.__name__, [(name, Any) for name in all_names])


def build_record_type(name: str, fields: Sequence[tuple[str, Any]]) -> type[TypedRecord]:
    """Return a type of records that is decoded from JSON with exactly these fields, each with its type."""
    record_type = msgspec.defstruct(name, fields, bases=(TypedRecord,), gc=False, forbid_unknown_fields=True)
    return cast("type[TypedRecord]", record_type)
