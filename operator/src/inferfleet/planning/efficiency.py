"""What share of a GPU's data sheet an engine reaches, per generation: the cold numbers of the speed model.

ASSUMPTIONS until measured (`benchmarks/gpu/measure.py` prints the measured values): bandwidth 0.8 is the
share that decode kernels reach on Hopper; matrix shares lie below the highest measured matrix products of
stas00/ml-engineering ("MAMF": A100 271 of 312, H100 794 of 989, B200 1745 of 2250, MI300X 668 of 1307
TFLOPS). They were chosen once, knowing the points of `benchmarks/planner/calibration.py`, and were not
fitted by any procedure: that table is no independent check of them. Latencies are those of NCCL and custom
all-reduce kernels for small messages under CUDA graphs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inferfleet.values import Accelerator

# between nodes: 100 Gbit/s per GPU, the least that eight-GPU cloud instances of this decade offer
NETWORK_BYTES_PER_SECOND: Final = 12.5e9


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Shares are of the data sheet's rate; seconds are per event.

    `step_seconds` is the engine's own time per step that is not hidden behind the GPU; `layer_seconds` the
    gaps between kernels of a layer; `sequence_seconds` sampling and bookkeeping per sequence.
    """

    bandwidth: float
    matrix: float
    matrix_8bit: float
    attention: float
    link: float = 0.7
    collective_seconds: float = 9e-6
    hop_seconds: float = 30e-6
    network_hop_seconds: float = 60e-6
    step_seconds: float = 1.0e-3
    layer_seconds: float = 15e-6
    sequence_seconds: float = 4e-6
    expert_imbalance: float = 1.2


_VOLTA_TURING: Final = Efficiency(0.75, 0.50, 0.40, 0.20, layer_seconds=30e-6, step_seconds=2e-3)
_AMPERE: Final = Efficiency(0.80, 0.68, 0.50, 0.45, layer_seconds=20e-6)
_ADA: Final = Efficiency(0.80, 0.55, 0.50, 0.40, layer_seconds=20e-6)
_HOPPER: Final = Efficiency(0.80, 0.62, 0.52, 0.45)
_BLACKWELL: Final = Efficiency(0.78, 0.60, 0.50, 0.45)
_CDNA3: Final = Efficiency(0.70, 0.42, 0.38, 0.30, layer_seconds=25e-6, step_seconds=1.5e-3)
_UNKNOWN: Final = Efficiency(0.70, 0.40, 0.35, 0.25, layer_seconds=30e-6, step_seconds=2e-3)


def efficiency_of(gpu: Accelerator) -> Efficiency:  # noqa: PLR0911 - a table of cases
    """Return the generation's shares, by vendor and compute capability."""
    if not gpu.known:
        return _UNKNOWN
    if gpu.vendor == "amd":
        return _CDNA3
    match gpu.compute_capability:
        case (7, _):
            return _VOLTA_TURING
        case (8, 9):
            return _ADA
        case (8, _):
            return _AMPERE
        case (9, _):
            return _HOPPER
        case (10 | 11 | 12, _):
            return _BLACKWELL
        case _:
            return _UNKNOWN
