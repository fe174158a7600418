"""The figures of a risk unit: what it holds, what it owes, and the LTV (loan-to-value ratio) of the two.

Pure functions of a seed. Amounts are whole numbers of 0.00000001 and LTVs whole numbers of 0.000001: nothing
passes through a float, and a seed gives the same figures on every machine.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ONE = 10**8
LTV_ONE = 10**6
LIQUIDATION_LTV = 900_000
"""A unit is liquidated when its LTV reaches this level. Binance does not publish its own."""
LOWEST_LTV, LOW_LTV_RANGE = 400_000, 200_001  # where a loan begins, and where a liquidation leaves it
HIGHEST_OVERSHOOT = 30_000


class Dice:
    """A source of numbers that depend on the key alone; seeding a `random.Random` takes ten times as long."""

    def __init__(self, *key: object) -> None:
        # 2,048 bits; the largest book uses some 1,100 of them.
        self._pool = int.from_bytes(hashlib.shake_256(repr(key).encode()).digest(256), "big")

    def __call__(self, sides: int) -> int:
        """Return the next number from 0 to `sides` - 1."""
        self._pool, rolled = divmod(self._pool, sides)
        return rolled


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet; account 0 is the credit account of the unit, the others are its collateral accounts."""

    account: int
    kind: str
    equity: int
    margin: int


@dataclass(frozen=True, slots=True)
class Loan:
    """What is owed in one asset, and the hourly interest rate in units of 0.00000001."""

    asset: str
    principal: int
    interest: int
    rate: int = 0

    @property
    def hourly_interest(self) -> int:
        """The interest on the principal for one hour, rounded half up."""
        return (2 * self.principal * self.rate + ONE) // (2 * ONE)


@dataclass(frozen=True, slots=True)
class Figures:
    """The wallets and loans of a risk unit at one time."""

    wallets: tuple[Wallet, ...]
    loans: tuple[Loan, ...]

    @property
    def equity(self) -> int:
        """The net equity of all wallets."""
        return sum(wallet.equity for wallet in self.wallets)

    @property
    def margin(self) -> int:
        """The maintenance margin of all wallets."""
        return sum(wallet.margin for wallet in self.wallets)

    @property
    def liability(self) -> int:
        """The principal and interest of all loans."""
        return sum(loan.principal + loan.interest for loan in self.loans)

    @property
    def ltv(self) -> int:
        """The LTV, liability / (equity - margin), rounded to three decimals as in Binance's examples."""
        net = self.equity - self.margin
        return (2000 * self.liability + net) // (2 * net) * (LTV_ONE // 1000)

    @property
    def borrow_limit(self) -> int:
        """What may be borrowed until the LTV is 0.75, when the borrowed money stays in the unit.

        (L + x) / (E - M + x) = 0.75 gives 16.32397223 for the example on Binance's page, which shows one unit
        of the last decimal less.
        """
        return max(0, 3 * (self.equity - self.margin) - 4 * self.liability)

    @property
    def transfer_limit(self) -> int:
        """What may be taken out until the LTV is 0.5; Binance's example has 0 at 0.592."""
        return max(0, self.equity - self.margin - 2 * self.liability)

    def after(self, hours: int) -> Figures:
        """Return the same figures with the interest of some hours more, and none for a negative number."""
        loans = (
            replace(loan, interest=loan.interest + max(hours, 0) * loan.hourly_interest)
            for loan in self.loans
        )
        return replace(self, loans=tuple(loans))

    def at_ltv(self, ltv: int) -> Figures:
        """Return the same loans and margins beside collateral worth so much that the LTV is this one.

        An LTV of 0 means that no loan is open.
        """
        net = self.liability * LTV_ONE // (ltv or LTV_ONE // 2)
        return replace(self._with_equity(net + self.margin), loans=self.loans if ltv else ())

    def repaid_to(self, ltv: int) -> Figures:
        """Return what is left when collateral has repaid the loans until the LTV is this lower one."""
        net, liability = self.equity - self.margin, self.liability
        paid = (liability * LTV_ONE - ltv * net) // (LTV_ONE - ltv)
        parts = [part for loan in self.loans for part in (loan.principal, loan.interest)]
        left = iter(scaled(parts, liability - paid))
        loans = tuple(Loan(loan.asset, next(left), next(left), loan.rate) for loan in self.loans)
        return replace(self._with_equity(self.equity - paid), loans=loans)

    def _with_equity(self, total: int) -> Figures:
        equities = scaled([wallet.equity for wallet in self.wallets], total)
        wallets = zip(self.wallets, equities, strict=True)
        return replace(self, wallets=tuple(replace(wallet, equity=equity) for wallet, equity in wallets))


def scaled(parts: Sequence[int], total: int) -> list[int]:
    """Return the parts in the same proportions, with another sum."""
    whole = sum(parts)
    scaled = [part * total // whole for part in parts]
    scaled[parts.index(max(parts))] += total - sum(scaled)
    return scaled


@lru_cache(maxsize=8192)
def book(seed: int, group_id: int, opened_ms: int) -> Figures:
    """Return the wallets of a unit from `opened_ms` on, and its loans when they are borrowed.

    Equities are only their proportions.
    """
    dice = Dice("book", seed, group_id, opened_ms)
    scale = 10 ** (12 + dice(7))  # from 10,000 to 10 billion: up to 19 digits, more than a float can hold
    wallets = []
    for account in range(2 + dice(4)):
        kinds = ("PORTFOLIO_MARGIN", "SPOT", "CROSS_MARGIN")
        first, count = dice(3) if account else 0, 1 + (dice(3) == 0)
        for kind in (kinds[first], kinds[(first + 1) % 3])[:count]:
            weight = dice(4) and dice(10**6)
            margin = 0 if kind == "SPOT" else dice(2) and dice(scale // 50)
            wallets.append(Wallet(account, kind, weight, margin))
    wallets[-1] = replace(wallets[-1], equity=1 + dice(10**6))  # so that there is collateral at all
    loans = [
        Loan(asset, scale // 10 + dice(scale), 0, 400 + dice(801))  # 3.5 to 10.5 percent a year
        for asset in ("USDT", "USDC")[: 1 + (dice(5) == 0)]
    ]
    return Figures(tuple(wallets), tuple(loans))


def opening_ltv(seed: int, group_id: int, opened_ms: int) -> int:
    """Return the LTV with which a loan is opened."""
    return LOWEST_LTV + Dice("opening", seed, group_id, opened_ms)(LOW_LTV_RANGE)


@lru_cache(maxsize=8192)
def liquidation_ltvs(seed: int, group_id: int, start_ms: int) -> tuple[int, int]:
    """Return the LTV with which a liquidation starts, at or just above the level, and with which it ends.

    One liquidation in four repays all that is owed, so that the LTV becomes 0.
    """
    dice = Dice("liquidation", seed, group_id, start_ms)
    start = LIQUIDATION_LTV + dice(HIGHEST_OVERSHOOT + 1)
    return start, (LOWEST_LTV + dice(LOW_LTV_RANGE) if dice(4) else 0)


@lru_cache(maxsize=4096)
def initial_figures(seed: int, group_id: int, opened_ms: int, hours: int, start_ms: int) -> Figures:
    """Return the figures of a unit in the millisecond in which its liquidation starts.

    :param hours: for how many full hours interest was charged until then.
    """
    loans = book(seed, group_id, opened_ms).after(hours)
    return loans.at_ltv(liquidation_ltvs(seed, group_id, start_ms)[0])
