"""The hook of the amazon provider, for those who write to S3 and for those who read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.landing.s3_arguments import require_verify

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook


def open_s3_hook(aws_conn_id: str | None, verify: bool | str | None) -> S3Hook:
    """Return the hook of a connection; it has made no client yet.

    :param aws_conn_id: the connection.
    :param verify: certificate checks: True, False, or the path of a CA bundle.
    :raises ConfigurationError: `verify` is wrong.
    :raises AirflowOptionalProviderFeatureException: the amazon provider is not installed.
    """
    require_verify(verify)
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError:
        raise AirflowOptionalProviderFeatureException(
            "pip install 'airflow-provider-binance-loan[s3]': landing in S3 needs the amazon provider"
        ) from None
    return S3Hook(
        aws_conn_id=aws_conn_id,
        verify=verify,
        # This keeps one part of an object in memory at a time. A connection's own setting overrides it.
        transfer_config_args={"use_threads": False},
    )
