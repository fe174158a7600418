"""The docstrings are the reference: all that a user may name is documented, and nothing else is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, is_typeddict

import pytest

import airflow_provider_binance_loan

PACKAGE = airflow_provider_binance_loan.__name__
# What people import into DAGs, and into the tests of their DAGs.
PUBLIC = (
    "base_hook",
    "base_operator",
    "base_sensor",
    "exceptions",
    "hooks",
    "links",
    "operators",
    "reconciliation_operator",
    "report.landing",
    "report.liquidation_page",
    "sensors",
    "snapshot_operator",
    "triggers",
    "waiting_trigger",
    "watching_trigger",
    "windowed_operator",
)
SANDBOX = ("Exchange", "SandboxServer", "airflow_connection")


def members() -> Iterator[tuple[str, Any]]:
    """Every public class and function of the public modules, and what tests with the sandbox import."""
    for name in PUBLIC:
        module = import_module(f"{PACKAGE}.{name}")
        for member, value in vars(module).items():
            is_own = not member.startswith("_") and getattr(value, "__module__", "") == module.__name__
            if is_own and not is_typeddict(value):
                yield f"{name}.{member}", value
    for name in ("exchange", "server"):
        module = import_module(f"{PACKAGE}.sandbox.{name}")
        for member in SANDBOX:
            if getattr(vars(module).get(member), "__module__", "") == module.__name__:
                yield f"sandbox.{member}", vars(module)[member]


def methods(owner: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods of a class, but for those that Airflow calls and documents."""
    for name, value in vars(owner).items():
        function = inspect.unwrap(getattr(value, "__func__", value))
        inherited = any(name in vars(base) for base in owner.__mro__[1:])
        if inspect.isfunction(function) and not name.startswith("_") and not inherited:
            yield name, function


MEMBERS = dict(members())
CLASSES = {name: value for name, value in MEMBERS.items() if inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in MEMBERS.items() if inspect.isfunction(value)} | {
    f"{name}.{method}": function
    for name, owner in CLASSES.items()
    for method, function in methods(owner)
    if not name.startswith("sandbox.")  # whose methods' parameters say by their names what they are
}


def parameters(function: Callable[..., Any]) -> list[str]:
    """The parameters of a function that have a name; `context` is Airflow's."""
    named = inspect.signature(function).parameters.values()
    return [p.name for p in named if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD} and p.name != "context"][
        inspect.isfunction(function) and "." in function.__qualname__ :
    ]


def documented(text: str | None) -> list[str]:
    return re.findall(r"^\s*:param (\w+): \S", text or "", re.MULTILINE)


def test_finds_what_is_public() -> None:
    """The classes of the README and the sandbox's are among what is held against the rules below."""
    assert {"hooks.BinanceLoanHook", "triggers.BinanceLoanForceLiquidationEventTrigger"} <= CLASSES.keys()
    assert {f"sandbox.{name}" for name in SANDBOX} <= MEMBERS.keys()
    assert "hooks.BinanceLoanHook.iter_force_liquidations" in FUNCTIONS


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_documents_its_parameters(name: str) -> None:
    """Each parameter has its line, in the order of the signature; those of a base class may stay there."""
    owner = CLASSES[name]
    assert vars(owner)["__doc__"]
    own = documented(owner.__doc__)
    above = [found for base in owner.__mro__[1:-1] for found in documented(base.__doc__)]
    wanted = parameters(owner)
    assert own == [found for found in wanted if found not in above or found in own]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_documents_its_parameters(name: str) -> None:
    """Each parameter has its line, here or in the method that is referred to, which has all of them."""
    text = inspect.getdoc(FUNCTIONS[name])
    assert text
    reference = re.search(r":meth:`(\w+)`", text)
    if reference and not documented(text):
        text = inspect.getdoc(FUNCTIONS[f"{name.rpartition('.')[0]}.{reference[1]}"])
    assert documented(text) == parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", [name for name in CLASSES if name.endswith(("Operator", "Sensor"))])
def test_a_template_says_that_it_is_one(name: str) -> None:
    """The parameters that are marked as templated are the template fields; an operator also has `window`."""
    documentation = " ".join(base.__doc__ or "" for base in CLASSES[name].__mro__ if base in CLASSES.values())
    text = re.sub(r"\s+", " ", documentation)
    marked = [
        found
        for found, rest in re.findall(r":param (\w+): (.*?)(?= :param|$)", text)
        if "(templated)" in rest
    ]
    assert sorted(marked) == sorted(set(CLASSES[name].template_fields) - {"window"})
