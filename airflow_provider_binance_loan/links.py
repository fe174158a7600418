"""The links that Airflow shows on the page of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class S3ObjectLink(BaseOperatorLink):
    """Lead to the object in the AWS console. Airflow keeps the address in XCom when the task has ended."""

    name = "S3 object"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address, empty when the task landed nothing."""
        return getattr(operator, "s3_object_url", "")
