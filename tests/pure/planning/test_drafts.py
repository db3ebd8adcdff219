"""Speculative decoding, where it pays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planning_cases import L8, L70, chosen, model, pool, spec

from inferfleet.planning import catalogue_facts, plan_layout
from inferfleet.planning.drafting import Draft
from inferfleet.values import EngineSpec, Layout, ParallelismSpec, SpeculativeSpec


def test_a_draft_that_is_not_modelled_is_said():
    draft = '{"model": "meta-llama/Llama-3.2-1B-Instruct", "num_speculative_tokens": 3}'
    for arguments, codes in (
        (("--speculative-config", draft), ["SpeculativeDecodingIgnored"]),
        ((f"--speculative-config={draft}",), ["SpeculativeDecodingIgnored"]),
        (("--enforce-eager",), []),
    ):
        asked = spec(engine=EngineSpec("image", args=arguments))
        layout = chosen(plan_layout(model(L8), [pool("H100")], asked))
        assert [warning.code for warning in layout.warnings] == codes


DRAFT = SpeculativeSpec("meta-llama/Llama-3.2-1B-Instruct", tokens=4, acceptance=0.85)


@pytest.mark.parametrize(
    ("max_num_seqs", "draft", "used", "codes"),
    [
        # few sequences leave arithmetic to spare for checking guesses; a full batch does not
        (8, DRAFT, True, set()),
        (None, DRAFT, False, {"DraftNotUsed"}),
        (8, replace(DRAFT, acceptance=0.05), False, {"DraftNotUsed"}),
        (8, replace(DRAFT, model="nobody/recorded-this"), False, {"DraftNotRecorded"}),
    ],
)
def test_a_draft_is_used_only_where_it_is_cheaper_and_said_otherwise(
    max_num_seqs: int | None,
    draft: SpeculativeSpec,
    used: bool,
    codes: set[str],
):
    def layout(speculative: SpeculativeSpec | None) -> Layout:
        engine = EngineSpec("image", max_num_seqs=max_num_seqs, speculative=speculative)
        asked = spec(engine=engine, ttft=1.0, itl=0.06, context=8192)
        return chosen(plan_layout(model(L70), [pool("H100")], asked))

    plain, drafted = layout(None), layout(draft)
    assert (drafted.draft, drafted.draft_tokens) == ((DRAFT.model, 4) if used else (None, 0))
    assert {warning.code for warning in drafted.warnings} == codes
    gain = drafted.prediction.tokens_per_second / drafted.gpus_per_replica
    gain /= plain.prediction.tokens_per_second / plain.gpus_per_replica
    assert gain > 1.5 if used else gain == 1


def test_a_draft_takes_memory_of_the_cache():
    parallelism = ParallelismSpec(tensor=4)
    engine = EngineSpec("image", max_num_seqs=8, max_num_batched_tokens=2048)
    plain = chosen(plan_layout(model(L70), [pool("H100")], spec(engine=engine, parallelism=parallelism)))
    engine = replace(engine, speculative=DRAFT)
    drafted = chosen(plan_layout(model(L70), [pool("H100")], spec(engine=engine, parallelism=parallelism)))
    # 16 layers of 8 heads of 64 beside 80 of 8 of 128: a tenth more per token
    assert drafted.kv_cache_tokens < plain.kv_cache_tokens / 1.1


def test_the_tokens_of_a_step_are_those_of_the_paper():
    model = catalogue_facts("meta-llama/Llama-3.2-1B-Instruct")
    assert model
    # Leviathan et al. 2023, figure 2: 3 guesses right in 8 of 10 give 2.95 tokens a step
    assert Draft(model, 3, 0.8).expected_tokens == pytest.approx(2.952)
