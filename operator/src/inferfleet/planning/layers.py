"""Sort a model's layers into groups of one shape: mixer and MLP together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from inferfleet.planning.config_reader import number
from inferfleet.planning.mixers import mixer_shape, mixers
from inferfleet.values import LayerGroup

# families whose MLP has no gate: two matrices instead of three
_UNGATED: Final = frozenset(
    {
        "bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "mpt", "nemotron", "nemotron_h", "opt",
        "persimmon", "phi", "starcoder2",
    }
)  # fmt: skip


def read_layers(config: Mapping[str, Any]) -> tuple[LayerGroup, ...]:
    """Return the layers by shape, in the order in which a shape first appears."""
    kinds = mixers(config)
    pattern = config.get("hybrid_override_pattern")
    shapes = Counter(
        (kind, _mlp(config, index, letter=pattern[index] if isinstance(pattern, str) else ""))
        for index, kind in enumerate(kinds)
    )
    return tuple(
        replace(
            mixer_shape(config, kind),
            layers=count,
            mlp_parameters=mlp[0],
            expert_parameters=mlp[1],
            active_expert_parameters=mlp[2],
        )
        for (kind, mlp), count in shapes.items()
    )


def experts(config: Mapping[str, Any]) -> int:
    """Return the routed experts per layer, 0 for a dense model."""
    return number(config, "experts", 0)


def expert_width(config: Mapping[str, Any]) -> int:
    """Return the intermediate size of one expert, which some families call just `intermediate_size`."""
    return number(config, "expert_intermediate", 0) or number(config, "intermediate")


def _mlp(config: Mapping[str, Any], index: int, *, letter: str) -> tuple[int, int, int]:
    """Parameters of one layer's MLP: passed by every token, routed in all, routed and active."""
    if letter in {"M", "*"} or str(config.get("model_type")) in {"mamba", "mamba2", "falcon_mamba"}:
        return 0, 0, 0
    hidden = number(config, "hidden_size")
    matrices = 2 if str(config.get("model_type")) in _UNGATED else 3
    if (letter == "E") if letter else _is_sparse(config, index):
        count, width = experts(config), expert_width(config)
        each = matrices * hidden * width
        shared = matrices * hidden * _shared_width(config, width)
        return shared + hidden * count, each * count, each * number(config, "experts_per_token", 1)
    width = number(config, "intermediate_size_mlp", 0) or number(config, "intermediate", 4 * hidden)
    return matrices * hidden * width, 0, 0


def _shared_width(config: Mapping[str, Any], expert: int) -> int:
    for key in (
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
    ):
        if config.get(key):
            return number(config, key)
    if str(config.get("model_type")).startswith("llama4"):
        return expert
    for key in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"):
        if config.get(key):
            return expert * number(config, key)
    return 0


def _is_sparse(config: Mapping[str, Any], index: int) -> bool:  # noqa: PLR0911 - a table of cases
    """True where layer `index` has experts, by the rule that its family uses."""
    if experts(config) < 2:  # noqa: PLR2004 - a single expert is an MLP
        return False
    listed = config.get("moe_layers")
    if isinstance(listed, list):
        return index in listed
    frequency = config.get("moe_layer_freq")
    if isinstance(frequency, list):
        return bool(frequency[index])
    if index in (config.get("mlp_only_layers") or ()):
        return False
    types = config.get("mlp_layer_types")
    if isinstance(types, list):
        return str(types[index]) in {"sparse", "moe"}
    if config.get("expert_layer_period"):
        return index % number(config, "expert_layer_period") == number(config, "expert_layer_offset", 0)
    first = number(config, "first_k_dense_replace", number(config, "moe_layer_start_index", 0))
    if index < first:
        return False
    step = 1
    for key in ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval"):
        step = number(config, key, step)
    return step > 0 and (index + 1) % step == 0
