"""Pack the worker into one file that any Python from 3.10 on runs and imports from: `build.py [TARGET]`.

The archive is the same bytes for the same sources (dates are fixed), so image layers that hold it are cached.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "src"
PACKAGES = ("inferfleet_wire", "inferfleet_worker")
SHEBANG = b"#!/usr/bin/env python3\n"
START = "from inferfleet_worker.__main__ import main\nmain()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> Path:
    """Write the zipapp to `target`; as `zipapp -m inferfleet_worker.__main__:main` would."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_entry("__main__.py"), START)
            for package in PACKAGES:
                for source in sorted((SOURCES / package).rglob("*.py")):
                    archive.writestr(_entry(source.relative_to(SOURCES).as_posix()), source.read_bytes())
    target.chmod(0o755)
    return target


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=Path("dist/worker.pyz"))
    print(build(parser.parse_args().target))
