# SPDX-License-Identifier: Apache-2.0
"""Prints a paragraph of debian/copyright for each Python package in a folder, from what its metadata says.

copyrights.py SITE_PACKAGES
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

_OURS = "xdplb"


def paragraphs(site: Path) -> Iterator[str]:
    """Yield the paragraph of each package but ours, by name."""
    found = {one.metadata["Name"]: one for one in distributions(path=[str(site)])}
    for name in sorted(found.keys() - {_OURS}, key=str.lower):
        yield _paragraph(found[name])


def _paragraph(package: Distribution) -> str:
    name, licence = package.metadata["Name"], _licence(package)
    installed = package.files or []
    folders = sorted({file.parts[0] for file in installed if len(file.parts) > 1 and file.parts[0] != ".."})
    files = [f"{folder}/*" for folder in folders] + sorted(
        file.parts[0] for file in installed if len(file.parts) == 1 and file.suffix in {".py", ".so"}
    )
    texts = sorted(str(file) for file in installed if ".dist-info/" in str(file) and "LICEN" in str(file).upper())
    where = (
        f"in {texts[0]}, in the same folder" if texts else f"at {package.metadata.get('Home-page') or _home(package)}"
    )
    return "\n".join(
        [
            f"Files: {' '.join(files)}",
            f"Copyright: the authors of {name} {package.version}",
            f"License: {licence} ({name})",
            f" The text of the licence is {where}.",
            "",
        ]
    )


def _licence(package: Distribution) -> str:
    fields = package.metadata
    if expression := fields.get("License-Expression"):
        return str(expression)
    for classifier in fields.get_all("Classifier") or []:
        if classifier.startswith("License :: "):
            return str(classifier.rpartition(" :: ")[2])
    return str(fields.get("License") or "unknown").splitlines()[0]


def _home(package: Distribution) -> str:
    urls = [line.partition(", ")[2] for line in package.metadata.get_all("Project-URL") or []]
    return str(package.metadata.get("Home-page") or (urls[0] if urls else "the project's site"))


if __name__ == "__main__":
    print("\n".join(paragraphs(Path(sys.argv[1]))), end="")
