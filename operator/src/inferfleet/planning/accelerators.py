"""The GPUs that are known by name, their numbers, and what they cost.

Rates are the vendors' dense figures. Sources: [1] ai-dynamo/aiconfigurator, systems/*.yaml (bandwidth,
tensor rates, NVLink); [2] stas00/ml-engineering, compute/accelerator (rates and memory); [3] NVIDIA and AMD
data sheets (T4, V100, A10G, H100 NVL and PCIe, RTX PRO 6000, MI300X, MI325X); [4] instance types of
aws/karpenter-provider-aws (memory as the instance reports it). Memory is what the driver reports, in MiB:
a node's own label replaces it.

`interconnect` is one direction per GPU: half the NVLink or Infinity Fabric total, else PCIe x16 as bandwidth
tests reach it between two GPUs of a host (gen3 11, gen4 22, gen5 45 GB/s).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from inferfleet.values import Accelerator

MIB: Final = 1 << 20
GIB: Final = 1 << 30
TERA: Final = 1e12
GIGA: Final = 1e9
MIG_MARK: Final = "-MIG-"
PCIE3, PCIE4, PCIE5 = 11.0, 22.0, 45.0


def _gpu(
    name: str,
    mib: int,
    bandwidth: float,
    bf16: float,
    *,
    cc: tuple[int, int],
    link: float,
    domain: int = 1,
    fp8: float = 0.0,
    int8: float = 0.0,
    fp4: float = 0.0,
    fp16: float | None = None,
    vendor: str = "nvidia",
) -> Accelerator:
    return Accelerator(
        name=name,
        memory_bytes=mib * MIB,
        memory_bytes_per_second=bandwidth * GIGA,
        bf16_flops=bf16 * TERA,
        fp16_flops=(bf16 if fp16 is None else fp16) * TERA,
        fp8_flops=fp8 * TERA,
        int8_ops=int8 * TERA,
        fp4_flops=fp4 * TERA,
        compute_capability=cc,
        nvlink=domain > 1,
        interconnect_bytes_per_second=link * GIGA,
        nvlink_domain_gpus=domain,
        vendor=vendor,
    )


_TABLE: Final = (
    _gpu("T4", 15360, 320, 0, fp16=65, int8=130, cc=(7, 5), link=PCIE3),
    _gpu("V100", 16384, 900, 0, fp16=125, cc=(7, 0), link=150, domain=8),
    _gpu("V100-32GB", 32768, 900, 0, fp16=125, cc=(7, 0), link=150, domain=8),
    _gpu("A10", 23028, 600, 125, int8=250, cc=(8, 6), link=PCIE4),
    _gpu("A10G", 22888, 600, 70, int8=140, cc=(8, 6), link=PCIE4),
    _gpu("A30", 24576, 933, 165, int8=330, cc=(8, 0), link=PCIE4),
    _gpu("A40", 46068, 696, 150, int8=299, cc=(8, 6), link=PCIE4),
    _gpu("RTX-A6000", 49140, 768, 155, int8=310, cc=(8, 6), link=PCIE4),
    _gpu("RTX-3090", 24576, 936, 71, int8=284, cc=(8, 6), link=PCIE4),
    _gpu("RTX-4090", 24564, 1008, 165, fp8=330, int8=661, cc=(8, 9), link=PCIE4),
    _gpu("RTX-5090", 32607, 1792, 210, fp8=419, int8=838, fp4=1676, cc=(12, 0), link=PCIE5),
    _gpu("RTX-6000-ADA", 49140, 960, 364, fp8=728, int8=728, cc=(8, 9), link=PCIE4),
    _gpu("L4", 23034, 300, 121, fp8=242, int8=242, cc=(8, 9), link=PCIE4),
    _gpu("L40", 46068, 864, 181, fp8=362, int8=362, cc=(8, 9), link=PCIE4),
    _gpu("L40S", 46068, 864, 362, fp8=733, int8=733, cc=(8, 9), link=PCIE4),
    _gpu("RTX-PRO-6000", 97887, 1597, 468, fp8=936, int8=936, fp4=1872, cc=(12, 0), link=PCIE5),
    _gpu("A100-40GB", 40960, 1555, 312, int8=624, cc=(8, 0), link=300, domain=8),
    _gpu("A100-80GB", 81920, 2039, 312, int8=624, cc=(8, 0), link=300, domain=8),
    _gpu("A100-40GB-PCIe", 40960, 1555, 312, int8=624, cc=(8, 0), link=PCIE4),
    _gpu("A100-80GB-PCIe", 81920, 1935, 312, int8=624, cc=(8, 0), link=PCIE4),
    _gpu("H100", 81559, 3350, 989, fp8=1979, int8=1979, cc=(9, 0), link=450, domain=8),
    _gpu("H100-PCIe", 81559, 2039, 756, fp8=1513, int8=1513, cc=(9, 0), link=PCIE5),
    _gpu("H100-NVL", 95830, 3938, 835, fp8=1671, int8=1671, cc=(9, 0), link=300, domain=2),
    _gpu("H20", 97871, 4000, 148, fp8=296, int8=296, cc=(9, 0), link=450, domain=8),
    _gpu("H200", 143771, 4800, 989, fp8=1979, int8=1979, cc=(9, 0), link=450, domain=8),
    _gpu("H200-NVL", 143771, 4800, 835, fp8=1671, int8=1671, cc=(9, 0), link=450, domain=4),
    _gpu("GH200", 97871, 4000, 989, fp8=1979, int8=1979, cc=(9, 0), link=PCIE5),
    _gpu("B200", 183359, 7700, 2250, fp8=4500, int8=4500, fp4=9000, cc=(10, 0), link=900, domain=8),
    _gpu("B300", 275040, 8000, 2250, fp8=4500, int8=150, fp4=13500, cc=(10, 3), link=900, domain=8),
    _gpu("GB200", 189471, 8000, 2500, fp8=5000, int8=5000, fp4=10000, cc=(10, 0), link=900, domain=72),
    _gpu("GB300", 284208, 8000, 2500, fp8=5000, int8=165, fp4=15000, cc=(10, 3), link=900, domain=72),
    _gpu(
        "MI300X", 196592, 5300, 1307, fp8=2615, int8=2615, cc=(9, 4), link=448, domain=8, vendor="amd"
    ),
    _gpu(
        "MI325X", 262128, 6000, 1307, fp8=2615, int8=2615, cc=(9, 4), link=448, domain=8, vendor="amd"
    ),
    _gpu(
        "MI355X", 294896, 8000, 2300, fp8=4600, int8=4600, fp4=9200, cc=(9, 5), link=538, domain=8,
        vendor="amd",
    ),
)  # fmt: skip

ACCELERATORS: Final = MappingProxyType({gpu.name.upper(): gpu for gpu in _TABLE})

# what people, clouds and GPU Feature Discovery write -> a name of the table; first match wins, on an
# upper-case name with every run of other characters as one "-" and without the vendor in front
_PATTERNS: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^(TESLA-)?T4\b", "T4"),
        (r"^(TESLA-)?V100.*32G", "V100-32GB"),
        (r"^(TESLA-)?V100", "V100"),
        (r"^A10G\b", "A10G"),
        (r"^A10\b", "A10"),
        (r"^A30\b", "A30"),
        (r"^A40\b", "A40"),
        (r"^(RTX-)?A6000\b", "RTX-A6000"),
        (r"3090", "RTX-3090"),
        (r"4090", "RTX-4090"),
        (r"5090", "RTX-5090"),
        (r"RTX-PRO-(SERVER-)?6000|^RTXPRO6000", "RTX-PRO-6000"),
        (r"6000-ADA", "RTX-6000-ADA"),
        (r"^L4\b", "L4"),
        (r"^L40S", "L40S"),
        (r"^L40\b", "L40"),
        (r"^(TESLA-)?A100.*PCIE.*40G|^A100-40GB-PCIE", "A100-40GB-PCIe"),
        (r"^(TESLA-)?A100.*PCIE|^A100-80GB-PCIE", "A100-80GB-PCIe"),
        (r"^A100.*\b80(G|\b)", "A100-80GB"),
        (r"^(TESLA-)?A100.*\b40(G|\b)|^TESLA-A100", "A100-40GB"),
        (r"^H100-(.*-)?NVL", "H100-NVL"),
        (r"^H100-(.*-)?PCIE", "H100-PCIe"),
        (r"^GH200", "GH200"),
        (r"^H100", "H100"),
        (r"^H200-(.*-)?NVL", "H200-NVL"),
        (r"^H200", "H200"),
        (r"^H20\b", "H20"),
        (r"^GB200", "GB200"),
        (r"^GB300", "GB300"),
        (r"^B200", "B200"),
        (r"^B300", "B300"),
        (r"MI300X", "MI300X"),
        (r"MI325X", "MI325X"),
        (r"MI355X", "MI355X"),
    )
)
_VENDOR: Final = re.compile(r"^(NVIDIA|AMD|INSTINCT|RADEON|GRAPHICS-DEVICE|GEFORCE|QUADRO)-")
_MIG: Final = re.compile(r"-MIG-(?P<slices>\d)G-(?P<gib>\d+)GB(-ME)?$")
# a board reports at most this much less than its nominal memory
_A100_BOUNDARY_BYTES: Final = 60 * GIB


@lru_cache(maxsize=1024)
def find_accelerator(product: str, memory_bytes: int | None = None) -> Accelerator | None:
    """Return the accelerator that a product name means, with the memory that its node reports if given.

    Understands GPU Feature Discovery's product labels, the clouds' names and the short names of the table,
    whatever their case; a MIG product (`A100-SXM4-40GB-MIG-1g.5gb`) is a GPU of its own. A bare `A100` is
    told apart by its memory, and is the 40 GB one without it, so that a plan never counts on too much.

    Returns:
        None for a name that no pattern knows.
    """
    name = re.sub(r"[^A-Z0-9]+", "-", product.upper()).strip("-")
    while (shorter := _VENDOR.sub("", name)) != name:
        name = shorter
    sliced = _MIG.search(name)
    if sliced:
        whole = find_accelerator(name[: sliced.start()])
        return whole and _mig(whole, int(sliced["slices"]), int(sliced["gib"]), memory_bytes)
    found = ACCELERATORS.get(name)
    if found is None:
        canonical = next((known for pattern, known in _PATTERNS if pattern.search(name)), None)
        if canonical is None and name == "A100":
            canonical = "A100-80GB" if (memory_bytes or 0) > _A100_BOUNDARY_BYTES else "A100-40GB"
        found = ACCELERATORS[canonical.upper()] if canonical else None
    if found and memory_bytes:
        return replace(found, memory_bytes=memory_bytes)
    return found


def _mig(whole: Accelerator, slices: int, gib: int, memory_bytes: int | None) -> Accelerator:
    """One MIG instance: `slices` of 7 compute slices, memory and bandwidth in eighths, no peer access.

    NVIDIA MIG user guide, "Supported MIG profiles": memory comes in 8 slices, streaming multiprocessors in 7.
    """
    compute = slices / 7
    eighths = max(1, min(8, round(gib * GIB * 8 / whole.memory_bytes)))
    return replace(
        whole,
        name=f"{whole.name}{MIG_MARK}{slices}g.{gib}gb",
        memory_bytes=memory_bytes or int(gib * 0.95 * GIB),
        memory_bytes_per_second=whole.memory_bytes_per_second * eighths / 8,
        bf16_flops=whole.bf16_flops * compute,
        fp16_flops=whole.fp16_flops * compute,
        fp8_flops=whole.fp8_flops * compute,
        int8_ops=whole.int8_ops * compute,
        fp4_flops=whole.fp4_flops * compute,
        nvlink=False,
        nvlink_domain_gpus=1,
        interconnect_bytes_per_second=0.0,
    )


def unknown_accelerator(name: str, memory_bytes: int, vendor: str = "nvidia") -> Accelerator:
    """Stand in for a GPU that no table knows: its memory is certain, its rates are cautious.

    The rates are those of an L4 per GiB of memory: the lowest bandwidth per byte among current inference
    GPUs, so that speed is under- rather than overpromised.
    """
    share = max(memory_bytes, GIB) / ACCELERATORS["L4"].memory_bytes
    base = ACCELERATORS["L4"]
    return Accelerator(
        name=name,
        memory_bytes=memory_bytes,
        memory_bytes_per_second=base.memory_bytes_per_second * share,
        bf16_flops=base.bf16_flops * share,
        fp16_flops=base.bf16_flops * share,
        compute_capability=(8, 0),
        interconnect_bytes_per_second=PCIE3 * GIGA,
        vendor=vendor,
        known=False,
    )


def with_rates(gpu: Accelerator) -> Accelerator:
    """Fill in what a GPUPool leaves out: the table's rates where its name is known, else cautious ones."""
    if gpu.memory_bytes_per_second > 0 and max(gpu.bf16_flops, gpu.fp16_flops) > 0:
        return gpu
    guess = find_accelerator(gpu.name, gpu.memory_bytes) or unknown_accelerator(
        gpu.name, gpu.memory_bytes, gpu.vendor
    )
    return replace(
        gpu,
        memory_bytes_per_second=gpu.memory_bytes_per_second or guess.memory_bytes_per_second,
        bf16_flops=gpu.bf16_flops or guess.bf16_flops,
        fp16_flops=gpu.fp16_flops or guess.fp16_flops,
        known=guess.known,
    )
