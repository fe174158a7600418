"""Every dataset that is landed, found in the folder of the declarations."""

from __future__ import annotations

from importlib import import_module

from airflow_provider_binance_loan.binance.declaration import Dataset
from tests.support.package import FOLDER, PACKAGE

_MODULES = [
    import_module(f"{PACKAGE}.binance.datasets.{file.stem}")
    for file in sorted((FOLDER / "binance" / "datasets").glob("[!_]*.py"))
]
#: The declarations by name.
DATASETS = {
    value.name: value for module in _MODULES for value in vars(module).values() if isinstance(value, Dataset)
}
