"""The quickstart is one file that `kubectl apply -f` takes, so it carries a copy of the script it runs."""

from __future__ import annotations

import textwrap

BEGIN = "  make_model.py: |\n"
END = "\n---\n"


def with_script(manifest: str, script: str) -> str:
    """Return the manifest with the current script in its ConfigMap."""
    head, rest = manifest.split(BEGIN, 1)
    _, tail = f"\n{rest}".split(END, 1)
    return head + BEGIN + textwrap.indent(script, "    ").rstrip("\n") + END + tail
