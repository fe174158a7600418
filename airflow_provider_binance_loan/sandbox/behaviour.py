"""What Binance's documentation leaves open, and the sandbox can do in several ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

Shape = Literal["object", "list", "null", "mixed"]


@dataclass(slots=True)
class Behaviour:
    """One interpretation of what Binance's documentation leaves open; a client must be right under each.

    https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
    """

    total: Literal["units", "rows", "string", "zero", "absent"] = "units"
    """What `total` counts; "string" is the number of rows as a JSON string."""
    end_inclusive: bool = True
    filter_field: Literal["start", "end", "overlap", "update"] = "start"
    """What must lie between startTime and endTime: the start of the liquidation, any part of it ("overlap"),
    its end, or its last update (now, while it runs)."""
    transfer_filter: Literal["latest", "first", "any", "liquidation"] = "latest"
    """What of a row of transfers must lie between startTime and endTime: its latest transfer, its first, any
    of them, or the start of the liquidation. A row without transfers counts by that start."""
    order: Literal["newest", "oldest", "random"] = "newest"
    """"random" shuffles every response; otherwise rows of one millisecond have a fixed arbitrary order."""
    page_cap: int | None = None
    """The largest number of rows in a page, whatever `size` is; None for no limit."""
    max_days: int = 100
    """The longest time between startTime and endTime, in days."""
    latency_s: float = 0
    snapshot_shape: Shape = "object"
    liabilities_shape: Shape = "mixed"
    """With "object", several liabilities are still a list."""
    running_end: Literal["null", "zero", "absent"] = "null"
    ltv_while_liquidating: Literal["number", "null", "empty"] = "number"
    """The `ltv` of a unit that is being liquidated; another exchange sends an empty text then."""
    update_time: Literal["now", "still"] = "now"
    """The `updateTime` of a unit; "still" keeps it for the whole minute."""
    fault_rate: float = 0
    """The share of requests, from 0 to 1, that meet a random transient fault."""
    used_weight: int = 0
    """The weight that other clients of the same IP address have used, for each endpoint, in this minute."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        cap, latency, rate, used = self.page_cap, self.latency_s, self.fault_rate, self.used_weight
        checks = {
            "end_inclusive": (isinstance(self.end_inclusive, bool), "true or false"),
            "page_cap": (cap is None or (type(cap) is int and cap > 0), "null or a number of rows"),
            "max_days": (type(self.max_days) is int and self.max_days > 0, "a number of days"),
            "latency_s": (type(latency) in (int, float) and 0 <= latency < 3600, "a number of seconds"),
            "fault_rate": (type(rate) in (int, float) and 0 <= rate <= 1, "a number from 0 to 1"),
            "used_weight": (type(used) is int and used >= 0, "a number from 0"),
        }
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal:
                checks[name] = (getattr(self, name) in get_args(hint), f"one of {', '.join(get_args(hint))}")
        for name, (is_valid, expected) in checks.items():
            if not is_valid:
                msg = f"{name} must be {expected}, not {getattr(self, name)!r}."
                raise ValueError(msg)
