"""Who may try to get in: guesses of the password per address, and places for peers that have not proven it yet.

Decides: which address has a guess left, and whose place goes to a newcomer. Does not know: sockets or clocks; time is
an argument, in seconds that only ever grow.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mincemeat import limits

# The bucket of all addresses that found no room in the table. No address group has an empty name.
_OVERFLOW = ""

_Token = TypeVar("_Token", bound=Hashable)


def address_group(host: str) -> str:
    """Whom limits count as one: an IPv4 address, also in its IPv6-mapped form, or the /64 of an IPv6 address.

    Whoever has one address of a /64 usually has all of them (RFC 6177).
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 6:
        mapped = address.ipv4_mapped
        if mapped is None:
            return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
        address = mapped
    return str(address)


@dataclass
class _Bucket:
    guesses: float
    seconds: float  # when `guesses` was right


class GuessBudget:
    """A token bucket per address: a burst, then a slow refill.

    Memory: at most `addresses_max` buckets. A bucket that is full again is forgotten. When the table is full of others,
    all further addresses share one bucket: nobody gets a fresh burst by pushing somebody's bucket out.
    """

    def __init__(
        self,
        *,
        burst: int = limits.GUESS_BURST,
        refill_per_second: float = limits.GUESS_REFILL_PER_SECOND,
        addresses_max: int = limits.GUESS_ADDRESSES_MAX,
    ) -> None:
        self._burst = burst
        self._refill_per_second = refill_per_second
        self._addresses_max = addresses_max
        # In the order of their last guess, so that those that are full again come first.
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def reserve(self, host: str, now: float) -> bool:
        """Take one guess of this address's; False if none is left. To be called before our share leaves."""
        name, bucket = self._find(host, now)
        if bucket.guesses < 1:
            return False
        bucket.guesses -= 1
        self._buckets.pop(name, None)
        self._buckets[name] = bucket
        return True

    def refund(self, host: str, now: float) -> None:
        """Give one back: the peer knew the password, so it was no guess."""
        _, bucket = self._find(host, now)
        bucket.guesses = min(self._burst, bucket.guesses + 1)

    def _find(self, host: str, now: float) -> tuple[str, _Bucket]:
        """The bucket that counts for this address, refilled; a new one is not in the table yet."""
        name = address_group(host)
        if name not in self._buckets and self._is_full(now):
            name = _OVERFLOW
        bucket = self._buckets.get(name)
        if bucket is None:
            return name, _Bucket(self._burst, now)
        self._refill(bucket, now)
        return name, bucket

    def _refill(self, bucket: _Bucket, now: float) -> None:
        earned = (now - bucket.seconds) * self._refill_per_second
        bucket.guesses = min(self._burst, bucket.guesses + earned)
        bucket.seconds = now

    def _is_full(self, now: float) -> bool:
        """Whether no bucket can be added, once those that are full again are forgotten."""
        while len(self._buckets) >= self._addresses_max:
            name, bucket = next(iter(self._buckets.items()))
            self._refill(bucket, now)
            if bucket.guesses < self._burst:
                return True
            del self._buckets[name]
        return False


@dataclass
class _Place:
    group: str
    is_kept: bool = False


class Places(Generic[_Token]):
    """The places of peers that have not proven anything yet: a few in all, fewer per address, oldest dropped first.

    Dropping the oldest and not the newcomer is what keeps joins working under a flood of silent peers: an honest
    peer needs its place for some milliseconds only. A place that is kept is dropped only where no other is left: the
    peer would take it for a refusal of its password.
    """

    def __init__(
        self,
        *,
        places: int = limits.UNAUTHENTICATED_MAX,
        places_per_address: int = limits.UNAUTHENTICATED_PER_ADDRESS_MAX,
    ) -> None:
        self._places = places
        self._places_per_address = places_per_address
        self._taken: dict[_Token, _Place] = {}  # oldest first
        self._per_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, token: _Token) -> bool:
        return token in self._taken

    def take(self, token: _Token, host: str) -> _Token | None:
        """Give `token` a place. Returns whom to drop for it, whose place is free already; or None."""
        group = address_group(host)
        victim: _Token | None = None
        if self._per_address[group] >= self._places_per_address:
            victim = self._oldest([taken for taken, place in self._taken.items() if place.group == group])
        elif len(self._taken) >= self._places:
            victim = self._oldest(list(self._taken))
        if victim is not None:
            self.leave(victim)
        self._taken[token] = _Place(group)
        self._per_address[group] += 1
        return victim

    def keep(self, token: _Token) -> None:
        """The proof of `token` is under way: drop others first. Only for what strangers cannot have at will."""
        place = self._taken.get(token)
        if place is not None:
            place.is_kept = True

    def leave(self, token: _Token) -> None:
        """Free the place of `token`; harmless if it has none."""
        place = self._taken.pop(token, None)
        if place is None:
            return
        self._per_address[place.group] -= 1
        if not self._per_address[place.group]:
            del self._per_address[place.group]

    def _oldest(self, candidates: list[_Token]) -> _Token:
        return next((token for token in candidates if not self._taken[token].is_kept), candidates[0])
