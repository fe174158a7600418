"""The packages that the extra `sandbox` installs, and the advice for when one is missing.

Imports none of them, so that the command can give the advice.
"""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = ("fastapi", "moto", "rich", "uvicorn")
INSTALL_COMMAND = "pip install 'airflow-provider-binance-loan[sandbox]'"


def missing_packages() -> list[str]:
    """Return the packages of the extra that are not installed."""
    return [name for name in PACKAGES if not _is_installed(name)]


def install_advice(*missing: str) -> str:
    """Return a sentence that says how to install the extra, and which packages are missing."""
    return f"Install the extra 'sandbox' with {INSTALL_COMMAND}: {', '.join(missing)} cannot be imported."


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # an import hook may forbid the package
        return False
