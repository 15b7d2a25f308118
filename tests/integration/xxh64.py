"""XXH64 in plain Python, after the specification at https://github.com/Cyan4973/xxHash (doc/xxhash_spec.md)."""

import struct

P1, P2, P3, P4, P5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                      0x27D4EB2F165667C5)
MASK = (1 << 64) - 1


def turn(x, n):
    return (x << n | x >> (64 - n)) & MASK


def mix(accumulator, lane):
    return turn((accumulator + lane * P2) & MASK, 31) * P1 & MASK


def xxh64(data, seed=0):
    at = 0
    if len(data) >= 32:
        sums = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        for at in range(0, len(data) - 31, 32):
            sums = [mix(s, lane) for s, lane in zip(sums, struct.unpack_from("<4Q", data, at))]
        at += 32
        digest = sum(turn(s, n) for s, n in zip(sums, (1, 7, 12, 18))) & MASK
        for s in sums:
            digest = ((digest ^ mix(0, s)) * P1 + P4) & MASK
    else:
        digest = (seed + P5) & MASK
    digest = (digest + len(data)) & MASK
    while at + 8 <= len(data):
        digest = (turn(digest ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        digest = (turn(digest ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        digest = turn(digest ^ byte * P5 & MASK, 11) * P1 & MASK
    digest = (digest ^ digest >> 33) * P2 & MASK
    digest = (digest ^ digest >> 29) * P3 & MASK
    return digest ^ digest >> 32
