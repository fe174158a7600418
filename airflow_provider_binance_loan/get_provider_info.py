"""The description of this provider that Airflow reads at discovery. Pure data: imports only the version."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_loan import __version__

_PACKAGE = "airflow_provider_binance_loan"
_INTEGRATION = "Binance Institutional Loan"
_EXTERNAL_DOC = (
    "https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade"
)


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description in the form of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": "airflow-provider-binance-loan",
        "name": _INTEGRATION,
        "description": "Force-liquidation records and loan-to-value ratios of Binance institutional loans.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": _EXTERNAL_DOC,
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.hooks"]}],
        "operators": [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.operators"]}],
        "sensors": [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.sensors"]}],
        "triggers": [{"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.triggers"]}],
        # OpenLineage drops an asset whose scheme has no converter. Airflow skips an entry without a handler.
        "asset-uris": [
            {
                "schemes": ["binance"],
                "handler": None,
                "to_openlineage_converter": f"{_PACKAGE}.lineage.convert_asset_to_openlineage",
            }
        ],
        "extra-links": [f"{_PACKAGE}.links.S3ObjectLink"],
        "connection-types": [
            {
                "connection-type": "binance_loan",
                "hook-class-name": f"{_PACKAGE}.hooks.BinanceLoanHook",
                "hook-name": _INTEGRATION,
                "ui-field-behaviour": {
                    # The port is shown: for a stored connection without one the test button sends 0, and
                    # Airflow refuses to send stored secrets to another port than theirs.
                    "hidden-fields": ["schema"],
                    "relabeling": {"login": "API key", "password": "HMAC secret", "host": "Base URL"},
                    "placeholders": {
                        "host": "https://api.binance.com",
                        "port": "443, which the test button needs",
                        "login": "the API key of the credit account, or for LTVs of the parent",
                        "password": "empty when a private key signs",
                    },
                },
                "conn-fields": {
                    "private_key": {
                        "label": "Private key",
                        "description": "PEM of an Ed25519 or RSA key, instead of the HMAC secret.",
                        "schema": {"type": ["string", "null"], "format": "multiline"},
                    },
                    "private_key_passphrase": {
                        "label": "Private key passphrase",
                        "description": "Only for an encrypted private key.",
                        "schema": {"type": ["string", "null"], "format": "password"},
                    },
                    "private_key_file": {
                        "label": "Private key file",
                        "description": "Path of the PEM on every worker and triggerer, instead of its text.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "recv_window": {
                        "label": "recvWindow (ms)",
                        "description": "How old a request may be at Binance, up to 59999; 5000 when empty.",
                        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 59999},
                    },
                    "timeout": {
                        "label": "Timeout (s)",
                        "description": "How long to wait for an answer, up to 600; 15 when empty.",
                        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
                    },
                    "max_wait": {
                        "label": "Longest wait for a rate limit (s)",
                        "description": "How long Binance may ask to wait, up to 3600; 60 when empty.",
                        "schema": {"type": ["number", "null"], "minimum": 0, "maximum": 3600},
                    },
                    "max_concurrency": {
                        "label": "Concurrent requests",
                        "description": "Of one pull of many pages, from 1 to 64; 16 when empty.",
                        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 64},
                    },
                    "proxies": {
                        "label": "Proxy",
                        "description": "URL, such as http://proxy:3128; the environment's when empty.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "verify": {
                        "label": "Verify certificates",
                        "description": "true, false, or the path of a CA bundle; true when empty.",
                        "schema": {"type": ["string", "null"]},
                    },
                },
            }
        ],
    }
