"""The hash that places keys on partitions, bit for bit as Java's, Flink's and librdkafka's."""

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
UINT32 = 0xFFFFFFFF


def partition(key: bytes, partitions: int) -> int:
    """The partition of that key among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The 32-bit hash, unsigned."""
    length = len(data)
    state = SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * MULTIPLIER & UINT32
        word = (word ^ word >> 24) * MULTIPLIER & UINT32
        state = (state * MULTIPLIER & UINT32) ^ word
    if length > whole:
        rest = int.from_bytes(data[whole:], "little")
        state = (state ^ rest) * MULTIPLIER & UINT32
    state = (state ^ state >> 13) * MULTIPLIER & UINT32
    return state ^ state >> 15
