"""What the container grants of the machine: Linux control groups, versions 1 and 2.

A container sees all processors and all memory of its host; what it may use of them stands in files. The limits of every
group above count too. Read anew at each call, for a limit may be changed while the container runs.

What cannot be read or parsed is no limit: these files bound threads and foresee memory, which are hints (the kernel
keeps its limits whatever is read here), and a sandbox that hides them must not keep anybody from predicting.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# Version 1 says "no limit" by the greatest multiple of a page below 2^63.
_UNLIMITED = 1 << 60


def cpu_quota(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """Processors' worth of time that this process and its group get, None without a limit.

    Args:
        root: where control groups are mounted.
        membership: the file that says which groups this process is in.
    """
    found = []
    for group in _groups("", root, membership):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            found.append(int(quota) / int(period))
    for group in _groups("cpu", root, membership):
        quota, period = (_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period):  # the quota is -1 where there is none
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that this process and its group may hold, None without a limit; arguments as of `cpu_quota`."""
    return min((limit for _, limit in _memory_limits(root, membership)), default=None)


def memory_left(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes still free under the tightest limit, None without one; arguments as of `cpu_quota`.

    Cached files count as used in a group, but the kernel drops the inactive ones before it kills anybody.
    """
    found = []
    for group, limit in _memory_limits(root, membership):
        used = _text(group / "memory.current") or _text(group / "memory.usage_in_bytes")
        facts = dict(line.partition(" ")[::2] for line in _text(group / "memory.stat").splitlines())
        cached = _number(facts.get("total_inactive_file") or facts.get("inactive_file"))  # total_: version 1
        found.append(max(0, limit - max(0, _number(used) - cached)))
    return min(found, default=None)


def _memory_limits(root: Path, membership: Path) -> Iterator[tuple[Path, int]]:
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for group in _groups(controller, root, membership):
            text = _text(group / name)
            if text.isdigit() and int(text) < _UNLIMITED:  # version 2 says "max" where there is none
                yield group, int(text)


def _groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """The group of this process and those above; controller "" is version 2, whose one hierarchy holds all of them."""
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if not colon or controller not in names.split(","):
            continue
        for mount in [root / controller, root / names] if names else [root / "unified", root]:
            if not _is_dir(mount):
                continue
            # Without a namespace of its own a container is told a path of the host, which is not there.
            group = mount / path.lstrip("/")
            yield from (place for place in (group, *group.parents) if place.is_relative_to(mount) and _is_dir(place))
            return


def _text(path: Path) -> str:
    """A file's text, "" where the kernel has no such file or does not let it be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):  # a hint less; see above
        return ""


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # inside a directory that may not be searched
        return False


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
