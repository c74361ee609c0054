"""Names from a configuration as places on the disk that stay where they belong."""

from __future__ import annotations

import re
from pathlib import Path

from regimeflow.errors import ConfigError

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
#: Windows opens a device whatever the ending and the folder.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def under(root: Path, name: str, what: str) -> Path:
    """Return the place that a name has under a root.

    Args:
        root: the folder it must stay in.
        name: a relative path.
        what: the key it came from, for messages.

    Raises:
        ConfigError: it leads out of the root, or through a symbolic link.
    """
    if not name or _UNPRINTABLE.search(name):
        raise ConfigError(f"{what} must be a name, not {name!r}")
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    if re.match(r"[/\\~]|[A-Za-z]:", name) or ".." in parts:
        raise ConfigError(f"{what} must stay under {root}: {name!r} leads out of it")
    place = root
    for part in parts:
        if _DEVICES.fullmatch(part) or part != part.rstrip(" ."):
            raise ConfigError(f"{what}: {part!r} is not the name of a file everywhere")
        place = place / part
        if place.is_symlink():
            raise ConfigError(f"{what}: {place} is a symbolic link, which is not followed")
    return place


def root_of(name: str, what: str) -> Path:
    """Return a folder of the user's own choice; a NUL or the like is refused."""
    if _UNPRINTABLE.search(name):
        raise ConfigError(f"{what} must be the name of a folder, not {name!r}")
    return Path(name).expanduser()
