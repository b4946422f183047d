"""Files of JSON in which `backend-host` keeps what it did on this host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from xdplb.private_files import FOLDER_MODE, make_folder, open_private, require_trusted

__all__ = ["write_json"]


def write_json(path: Path, value: Any) -> None:
    """Replace the file in one step, so that a crash leaves the old or the new one, never a part.

    Raises PlatformError if another user could write it: it says what a later command undoes as root.
    """
    require_trusted(path.parent, str(path))
    make_folder(path.parent, FOLDER_MODE)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
