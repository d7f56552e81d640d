"""How many blocks of a kernel a multiprocessor holds, by the rules of NVIDIA's cuda_occupancy.h."""

import dataclasses

WARP = 32
REGISTERS = 65536
# the four quarters of a multiprocessor have registers of their own
QUARTERS = 4
REGISTER_GRANULE = 256
SHARED_GRANULE = 128
# what the system keeps of each block's shared memory
SHARED_RESERVED = 1024


@dataclasses.dataclass
class Multiprocessor:
    """What the blocks on one multiprocessor share."""

    blocks: int
    threads: int
    shared: int


ARCHITECTURES = {
    "sm_80": Multiprocessor(32, 2048, 164 << 10),
    "sm_90": Multiprocessor(32, 2048, 228 << 10),
    "sm_100": Multiprocessor(32, 2048, 228 << 10),
    "sm_120": Multiprocessor(24, 1536, 100 << 10),
}


def blocks(architecture, threads, registers, shared):
    """Blocks of `threads` threads with so many registers a thread and so many bytes of shared memory."""
    limits = ARCHITECTURES[architecture]
    warps = -(-threads // WARP)
    by_warps = limits.threads // WARP // warps
    registers_per_warp = rounded_up(registers * WARP, REGISTER_GRANULE)
    by_registers = REGISTERS // QUARTERS // registers_per_warp * QUARTERS // warps
    by_shared = limits.shared // rounded_up(shared + SHARED_RESERVED, SHARED_GRANULE)
    return min(limits.blocks, by_warps, by_registers, by_shared)


def rounded_up(number, granule):
    return -(-number // granule) * granule
