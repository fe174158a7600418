"""Uploads to S3 that must not replace an object, and the removal of objects that are still ours."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.s3 import S3Destination
from airflow_provider_binance_loan.landing.sink import Sink
from airflow_provider_binance_loan.landing.tables import flat_tables
from tests.support.records import WINDOW, record, records
from tests.support.s3_answers import Refusal, ScriptedDestination

KEY = "a/b.jsonl"
CONFLICT = Refusal(409, "ConditionalRequestConflict")
UNKNOWN = Refusal(501, "NotImplemented", "A header you provided implies functionality that is absent.")
UNSUPPORTED = Refusal(400, "InvalidArgument", "Unsupported header 'if-none-match' received.")
TABLES = [table.name for table in flat_tables(FORCE_LIQUIDATIONS)]
SIZES = pytest.mark.parametrize("size", [1, 12 * 2**20], ids=["one request", "parts"])


def body(s3: Any, key: str = KEY) -> bytes:
    found: bytes = s3.get_object(Bucket="lake", Key=key)["Body"].read()
    return found


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="lake").get("Contents", [])]


def parts_left(s3: Any) -> list[Any]:
    found: list[Any] = s3.list_multipart_uploads(Bucket="lake").get("Uploads", [])
    return found


@SIZES
def test_writes_where_there_is_nothing(s3: Any, size: int) -> None:
    """Without replacing, the final write of an upload of any size has the condition, and succeeds."""
    lake = ScriptedDestination()
    lake.upload(io.BytesIO(b"x" * size), KEY, {"a": "1"}, replace=False)
    assert (body(s3), lake.conditions) == (b"x" * size, ["*"])
    assert s3.head_object(Bucket="lake", Key=KEY)["Metadata"] == {"a": "1"}


@SIZES
def test_replaces_without_a_condition(s3: Any, size: int) -> None:
    """With replacing, an object is written in place of another, without the condition."""
    s3.put_object(Bucket="lake", Key=KEY, Body=b"old")
    lake = ScriptedDestination()
    lake.upload(io.BytesIO(b"x" * size), KEY, {})
    assert (body(s3), lake.conditions) == (b"x" * size, [None])


@SIZES
def test_does_not_replace(s3: Any, size: int) -> None:
    """Without replacing, an object that is there stays as it is, and no parts are left."""
    s3.put_object(Bucket="lake", Key=KEY, Body=b"theirs")
    with pytest.raises(FileExistsError):
        S3Destination("lake").upload(io.BytesIO(b"x" * size), KEY, {}, replace=False)
    assert (body(s3), parts_left(s3)) == (b"theirs", [])


@SIZES
def test_tries_again_after_a_conflict(s3: Any, size: int) -> None:
    """After an answer of 409, which another write at the same time causes, the whole upload is repeated."""
    lake = ScriptedDestination([CONFLICT, CONFLICT])
    lake.upload(io.BytesIO(b"x" * size), KEY, {}, replace=False)
    assert (body(s3), lake.conditions) == (b"x" * size, ["*"] * 3)


def test_leaves_a_conflict_that_lasts_to_airflow(s3: Any) -> None:
    """A conflict that lasts is raised as it is, so that Airflow retries the task."""
    with pytest.raises(ClientError, match="ConditionalRequestConflict"):
        ScriptedDestination([CONFLICT] * 3).upload(io.BytesIO(b"x"), KEY, {}, replace=False)
    assert keys(s3) == []


def test_tries_again_after_a_conflict_only(s3: Any) -> None:
    """Another refusal of an upload that must not replace is final at once."""
    lake = ScriptedDestination([Refusal(403, "AccessDenied")])
    with pytest.raises(ConfigurationError, match="Allow s3:PutObject"):
        lake.upload(io.BytesIO(b"x"), KEY, {}, replace=False)
    assert (lake.conditions, keys(s3)) == (["*"], [])


@SIZES
@pytest.mark.parametrize("answer", [UNKNOWN, UNSUPPORTED], ids=["501", "400"])
def test_writes_without_the_condition_where_it_is_unknown(s3: Any, answer: Refusal, size: int) -> None:
    """A store that does not know the condition is checked once more, and then written to without it."""
    lake = ScriptedDestination([answer])
    lake.upload(io.BytesIO(b"x" * size), KEY, {}, replace=False)
    assert (body(s3), lake.conditions) == (b"x" * size, ["*", None])


def test_checks_again_where_the_condition_is_unknown(s3: Any) -> None:
    """An object that is there by then is not replaced either."""
    s3.put_object(Bucket="lake", Key=KEY, Body=b"theirs")
    with pytest.raises(FileExistsError):
        ScriptedDestination([UNKNOWN]).upload(io.BytesIO(b"x"), KEY, {}, replace=False)
    assert body(s3) == b"theirs"


def test_recognizes_its_own_object(s3: Any) -> None:
    """When the answer to a write is lost, and boto3 writes again, the object that is there is its own."""

    def write_and_lose_the_answer() -> Refusal:
        s3.put_object(Bucket="lake", Key=KEY, Body=b"x", Metadata={"upload-id": "1"})
        return Refusal(503, "ServiceUnavailable")

    lake = ScriptedDestination([write_and_lose_the_answer])
    lake.upload(io.BytesIO(b"x"), KEY, {"upload-id": "1"}, replace=False)
    assert (body(s3), lake.conditions) == (b"x", ["*", "*"])
    lake = ScriptedDestination([write_and_lose_the_answer])
    with pytest.raises(FileExistsError):
        lake.upload(io.BytesIO(b"x"), KEY, {"upload-id": "2"}, replace=False)


def test_removes_an_object_only_while_it_is_its_own(s3: Any) -> None:
    """An object with other metadata, or none, stays, even with the same bytes; a missing one is no error."""
    lake = S3Destination("lake")
    lake.upload(io.BytesIO(b"x"), KEY, {"upload-id": "1", "records": "1"})
    lake.remove(KEY, {"upload-id": "2", "records": "1"})
    assert keys(s3) == [KEY]
    lake.remove(KEY, {"upload-id": "1", "records": "1"})
    lake.remove(KEY, {"upload-id": "1", "records": "1"})
    assert keys(s3) == []


@pytest.mark.parametrize("answers", [[], [UNKNOWN]], ids=["known", "unknown"])
def test_removes_an_object_on_condition(s3: Any, answers: list[Any]) -> None:
    """The removal has the condition that the bytes are still the same, unless the store does not know it."""
    lake = ScriptedDestination([None, *answers])
    lake.upload(io.BytesIO(b"x"), KEY, {"upload-id": "1"})
    etag = s3.head_object(Bucket="lake", Key=KEY)["ETag"]
    lake.remove(KEY, {"upload-id": "1"})
    assert (keys(s3), lake.conditions) == ([], [None, etag, *([None] if answers else [])])


class BlindDestination(S3Destination):
    """A bucket where another writes right after each check for an object."""

    def exists(self, key: str) -> bool:
        return False


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
def test_keeps_what_appears_between_the_check_and_the_write(s3: Any, *, flatten: bool) -> None:
    """The object of another run is kept, the error says so, and of flat tables none of ours is left."""
    theirs = "a/liquidations/b.jsonl" if flatten else KEY
    s3.put_object(Bucket="lake", Key=theirs, Body=b"theirs")
    sink = Sink(FORCE_LIQUIDATIONS, BlindDestination("lake"), KEY, flatten=flatten, replace=False)
    with pytest.raises(ConfigurationError, match=f"replace=True: s3://lake/{theirs} is there already"):
        sink.land(records(), WINDOW.bounds)
    assert (keys(s3), body(s3, theirs)) == ([theirs], b"theirs")


class FailingDestination(S3Destination):
    """A bucket to which the upload of the records fails, after something else has happened."""

    def __init__(self, before: Any) -> None:
        super().__init__("lake")
        self._before = before

    def upload(self, file: Any, key: str, metadata: Any, *, replace: bool = True) -> None:
        if "liquidations" in key:
            self._before()
            raise RuntimeError("on the way")
        super().upload(file, key, metadata, replace=replace)


@pytest.mark.parametrize("some", [[record()], [*records()]], ids=["same bytes", "other bytes"])
def test_keeps_the_objects_of_a_run_that_succeeded(s3: Any, some: list[Any]) -> None:
    """A run that fails does not remove what another run wrote in the meantime, not even the same bytes."""

    def other_run() -> None:
        Sink(FORCE_LIQUIDATIONS, S3Destination("lake"), "b.jsonl", flatten=True).land(some, WINDOW.bounds)

    sink = Sink(FORCE_LIQUIDATIONS, FailingDestination(other_run), "b.jsonl", flatten=True)
    with pytest.raises(RuntimeError, match="on the way"):
        sink.land([record()], WINDOW.bounds)
    assert keys(s3) == sorted(f"{table}/b.jsonl" for table in TABLES)


def test_keeps_an_old_object_that_a_check_missed(s3: Any) -> None:
    """An object that was there before, although S3 denied it once, stays when its upload fails."""

    class Forgetful(FailingDestination):
        def exists(self, key: str) -> bool:
            return False

    s3.put_object(Bucket="lake", Key="liquidations/b.jsonl", Body=b"old")
    with pytest.raises(RuntimeError, match="on the way"):
        Sink(FORCE_LIQUIDATIONS, Forgetful(lambda: None), "b.jsonl", flatten=True).land(
            [record()], WINDOW.bounds
        )
    assert keys(s3) == ["liquidations/b.jsonl"]
