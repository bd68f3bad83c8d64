"""Best-fit-decreasing over a histogram of lengths, and lower bounds on the number of packs.

Best-fit-decreasing: items by falling length; each goes into the open pack with the least room that still holds it, else
into a new one. On whole groups it gives the same packs as item by item. Let r be the least room >= l among the open
packs, and q = r div l. An item of length l put into a pack with room r leaves r - l, which is below l or the one
smallest room that still fits: so the pack takes q items in a row, and then the next pack with room r takes q. Packs of
one room are interchangeable, so n of them are filled at once; each step uses up a length or a group. That is SPFHP's
idea (Krell et al. 2021, arXiv 2107.02027) made exact for best fit.

With `max_members` a pack closes when it has so many items; groups then hold packs of one room and one number of
members.

Shapes: lengths int [N], all in 1..capacity. Cost: O(N + steps), steps about 2.5 per length that occurs and nearly
independent of N; memory 24 bytes an item.

Bounds: volume, ceil(sum l / L); and Martello and Toth's L2 (1990): for every k <= L/2, items above L-k need a pack
each, so do those above L/2, and items in k..L/2 need what the room left beside the second kind cannot hold.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sftrecipe.draws import order as ranked
from sftrecipe.draws import remix
from sftrecipe.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


__all__ = ["Packs", "best_fit_decreasing", "lower_bound_l2", "lower_bound_volume", "pack_order"]


@dataclass(frozen=True)
class Packs:
    """Pack p holds items[offsets[p] : offsets[p + 1]]; every item is in one pack."""

    items: Ints
    offsets: Ints

    @property
    def count(self) -> int:
        """Number of packs."""
        return len(self.offsets) - 1

    @property
    def members(self) -> Ints:
        """Items in each pack."""
        return np.diff(self.offsets)

    def fills(self, lengths: Ints) -> Ints:
        """Tokens in each pack."""
        return np.add.reduceat(lengths[self.items], self.offsets[:-1]) if self.count else np.zeros(0, dtype=np.int64)


def best_fit_decreasing(
    lengths: Ints, capacity: int, max_members: int | None = None, keys: NDArray[np.uint64] | None = None
) -> Packs:
    """The packs of all items. With `keys`, items of one length are taken in the order of their keys, and the packs
    stand in `pack_order`; without, in the order of their numbers, and as they were opened."""
    order = _by_length(lengths, capacity, keys)
    steps = _steps(np.bincount(lengths, minlength=1), capacity, max_members or len(lengths) or 1)
    return _spread(order, steps, keys)


def pack_order(keys: NDArray[np.uint64]) -> Ints:
    """The seeded order of packs: by a hash of the key of each one's first item. A pack's place says nothing of its
    lengths."""
    return ranked(remix(keys, 1))


def _by_length(lengths: Ints, capacity: int, keys: NDArray[np.uint64] | None) -> Ints:
    """Item numbers by falling length, equal lengths by key, equal keys by number.

    One sort of 64-bit words: length, as much of the key as there is room for, number. Many times as fast as an
    argsort.
    """
    length_bits = int(capacity).bit_length()
    number_bits = max(1, (len(lengths) - 1).bit_length())
    key_bits = 64 - length_bits - number_bits
    falling = (capacity - lengths).astype(np.uint64)
    if key_bits < 1:
        return np.asarray(np.lexsort((falling,) if keys is None else (keys, falling)), dtype=np.int64)
    words = (falling << np.uint64(64 - length_bits)) | np.arange(len(lengths), dtype=np.uint64)
    if keys is not None:
        words |= (keys >> np.uint64(64 - key_bits)) << np.uint64(number_bits)
    words.sort()
    order = (words & np.uint64((1 << number_bits) - 1)).astype(np.int64)
    return order if keys is None else _settled(order, words >> np.uint64(number_bits), keys)


def _settled(order: Ints, heads: NDArray[np.uint64], keys: NDArray[np.uint64]) -> Ints:
    """The order with items whose cut keys meet put right by their whole keys."""
    same = heads[1:] == heads[:-1]
    if same.any():
        at = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
        order = order.copy()
        order[at] = order[at][np.lexsort((keys[order[at]], heads[at]))]
    return order


@dataclass
class _Steps:
    """Fills in order: `bins` packs from number `first` on take `each` items, behind the `slot` that they have."""

    first: list[int]
    bins: list[int]
    each: list[int]
    slot: list[int]
    packs: int = 0

    def fill(self, first: int, bins: int, each: int, slot: int) -> None:
        self.first.append(first)
        self.bins.append(bins)
        self.each.append(each)
        self.slot.append(slot)


def _steps(histogram: Ints, capacity: int, cap: int) -> _Steps:
    """Runs best fit over the histogram; packs of one group have consecutive numbers."""
    steps = _Steps([], [], [], [])
    rooms: list[int] = []  # sorted; the keys of groups
    groups: dict[int, list[tuple[int, int, int]]] = {}  # room -> (first pack, packs, members of each)

    def put(room: int, group: tuple[int, int, int]) -> None:
        if room and group[2] < cap:
            if room not in groups:
                groups[room] = []
                insort(rooms, room)
            groups[room].append(group)

    for length in np.flatnonzero(histogram)[::-1].tolist():
        left = int(histogram[length])
        while left:
            at = bisect_left(rooms, length)
            if at < len(rooms):
                room = rooms[at]
                first, bins, slot = groups[room].pop()
                if not groups[room]:
                    del groups[room], rooms[at]
            else:
                room, slot, first = capacity, 0, steps.packs
                bins = -(-left // min(capacity // length, cap))
                steps.packs += bins
            each = min(room // length, cap - slot)
            full = min(bins, left // each)
            rest = min(left - full * each, each - 1) if full < bins else 0
            if full:
                steps.fill(first, full, each, slot)
                put(room - each * length, (first, full, slot + each))
            if rest:
                steps.fill(first + full, 1, rest, slot)
                put(room - rest * length, (first + full, 1, slot + rest))
            left -= full * each + rest
            untouched = first + full + (rest > 0)
            if untouched < first + bins:
                put(room, (untouched, first + bins - untouched, slot))
    return steps


def _spread(order: Ints, steps: _Steps, keys: NDArray[np.uint64] | None) -> Packs:
    """Items to their places: item j of a step goes to pack first + j div each, behind what the pack has."""
    small = np.int32 if len(order) < 2**31 else np.int64  # half as many bytes to move
    first, bins, each, slot = (np.array(x, dtype=small) for x in (steps.first, steps.bins, steps.each, steps.slot))
    sizes = bins * each
    begin = np.cumsum(sizes, dtype=small) - sizes
    rise = np.zeros(steps.packs + 1, dtype=np.int64)  # of the number of members, from pack to pack
    np.add.at(rise, first, each)
    np.subtract.at(rise, first + bins, each)
    members = np.cumsum(rise)[:-1]
    # an item's pack and its slot there; only where several go into one pack does it take a division
    pack = np.repeat(first - begin, sizes)
    pack += np.arange(len(order), dtype=small)
    place = np.repeat(slot, sizes)
    several = each > 1
    at = np.flatnonzero(np.repeat(several, sizes)).astype(small)
    nth, more = np.divmod(at - np.repeat(begin[several], sizes[several]), np.repeat(each[several], sizes[several]))
    pack[at] = np.repeat(first[several], sizes[several]) + nth
    place[at] += more
    ranks = None
    if keys is not None and steps.packs:
        ranks = pack_order(keys[order[np.flatnonzero(place == 0)]])  # packs were opened in the order of their numbers
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(members if ranks is None else members[ranks])])
    starts = offsets[:-1].astype(small)
    if ranks is not None:
        starts[ranks] = offsets[:-1]
    place += starts[pack]
    items = np.empty(len(order), dtype=np.int64)
    items[place] = order
    return Packs(items, offsets)


def lower_bound_volume(lengths: Ints, capacity: int) -> int:
    """No packing has fewer packs than this: all tokens over the capacity, rounded up."""
    return -(-int(lengths.sum()) // capacity)


def lower_bound_l2(lengths: Ints, capacity: int) -> int:
    """Martello and Toth's L2. Cost: O(N + capacity)."""
    counts = np.bincount(lengths, minlength=capacity + 1)[: capacity + 1].astype(np.int64)
    number = np.concatenate([[0], np.cumsum(counts)])  # number[x]: items below x
    volume = np.concatenate([[0], np.cumsum(counts * np.arange(capacity + 1))])
    half = capacity // 2
    k = np.arange(half + 1)
    alone = number[-1] - number[capacity - k + 1]  # above L - k
    beside = number[capacity - k + 1] - number[half + 1]  # above L/2, up to L - k
    room = beside * capacity - (volume[capacity - k + 1] - volume[half + 1])
    small = volume[half + 1] - volume[k]
    extra = np.maximum(0, -(-(small - room) // capacity))
    return int((alone + beside + extra).max())
