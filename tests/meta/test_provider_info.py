"""Provider info, against Airflow's own schemas and its own discovery."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import jsonschema
import pytest

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.client.settings import EXTRAS
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.get_provider_info import get_provider_info
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

FORM = get_provider_info()["connection-types"][0]


def schema(name: str) -> Any:
    return json.loads(files("airflow").joinpath(name).read_text())


def test_matches_the_schema_of_discovery() -> None:
    """The whole description is one that Airflow accepts."""
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_matches_the_schema_of_the_connection_form() -> None:
    """The form has no misspelt key, which the schema of discovery would let pass."""
    types = schema("provider.yaml.schema.json")["properties"]["connection-types"]
    jsonschema.validate([FORM], types)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([FORM | {"conn-fields": {"timeout": {"labels": "Timeout"}}}], types)


def test_the_form_has_the_extras_that_the_hook_reads() -> None:
    """Each extra has a field, each field is optional, and there is no other."""
    assert FORM["conn-fields"].keys() == set(EXTRAS)
    assert all("null" in field["schema"]["type"] for field in FORM["conn-fields"].values())


def test_the_form_explains_and_bounds_its_fields() -> None:
    """Each field has a label and a help text, each number its bounds, and what is long or secret its kind."""
    fields = FORM["conn-fields"]
    assert all(field["label"] and field["description"].endswith(".") for field in fields.values())
    kinds = {name: field["schema"] for name, field in fields.items()}
    assert kinds["private_key"]["format"] == "multiline"
    assert kinds["private_key_passphrase"]["format"] == "password"
    numbers = {name for name, kind in kinds.items() if {"integer", "number"} & set(kind["type"])}
    assert numbers == {"recv_window", "timeout", "max_wait", "max_concurrency"}
    assert all({"minimum", "maximum"} <= kinds[name].keys() for name in numbers)


@pytest.mark.parametrize("bound", ["minimum", "maximum"])
def test_the_form_has_the_bounds_of_the_hook(bound: str, connect: Any) -> None:
    """What the form lets pass the hook takes, and what lies beyond the form's bounds it refuses."""
    step = {"minimum": -1, "maximum": 1}[bound]
    for name, field in FORM["conn-fields"].items():
        if bound in field["schema"]:
            connect(extra={name: field["schema"][bound]})
            BinanceLoanHook().get_conn().close()
            connect(extra={name: field["schema"][bound] + step})
            with pytest.raises(ConfigurationError, match=f"^Give {name} as "):
                BinanceLoanHook().get_conn()


def test_the_port_stays_in_the_form() -> None:
    """Airflow tests a stored connection without a port as one with port 0, and refuses."""
    behaviour = FORM["ui-field-behaviour"]
    assert behaviour["hidden-fields"] == ["schema"]
    assert behaviour["placeholders"]["port"].startswith("443")


def test_agrees_with_the_hook() -> None:
    """Airflow makes the hook from what provider info says of it."""
    assert FORM["connection-type"] == BinanceLoanHook.conn_type
    assert FORM["hook-name"] == BinanceLoanHook.hook_name
    assert FORM["hook-class-name"] == f"{BinanceLoanHook.__module__}.{BinanceLoanHook.__qualname__}"
    hook = BinanceLoanHook(**{BinanceLoanHook.conn_name_attr: "other"})  # type: ignore[arg-type]
    assert hook.binance_loan_conn_id == "other"


def test_names_modules_that_exist() -> None:
    """Every module that is listed can be found."""
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in get_provider_info().get(kind, []):
            assert all(find_spec(module) for module in entry["python-modules"])


def test_names_the_links_of_the_operator() -> None:
    """Every link that is listed is one that the operator has, and there is no other."""
    links = {type(link) for link in BinanceLoanForceLiquidationOperator.operator_extra_links}
    assert set(get_provider_info()["extra-links"]) == {
        f"{one.__module__}.{one.__qualname__}" for one in links
    }


def test_airflow_discovers_it() -> None:
    """Airflow's providers manager finds the package through its entry point, with its version and hook."""
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    (entry,) = (entry for entry in entry_points(group="apache_airflow_provider") if "binance" in entry.value)
    assert entry.load()() == get_provider_info()
    assert ProvidersManager().providers["airflow-provider-binance-loan"].version == __version__
    hook = ProvidersManagerTaskRuntime().hooks["binance_loan"]
    assert hook is not None
    assert hook.hook_name == "Binance Institutional Loan"
