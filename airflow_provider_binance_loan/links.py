"""The links that Airflow shows on the page of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class S3ObjectLink(BaseOperatorLink):
    """Link to the object in the AWS console. Airflow keeps its address in XCom once the task has ended."""

    name = "S3 object"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address of the object; empty if the task wrote none."""
        return getattr(operator, "s3_object_url", "")
