"""What took long to work out of a run's files, kept as long as those files are as they were."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

MOST = 24


class Kept:
    """Safe to use from several threads; two that ask for the same at once may both work it out."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[object, Any]] = OrderedDict()

    def of(self, what: str, folder: Path, names: Iterable[str], make: Callable[[], T]) -> T:
        """`make()`, or what it gave before while the files `names` of the folder were as they are now. A name that ends
        with `/` stands for all files below it."""
        key, sign = (what, str(folder)), tuple(_signs(folder, names))
        with self._lock:
            before = self._kept.get(key)
            if before is not None and before[0] == sign:
                self._kept.move_to_end(key)
                return cast("T", before[1])
        made = make()
        with self._lock:
            self._kept[key] = (sign, made)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def _signs(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for name in names:
        below = sorted((folder / name).rglob("*")) if name.endswith("/") else [folder / name]
        for path in below:
            try:
                found = path.stat()
            except OSError:
                continue
            yield str(path), found.st_size, found.st_mtime_ns
