"""Step times in closed form, so that a simulated engine jumps from one event to the next.

With a fixed batch a decode step is linear in the summed context, and each step adds one token to each
sequence: so many steps take a quadratic time, and its inverse is a square root.
"""

from __future__ import annotations

from math import sqrt

from inferfleet.planning.speed import StepModel


class StepTimes:
    """The times of one replica's steps. A step is one token for each sequence, through all stages.

    `prompt_step_seconds` is how much longer a step takes because it carries any prompt beside decodes: new
    requests enter the batch, and attention runs in two parts. The planner's model knows no such part.
    """

    def __init__(self, step: StepModel, prompt_step_seconds: float = 0.0) -> None:
        """Take the coefficients that depend on nothing; batches are added as they are met."""
        self._step = step
        self._prompt_step_seconds = prompt_step_seconds
        self._stages = step.stages
        self._lanes = step.stages * step.ranks
        self._windows = step.window_seconds
        self._by_batch: list[float] = []
        self.slope = step.context_seconds_per_token / step.ranks
        """Seconds per step for each token of context, over all sequences."""

    def base(self, batch: int, context: int) -> float:
        """Seconds of a decode step of `batch` sequences, without what grows with the summed `context`.

        Attention to a window stops growing once the window is full: its time is held over the jump.
        """
        known = self._by_batch
        while len(known) <= batch:
            known.append(self._cycle(len(known), 0.0, 0.0, 0.0))
        if not self._windows:
            return known[batch]
        mean = context / batch if batch else 0.0
        each = sum(min(mean, window) * seconds for window, seconds in self._windows)
        return known[batch] + batch * each / self._step.ranks

    def mixed(self, batch: int, context: int, prompt_tokens: float, prompt_context: float) -> float:
        """Seconds of a step that also computes `prompt_tokens`, after `prompt_context` others on average."""
        mean = context / batch if batch else 0.0
        extra = self._prompt_step_seconds if batch else 0.0
        return extra + self._cycle(batch, mean, prompt_tokens, prompt_context)

    def seconds_of(self, steps: float, base: float, batch: int, context: int) -> float:
        """Time of so many decode steps of the same batch, from a summed `context` on."""
        return steps * (base + self.slope * (context + batch * (steps - 1) / 2))

    def steps_in(self, seconds: float, base: float, batch: int, context: int) -> float:
        """How many decode steps that time is: the inverse of `seconds_of`."""
        linear = base + self.slope * (context - batch / 2)
        return 2 * seconds / (linear + sqrt(linear * linear + 2 * self.slope * batch * seconds))

    def _cycle(self, batch: int, context: float, prompt_tokens: float, prompt_context: float) -> float:
        """One step through all stages: one of the micro-batches in flight carries the prompts."""
        step, share = self._step, batch / self._lanes
        prompts = prompt_tokens / step.ranks
        seconds = step.stage_seconds(share, prompts, context, prompt_context)
        if self._stages > 1:
            seconds += (self._stages - 1) * step.stage_seconds(share, 0.0, context, 0.0)
            seconds += step.hops_seconds(share + prompts)
        return seconds
