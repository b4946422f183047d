# SPDX-License-Identifier: Apache-2.0
"""Files of JSON in which `backend-host` keeps what it did on this host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xdplb.placed_file import place
from xdplb.private_files import FILE_MODE, FOLDER_MODE, make_folder, require_trusted

__all__ = ["write_json"]


def write_json(path: Path, value: Any) -> None:
    """Replace the file in one step, so that a crash leaves the old or the new one, never a part.

    Raises PlatformError if another user could write it: it says what a later command undoes as root.
    """
    require_trusted(path.parent, str(path))
    make_folder(path.parent, FOLDER_MODE)
    place(path, json.dumps(value, indent=1).encode(), mode=FILE_MODE, overwrite=True)
