"""Airflow's connections, as the settings of a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_binance_loan.client.settings import CONN_TYPE, conn_id_to_show, parse_connection
from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError

if TYPE_CHECKING:
    from airflow.sdk import BaseHook

    from airflow_provider_binance_loan.client.settings import Settings


def get_settings(hook: BaseHook, conn_id: str) -> Settings:
    """Return the settings of a connection.

    :raises ConfigurationError: a field of the connection is wrong.
    :raises TransientError: it was not found, or the secrets backend did not answer.
    """
    try:
        return parse_connection(hook.get_connection(conn_id))
    except AirflowNotFoundException:
        # Airflow raises this also when a secrets backend or the API server fails, which may pass.
        shown_id = conn_id_to_show(conn_id)
        raise TransientError(
            f"Add the {CONN_TYPE} connection {shown_id!r}: it was not found, or the secrets backend did not "
            "answer.",
            conn_id=shown_id,
        ) from None


async def aget_settings(hook: BaseHook, conn_id: str) -> Settings:
    """Return what :func:`get_settings` returns, without blocking the event loop."""
    try:
        connection = await hook.aget_connection(conn_id)
    except AirflowNotFoundException:
        # `dag.test()` finds a connection in the database in the synchronous way only.
        return await asyncio.to_thread(get_settings, hook, conn_id)
    # In a thread, since masking a secret and reading a key file block.
    parsing = asyncio.to_thread(parse_connection, connection)
    del connection
    try:
        return await parsing
    except ConfigurationError as error:
        problem = error.with_traceback(None)  # its frames hold the connection
    raise problem
