# SPDX-License-Identifier: Apache-2.0
"""What mkdocs is told beyond mkdocs.yml: README.md is the first page, and links that leave docs/ are put right."""

from __future__ import annotations

import os.path
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_TIGHT_LIST = re.compile(r"^((?![-*|>#]|\d+\. |    | {1,3}[-*] )\S.*\n)(?=(?:[-*]|\d+\.) )", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README as the first page, as if it were in docs/."""
    root = Path(config.config_file_path).parent
    text = _LINK.sub(lambda link: _moved(link, root, root / "docs"), (root / "README.md").read_text("utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page for mkdocs: lists need a blank line before them there, and a link must not leave docs/."""
    root = Path(config.config_file_path).parent
    folder = root / "docs" / Path(page.file.src_uri).parent
    there = {file.src_uri for file in files}

    def inside(link: re.Match[str]) -> str:
        target = os.path.normpath(folder / link[3])
        if target == str(root / "README.md"):
            return f"[{link[2]}]({os.path.relpath(root / 'docs' / 'index.md', folder)}{link[4] or ''})"
        if os.path.relpath(target, root / "docs").replace(os.sep, "/") in there:
            return link[0]
        return link[2] if link[1] == "" else link[0]  # a file of the repository: only its words

    return _TIGHT_LIST.sub(r"\1\n", _LINK.sub(inside, markdown))


def _moved(link: re.Match[str], old: Path, new: Path) -> str:
    """Return a link of a page that stands in another folder now."""
    target = os.path.relpath(os.path.normpath(old / link[3]), new)
    return f"{link[1]}[{link[2]}]({target}{link[4] or ''})"
