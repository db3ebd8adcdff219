"""Turn a candidate that passed the checks into a layout with engine limits and a prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from inferfleet.planning.accelerators import GIB
from inferfleet.planning.candidates import Candidate
from inferfleet.planning.drafting import Draft
from inferfleet.planning.memory import weights_bytes_per_gpu
from inferfleet.planning.operate import OperatingPoint, operate, pooling
from inferfleet.planning.prices import price_per_gpu_hour
from inferfleet.planning.question import LEAST_BATCHED_TOKENS, Miss, Question, space_bytes
from inferfleet.planning.speed import StepModel, step_model
from inferfleet.planning.split import Split
from inferfleet.values import Layout, ModelFacts, Prediction, Reason

# budgets of a step: below 512 chunks starve, above 16384 activations eat the cache
_BUDGETS: Final = (LEAST_BATCHED_TOKENS, 1024, 2048, 4096, 8192, 16384)
_STARVED: Final = Reason(
    "StepBudgetTooSmall", "prompts need more tokens per step than max_num_batched_tokens leaves them"
)
_STARVED_DISTANCE: Final = 1e9
# the engine's own defaults: 1024 sequences on GPUs of 70 GiB and more, else 256
_MANY_SEQUENCES, _SEQUENCES, _LARGE_GPU_BYTES = 1024, 256, 70 * GIB
# vLLM's --speculative-config, its short form, and the separate flags of older versions
_SPECULATIVE: Final = ("--speculative", "-sc")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A layout, and why it does not do (None where it does)."""

    candidate: Candidate
    layout: Layout
    dollars_per_token: float
    miss: Miss | None = None

    @property
    def gpu_seconds_per_token(self) -> float:
        """What ranks where no price is known."""
        rate = self.layout.prediction.tokens_per_second
        return self.layout.gpus_per_replica / rate if rate else inf


@dataclass(frozen=True, slots=True)
class _Trial:
    """One step budget: where the replica would operate under it, and what that misses."""

    budget: int
    slots: int
    point: OperatingPoint
    miss: Miss | None

    @property
    def merit(self) -> tuple[bool, float, float]:
        """Sorts the better trial later: objectives met, then the smaller miss, then more tokens."""
        distance = self.miss.distance if self.miss else 0.0
        return self.miss is None, -distance, self.point.tokens_per_second


def evaluate(candidate: Candidate, question: Question) -> Outcome:
    """Try every step budget, keep the one with the most tokens per second within the objectives.

    A draft is kept only where the layout meets the objectives with it and makes more tokens than without.
    """
    plain = replace(question, draft=None)
    # never empty: the checks left room for a request under the smallest budget
    trial = max(_trials(candidate, plain), key=lambda trial: trial.merit)
    if question.draft is None:
        return _outcome(candidate, plain, trial)
    # the engine drafts on a single pipeline stage only
    trials = _trials(candidate, question) if candidate.split.pipeline == 1 else []
    drafted = max(trials, key=lambda trial: trial.merit, default=None)
    if drafted and drafted.miss is None and drafted.merit > trial.merit:
        return _outcome(candidate, question, drafted)
    outcome = _outcome(candidate, plain, trial)
    why = _draft_left_out(question.draft, trial, drafted)
    return replace(outcome, layout=replace(outcome.layout, warnings=(*outcome.layout.warnings, why)))


def _draft_left_out(draft: Draft, plain: _Trial, drafted: _Trial | None) -> Reason:
    """Why a layout decodes without the draft that was named."""
    name = f"{draft.model.model_id} with {draft.tokens} tokens ahead"
    if drafted is None:
        return Reason("DraftNotUsed", f"{name} does not fit, or the layout is a pipeline")
    if drafted.miss:
        return Reason("DraftNotUsed", f"{name}: {drafted.miss.reason.message}")
    rates = f"{drafted.point.tokens_per_second:.0f} tokens/s per replica against "
    return Reason("DraftNotUsed", f"{name}: {rates}{plain.point.tokens_per_second:.0f} without it")


def _trials(candidate: Candidate, question: Question) -> list[_Trial]:
    engine = question.spec.engine
    step = _step(candidate, question)
    budgets = (engine.max_num_batched_tokens,) if engine.max_num_batched_tokens else _BUDGETS
    return [trial for budget in budgets if (trial := _try(candidate, question, step, budget))]


def _step(candidate: Candidate, question: Question) -> StepModel:
    def timed(model: ModelFacts, split: Split) -> StepModel:
        return step_model(
            model,
            candidate.pool.accelerator,
            split,
            gpus_per_node=candidate.pool.gpus_per_node,
            kv_cache_dtype=question.kv_cache_dtype,
        )

    step, draft = timed(question.model, candidate.split), question.draft
    return draft.speeds(step, timed(draft.model, Split(candidate.split.tensor))) if draft else step


def _try(candidate: Candidate, question: Question, step: StepModel, budget: int) -> _Trial | None:
    """Operate under one budget; None where its working memory leaves no room for a request."""
    limit = question.spec.engine.max_num_seqs or (
        _MANY_SEQUENCES if candidate.pool.accelerator.memory_bytes >= _LARGE_GPU_BYTES else _SEQUENCES
    )
    slots = _slots(candidate, question, budget, min(limit, budget // step.verified))
    if slots < 1:
        return None
    point = operate(step, question.workload, question.spec.objectives, slots=slots, batched_tokens=budget)
    return _Trial(budget, slots, point, _missed_objective(point, question))


def _outcome(candidate: Candidate, question: Question, trial: _Trial) -> Outcome:
    point, ranks = trial.point, candidate.split.data
    sequences = question.spec.engine.max_num_seqs or min(trial.slots, point.peak)
    space = space_bytes(candidate, question, trial.budget, sequences)
    length = question.context_tokens or _longest(candidate, question, trial.budget, space)
    cache = question.cache(candidate.split)
    in_flight = question.in_flight_tokens(candidate.split, trial.budget)
    tokens = cache.capacity_tokens(space, length, in_flight) or length * sequences
    price = price_per_gpu_hour(candidate, question.spec) * candidate.split.gpus / 3600
    # what misses the objectives has its best latencies, and neither speed nor cost at them
    rate = 0.0 if trial.miss else point.tokens_per_second
    cost = price / rate if rate else inf
    layout = replace(
        _layout(candidate, question, trial.budget, sequences, length),
        kv_cache_tokens=tokens * ranks,
        draft=question.draft.model.model_id if question.draft else None,
        draft_tokens=question.draft.tokens if question.draft else 0,
        prediction=Prediction(
            ttft_seconds=point.ttft_seconds,
            itl_seconds=point.itl_seconds,
            tokens_per_second=rate,
            prompt_tokens_per_second=0.0 if trial.miss else point.prompt_tokens_per_second,
            concurrency=0 if trial.miss else trial.slots * ranks,
            dollars_per_million_tokens=0.0 if cost == inf else cost * 1e6,
            pooling=1.0 if trial.miss else _pooling(candidate, question, trial, sequences),
        ),
    )
    return Outcome(candidate, layout, cost, trial.miss)


def _pooling(candidate: Candidate, question: Question, trial: _Trial, sequences: int) -> float:
    return pooling(
        trial.point,
        _step(candidate, question),
        question.workload,
        question.spec.objectives,
        slots=min(trial.slots, sequences),
        batched_tokens=trial.budget,
    )


def _slots(candidate: Candidate, question: Question, budget: int, limit: int) -> int:
    """Requests of the workload's full length that run at once: by KV space, and by `limit`.

    More sequences take more memory for their logits, so the limit is first set low, then raised to what fits.
    """
    workload = question.workload
    tokens = workload.prompt_tokens + workload.output_tokens
    each = question.cache(candidate.split).request_bytes(tokens)
    asked = question.spec.engine.max_num_seqs
    if not each:
        return limit
    fitting = max(0, space_bytes(candidate, question, budget, asked or 1)) // each
    slots = min(limit, fitting)
    if asked or slots <= 1:
        return slots
    return min(slots, max(1, max(0, space_bytes(candidate, question, budget, slots)) // each))


def _longest(candidate: Candidate, question: Question, budget: int, space: int) -> int:
    """The model's own context length, or as much of it as one sequence may take of the KV space."""
    most = question.model.max_context_tokens
    workload = question.workload.prompt_tokens + question.workload.output_tokens
    low, high = min(workload, most), most
    cache = question.cache(candidate.split)
    in_flight = question.in_flight_tokens(candidate.split, budget)

    def fits(tokens: int) -> bool:
        return cache.request_bytes(tokens, in_flight) <= space

    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def sketch(candidate: Candidate, question: Question) -> Layout:
    """Return what is known of a candidate that failed a check: its split and weights, no prediction."""
    engine = question.spec.engine
    return _layout(
        candidate,
        question,
        engine.max_num_batched_tokens or 0,
        engine.max_num_seqs or 0,
        question.context_tokens or 0,
    )


def _layout(candidate: Candidate, question: Question, budget: int, sequences: int, length: int) -> Layout:
    split, model = candidate.split, question.model
    return Layout(
        pool=candidate.pool.name,
        accelerator=candidate.pool.accelerator.name,
        tensor_parallel=split.tensor,
        pipeline_parallel=split.pipeline,
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=budget,
        gpu_memory_utilization=question.spec.engine.gpu_memory_utilization,
        weights_bytes_per_gpu=weights_bytes_per_gpu(model, split),
        kv_cache_tokens=0,
        prediction=Prediction(0.0, 0.0, 0.0, 0.0, 0, 0.0),
        data_parallel=split.data,
        expert_parallel=split.expert,
        nodes_per_replica=candidate.nodes,
        quantization=question.spec.engine.quantization or model.quantization,
        kv_cache_dtype=question.kv_cache_dtype,
        dtype="half" if _lacks_bfloat16(candidate, question) else "auto",
        warnings=_warnings(candidate, question, length),
    )


def _lacks_bfloat16(candidate: Candidate, question: Question) -> bool:
    """True where the engine would refuse to start with the checkpoint's own type (Turing, Volta)."""
    gpu = candidate.pool.accelerator
    return gpu.known and not gpu.bf16_flops and question.model.dtype == "bfloat16"


def _warnings(candidate: Candidate, question: Question, length: int) -> tuple[Reason, ...]:
    gpu, found = candidate.pool.accelerator, list(question.model.warnings)
    if not gpu.known:
        found.append(
            Reason(
                "UnknownAccelerator",
                f"{gpu.name} is in no table: only its {gpu.memory_bytes / GIB:.0f} GiB are certain, its "
                "speed is a cautious guess; state it in a GPUPool",
            )
        )
    if question.context_tokens is None and 0 < length < question.model.max_context_tokens:
        found.append(
            Reason(
                "ContextReduced",
                f"context limited to {length} of the model's {question.model.max_context_tokens} tokens: "
                "no more fits one GPU's KV cache; state model.contextLength to insist",
            )
        )
    have = candidate.pool.nodes
    if candidate.pool.max_nodes is None and candidate.nodes > max(1, have):
        found.append(
            Reason(
                "NodesNotThere",
                f"a replica takes {candidate.nodes} nodes, {candidate.pool.name} has {have}: an autoscaler "
                "has to bring the rest; state maxNodes in a GPUPool to plan within a limit",
            )
        )
    if _lacks_bfloat16(candidate, question):
        found.append(Reason("HalfPrecision", f"{gpu.name} has no bfloat16: served as float16"))
    if any(argument.startswith(_SPECULATIVE) for argument in question.spec.engine.args):
        found.append(
            Reason(
                "SpeculativeDecodingIgnored",
                "the draft that engine.args names is counted neither in memory nor in speed: name it in "
                "engine.speculative, or leave it room with engine.gpuMemoryUtilization",
            )
        )
    return tuple(found)


def _missed_objective(point: OperatingPoint, question: Question) -> Miss | None:
    wanted = question.spec.objectives
    if point.ttft_seconds == inf:
        return Miss(_STARVED, _STARVED_DISTANCE)
    at = f"p{wanted.percentile:g}"
    for code, name, value, bound in (
        ("TimeToFirstTokenMissed", "time to first token", point.ttft_seconds, wanted.ttft_seconds),
        ("InterTokenLatencyMissed", "inter-token latency", point.itl_seconds, wanted.itl_seconds),
    ):
        if bound is not None and value > bound:
            text = (
                f"{at} {name} is {value * 1e3:.0f} ms even on an idle replica, asked for {bound * 1e3:.0f} ms"
            )
            return Miss(Reason(code, text), value / bound if bound else inf)
    return None
