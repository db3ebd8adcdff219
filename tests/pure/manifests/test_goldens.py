"""Everything that is rendered, as files to be read: `pytest --snapshot-update` writes them anew."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from rendered import everything
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode


class YamlFile(SingleFileSnapshotExtension):
    """One YAML file per golden, as `kubectl apply -f` takes it."""

    _write_mode = WriteMode.TEXT
    file_extension = "yaml"

    def serialize(self, data: Any, **_: Any) -> str:
        return yaml.safe_dump_all(data, sort_keys=False, width=140)


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(YamlFile)


@pytest.mark.parametrize("name", everything())
def test_what_is_rendered_is_what_was_reviewed(name: str, golden: SnapshotAssertion) -> None:
    assert everything()[name] == golden


def test_rendering_twice_gives_the_same_bytes() -> None:
    first, second = (yaml.safe_dump(everything(), sort_keys=False) for _ in range(2))
    assert first == second
