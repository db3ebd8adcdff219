"""Writes every generated file of the repository, or with --check says which ones are not current.

The models in `inferfleet.api` are the source of the custom resource definitions, of their copies in the chart
and of the API reference; `values.yaml` of the chart is the source of its schema and README; the example's
script is the source of its copy in the quickstart.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from chart_values import readme, values_schema
from quickstart import with_script
from reference import api_reference

from inferfleet.api.crd import definitions

ROOT = Path(__file__).resolve().parents[2]
CHART = Path("charts/inferfleet")
NOTE = "# Generated from operator/src/inferfleet/api by `make gen`; do not edit.\n"


def generated() -> dict[Path, str]:
    """Return all generated files by their path in the repository."""
    crds = definitions()
    values = (ROOT / CHART / "values.yaml").read_text()
    chart = yaml.safe_load((ROOT / CHART / "Chart.yaml").read_text())
    quickstart = Path("examples/quickstart.yaml")
    script = (ROOT / "examples/tiny-model/make_model.py").read_text()
    return {
        **{Path("crds") / file_name(crd): NOTE + dump(crd) for crd in crds},
        **{CHART / "templates/crds" / file_name(crd): chart_template(crd) for crd in crds},
        CHART / "values.schema.json": json.dumps(values_schema(values), indent=2) + "\n",
        CHART / "README.md": readme(values, chart),
        Path("docs/api-reference.md"): api_reference(crds),
        quickstart: with_script((ROOT / quickstart).read_text(), script),
    }


def file_name(crd: dict[str, Any]) -> str:
    """Return the usual file name of a definition."""
    return f"{crd['spec']['group']}_{crd['spec']['names']['plural']}.yaml"


def dump(document: dict[str, Any]) -> str:
    """Return YAML that reads like one written by hand."""
    return yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def chart_template(crd: dict[str, Any]) -> str:
    """Return the definition as a template that `crds.install` and `crds.keep` govern."""
    body = dump(crd)
    metadata = "metadata:\n"
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    head, rest = body.split(metadata, 1)
    return f"{NOTE}{{{{- if .Values.crds.install }}}}\n{head}{metadata}{keep}{rest}{{{{- end }}}}\n"


def main() -> int:
    """Write, or check and fail with the list of stale files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    check = parser.parse_args().check
    files = generated()
    stale = [
        path
        for path, text in files.items()
        if not (ROOT / path).exists() or (ROOT / path).read_text() != text
    ]
    if not check:
        for path in stale:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path])
            print(f"wrote {path}")
        return 0
    for path in stale:
        print(f"{path} is not current: run `make gen`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
