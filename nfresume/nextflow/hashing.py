"""Hashes of tasks. Nextflow makes each from the one before it: a task dir that is taken leads to the next.

The first hash of a task is made from all that its result depends on. If its task dir exists, and is not that
of a task that can be reused, Nextflow goes on to the hash of (this hash, number of the try), and so on. A
retry goes on from the hash of the try that failed. Source: `TaskProcessor.checkCachedOrLaunchTask`, the same
from 23.10 to 26.08.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
#: So far a chain is followed.
_STEPS = 12


def follows(earlier: str, later: str) -> bool:
    """True when task dir `later` (`ab/cdef...`) is in the chain of `earlier`, or is the same.

    Then both tasks depend on the same: script, inputs, container and so on.
    """
    if earlier == later:
        return True
    try:
        start, wanted = bytes.fromhex(earlier.replace("/", "")), bytes.fromhex(later.replace("/", ""))
    except ValueError:
        return False
    return any(wanted in _chain(start, first) for first in range(2, 6))


def _chain(start: bytes, number: int) -> list[bytes]:
    """The hashes after `start`, whose first one has this number."""
    found = []
    for each in range(number, number + _STEPS):
        start = murmur3_128(start + each.to_bytes(4, "little"))
        found.append(start)
    return found


def murmur3_128(data: bytes) -> bytes:
    """MurmurHash3 for x64, 128 bits, seed 0 (A. Appleby, public domain)."""
    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        h1 ^= _mix1(_number(data[at:at + 8]))
        h1 = ((_rotate(h1, 27) + h2) * 5 + 0x52DCE729) & _MASK
        h2 ^= _mix2(_number(data[at + 8:at + 16]))
        h2 = ((_rotate(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    rest = data[whole:]
    h2 ^= _mix2(_number(rest[8:]))
    h1 ^= _mix1(_number(rest[:8]))
    h1, h2 = h1 ^ len(data), h2 ^ len(data)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    h1, h2 = _final(h1), _final(h2)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return h1.to_bytes(8, "little") + h2.to_bytes(8, "little")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _mix1(k: int) -> int:
    return _rotate(k * _C1 & _MASK, 31) * _C2 & _MASK


def _mix2(k: int) -> int:
    return _rotate(k * _C2 & _MASK, 33) * _C1 & _MASK


def _final(k: int) -> int:
    k = (k ^ k >> 33) * 0xFF51AFD7ED558CCD & _MASK
    k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return k ^ k >> 33
