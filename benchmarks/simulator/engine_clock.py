"""Run a real engine on its own processor time: `PYTHON engine_clock.py MODEL LIMITS`, one JSON order a line.

The clock stands still between steps and advances by the processor time of each step, so that a busy machine
delays the answer and changes little in it. An order is a list of [at, prompt tokens, output tokens]; the
answer is what became of each, in no order, how many ran and waited after each step, and what each step took
for what. The API server takes no part.
"""

from __future__ import annotations

import json
import sys
import time
from random import Random
from typing import Any

from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.sampling_params import RequestOutputKind


class Bench:
    """One engine, and the instant at which its clock stands."""

    def __init__(self, model: str, limits: dict[str, Any]) -> None:
        self._engine = LLMEngine.from_engine_args(EngineArgs(model=model, **limits))
        self._rng = Random(1)
        self._count = 0
        self._scheduler = self._engine.engine_core.engine_core.scheduler
        self._schedule, self._scheduler.schedule = self._scheduler.schedule, self._plan
        self._planned = (0, 0, 0, 0.0)

    def _plan(self, *asked: Any, **named: Any) -> Any:
        """Let the scheduler plan a step; note its decodes, their context, its prompt tokens, and theirs."""
        made = self._schedule(*asked, **named)
        decodes = context = prompt = 0
        attended = 0.0
        for name, count in made.num_scheduled_tokens.items():
            request = self._scheduler.requests[name]
            before = request.num_computed_tokens - count
            if before >= request.num_prompt_tokens:
                decodes, context = decodes + 1, context + before
            else:
                prompt, attended = prompt + count, attended + count * (before + count / 2)
        self._planned = decodes, context, prompt, attended
        return made

    def serve(self, requests: list[tuple[float, int, int]]) -> dict[str, Any]:
        """Serve requests that come at their times; every prompt is of random tokens."""
        coming = sorted(enumerate(requests), key=lambda each: each[1][0])
        seen: dict[str, list[float]] = {}
        looks: list[tuple[float, int, int]] = []
        steps: list[tuple[float, int, int, int, float]] = []
        now, index, inside = 0.0, 0, 0
        while index < len(coming) or inside:
            if not inside:
                now = max(now, coming[index][1][0])
            while index < len(coming) and coming[index][1][0] <= now:
                place, (_, prompt, output) = coming[index]
                tokens = [self._rng.randint(3, 300) for _ in range(prompt)]
                wanted = SamplingParams(
                    max_tokens=output, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA
                )
                self._engine.add_request(f"{self._count}-{place}", {"prompt_token_ids": tokens}, wanted)
                index, inside = index + 1, inside + 1
            before = time.process_time()
            outputs = self._engine.step()
            spent = time.process_time() - before
            now += spent
            steps.append((spent, *self._planned))
            for each in outputs:
                name = each.request_id.partition("-")[2]
                seen.setdefault(name, [now, now])[1] = now
                inside -= each.finished
            looks.append((now, len(self._scheduler.running), len(self._scheduler.waiting)))
        self._count += 1
        ended = [[requests[int(name)][0], *times, requests[int(name)][2]] for name, times in seen.items()]
        return {"ended": ended, "looks": looks, "steps": steps}


def main() -> None:
    """Answer orders until there are no more."""
    said, sys.stdout = sys.stdout, sys.stderr
    bench = Bench(sys.argv[1], json.loads(sys.argv[2]))
    for order in sys.stdin:
        said.write(json.dumps(bench.serve([tuple(each) for each in json.loads(order)])) + "\n")
        said.flush()


if __name__ == "__main__":
    main()
