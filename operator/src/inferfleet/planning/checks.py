"""The checks that a candidate passes, in order: each says no with a reason, or nothing.

What a check is near to is kept, so that a refusal can name the nearest miss.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from inferfleet.planning.accelerators import GIB, MIG_MARK
from inferfleet.planning.candidates import Candidate
from inferfleet.planning.memory import weights_bytes_per_gpu
from inferfleet.planning.quantization import unsupported_format
from inferfleet.planning.question import LEAST_BATCHED_TOKENS, Miss, Question, least_space
from inferfleet.values import Reason

_VOCABULARY_PADDING: Final = 64


def place_is_allowed(candidate: Candidate, question: Question) -> Miss | None:
    """The pool has an offer in the zones and under the price that the spec allows, of a kind it may buy."""
    wanted = question.spec.capacity
    offers = [
        offer for offer in candidate.pool.offers if not wanted.zones or offer.zone in {"", *wanted.zones}
    ]
    if not offers:
        return Miss(
            Reason("ZoneNotOffered", f"{candidate.pool.name} has no nodes in {', '.join(wanted.zones)}")
        )
    limit = wanted.max_dollars_per_gpu_hour
    if limit is not None and all(offer.price_dollars_per_gpu_hour > limit for offer in offers):
        price = min(offer.price_dollars_per_gpu_hour for offer in offers)
        return Miss(
            Reason(
                "TooExpensive", f"{candidate.pool.name} costs {price:.2f} $/GPU/h, the limit is {limit:.2f}"
            ),
            price / limit if limit else price,
        )
    return None


def format_is_supported(candidate: Candidate, question: Question) -> Miss | None:
    """The GPU can compute in, or at least unpack, the checkpoint's format; FP8 KV needs Ampere or later."""
    gpu = candidate.pool.accelerator
    reason = unsupported_format(question.model, gpu)
    if (
        reason is None
        and question.kv_cache_dtype.startswith("fp8")
        and (0, 0) < gpu.compute_capability < (8, 0)
    ):
        reason = Reason(
            "FormatUnsupported", f"an FP8 KV cache needs compute capability 8.0, {gpu.name} has less"
        )
    return Miss(reason) if reason else None


def gpus_are_there(candidate: Candidate, _question: Question) -> Miss | None:
    """Tensor (and data) parallelism stays inside a node; a replica over nodes fills each of them alike."""
    split, size = candidate.split, candidate.pool.gpus_per_node
    most = candidate.pool.max_nodes
    if most is not None and candidate.nodes > most:
        return Miss(
            Reason(
                "TooFewGpus", f"{split} takes {split.gpus} GPUs, {candidate.pool.name} has {most} x {size}"
            ),
            split.gpus / max(1, most * size),
        )
    if split.tensor * split.data > size:
        return Miss(
            Reason(
                "TensorParallelLeavesNode",
                f"{split} needs {split.tensor * split.data} GPUs in one node of {size}",
            ),
            split.tensor * split.data / size,
        )
    if split.gpus % candidate.nodes or (candidate.nodes > 1 and split.pipeline % candidate.nodes):
        return Miss(
            Reason("UnevenNodes", f"{split} does not divide evenly over {candidate.nodes} nodes of {size}")
        )
    return None


def experts_spread_as_asked(candidate: Candidate, question: Question) -> Miss | None:
    """Experts are spread over all tensor and data ranks, so these make the number that was asked for."""
    asked, gpus = question.spec.parallelism.expert_gpus, candidate.split.tensor * candidate.split.data
    if asked in {None, gpus} or not asked:
        return None
    reason = Reason("ExpertGpusDiffer", f"{candidate.split} spreads experts over {gpus} GPUs, not {asked}")
    return Miss(reason, max(asked / gpus, gpus / asked))


def gpus_can_talk(candidate: Candidate, _question: Question) -> Miss | None:
    """MIG instances have no peer access and share no collectives: one instance, one replica."""
    gpu, split = candidate.pool.accelerator, candidate.split
    if split.gpus > 1 and MIG_MARK in gpu.name:
        return Miss(
            Reason("NoInterconnect", f"{gpu.name} instances cannot work together on {split}"), split.gpus
        )
    return None


def data_parallel_makes_sense(candidate: Candidate, question: Question) -> Miss | None:
    """Dense models run data parallel as independent replicas; experts need a mixture of experts."""
    split = candidate.split
    if question.model.experts:
        return None
    if split.data > 1:
        return Miss(
            Reason(
                "DenseDataParallel",
                "data parallelism of a dense model is more replicas: set autoscaling instead",
            )
        )
    if split.expert:
        return Miss(Reason("NoExperts", f"{question.model.model_id} has no experts to run in parallel"))
    return None


def heads_divide(candidate: Candidate, question: Question) -> Miss | None:
    """Attention heads are a multiple of TP, and KV heads divide it or are divided by it."""
    model, tensor = question.model, candidate.split.tensor
    if model.attention_heads and model.attention_heads % tensor:
        return Miss(Reason("HeadsNotDivisible", f"{model.attention_heads} attention heads over TP{tensor}"))
    heads = {group.kv_heads for group in model.layer_groups if group.kv_heads}
    for kv in sorted(heads):
        if kv % tensor and tensor % kv:
            return Miss(Reason("HeadsNotDivisible", f"{kv} KV heads over TP{tensor}"))
    return None


def widths_divide(candidate: Candidate, question: Question) -> Miss | None:
    """The intermediate size and the padded vocabulary are multiples of TP."""
    model, split = question.model, candidate.split
    if any(group.mlp_parameters for group in model.layer_groups) and model.intermediate_size % split.tensor:
        return Miss(
            Reason("WidthNotDivisible", f"intermediate size {model.intermediate_size} over TP{split.tensor}")
        )
    vocabulary = ceil(model.vocab_size / _VOCABULARY_PADDING) * _VOCABULARY_PADDING
    if vocabulary % split.tensor:
        return Miss(Reason("WidthNotDivisible", f"padded vocabulary {vocabulary} over TP{split.tensor}"))
    return None


def experts_divide(candidate: Candidate, question: Question) -> Miss | None:
    """Experts spread evenly over the GPUs, by number or by width; width cuts no block of scales."""
    model, split = question.model, candidate.split
    if not model.experts:
        return None
    sharded = split.tensor * split.data
    if split.expert:
        if model.experts % sharded:
            return Miss(Reason("WidthNotDivisible", f"{model.experts} experts over EP{sharded}"))
        return None
    width, block = model.moe_intermediate_size, model.quantization_block or 1
    if width % sharded or (width // sharded) % block:
        return Miss(
            Reason(
                "WidthNotDivisible",
                f"experts of width {width} over {sharded} GPUs cut blocks of {block}: use expert parallelism",
            )
        )
    return None


def layers_are_enough(candidate: Candidate, question: Question) -> Miss | None:
    """Every pipeline stage has a layer."""
    stages, layers = candidate.split.pipeline, question.model.layers
    if stages > layers:
        return Miss(Reason("TooManyStages", f"PP{stages} for {layers} layers"))
    return None


def weights_fit(candidate: Candidate, question: Question) -> Miss | None:
    """Weights, working memory and runtime leave room for a KV cache."""
    space = least_space(candidate, question)
    if space > 0:
        return None
    weights = weights_bytes_per_gpu(question.model, candidate.split)
    memory = candidate.pool.accelerator.memory_bytes
    return Miss(
        Reason(
            "OutOfMemory",
            f"needs {-space / GIB:.1f} GiB more per GPU: {weights / GIB:.1f} GiB of weights, "
            f"{memory / GIB:.1f} GiB of memory",
        ),
        1 - space / memory,
    )


def context_fits(candidate: Candidate, question: Question) -> Miss | None:
    """One sequence of the stated context fits, or, with none stated, one request of the workload."""
    tokens = question.context_tokens or question.workload.prompt_tokens + question.workload.output_tokens
    space = least_space(candidate, question)
    budget = question.spec.engine.max_num_batched_tokens or LEAST_BATCHED_TOKENS
    in_flight = question.in_flight_tokens(candidate.split, budget)
    needed = question.cache(candidate.split).request_bytes(tokens, in_flight)
    if needed <= space:
        return None
    return Miss(
        Reason(
            "ContextDoesNotFit",
            f"{tokens} tokens of context take {needed / GIB:.1f} GiB of KV cache per GPU, "
            f"{space / GIB:.1f} GiB are left: {(needed - space) / GIB:.1f} GiB too little",
        ),
        needed / space,
    )


Check = Callable[[Candidate, Question], Miss | None]
CHECKS: Final[tuple[Check, ...]] = (
    place_is_allowed,
    format_is_supported,
    gpus_are_there,
    experts_spread_as_asked,
    gpus_can_talk,
    data_parallel_makes_sense,
    heads_divide,
    widths_divide,
    experts_divide,
    layers_are_enough,
    weights_fit,
    context_fits,
)


def first_miss(candidate: Candidate, question: Question) -> tuple[int, Miss] | None:
    """Return the position of the first check that says no, with what it says."""
    for position, check in enumerate(CHECKS):
        miss = check(candidate, question)
        if miss:
            return position, miss
    return None
