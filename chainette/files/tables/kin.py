"""The items that rows are of, by their ids: a row's own, those it was made from and those made from it.

Ids that are numbers are bits; of others 64 bits of a hash are kept, so two of many millions may be taken for one.
"""

from __future__ import annotations

import threading
from array import array
from hashlib import blake2b
from typing import Any

from chainette.files.tables.parts import Block, Lines
from chainette.rows import made_from

_HEAD = b'{"_id":"'


class _Ids:
    def __init__(self) -> None:
        self._bits = bytearray()
        self._hashes = array("Q")
        self._sorted: Any = None

    def add(self, id: str) -> None:
        if id.isdecimal() and id.isascii() and len(id) < 10 and (id == "0" or id[0] != "0"):
            byte, bit = divmod(int(id), 8)
            if byte >= len(self._bits):
                self._bits.extend(bytes(byte + 1 - len(self._bits) + (len(self._bits) >> 1)))
            self._bits[byte] |= 1 << bit
        else:
            self._hashes.append(_hash(id))

    def close(self) -> None:
        import numpy as np

        self._sorted = np.unique(np.frombuffer(self._hashes, np.uint64)) if self._hashes else None

    def __contains__(self, id: str) -> bool:
        if id.isdecimal() and id.isascii() and len(id) < 10 and (id == "0" or id[0] != "0"):
            byte, bit = divmod(int(id), 8)
            return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)
        if self._sorted is None:
            return False
        wanted = _hash(id)
        at = self._sorted.searchsorted(wanted)
        return bool(at < len(self._sorted) and self._sorted[at] == wanted)


def _hash(id: str) -> int:
    return int.from_bytes(blake2b(id.encode("utf-8", "replace"), digest_size=8).digest(), "little")


class Kindred:
    """The ids of the rows of one table that meet a query; then which rows of another are of the same items."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = _Ids()
        self._above = _Ids()
        self._is_closed = False

    def add(self, block: Block, hits: Any) -> None:
        ids = ids_of(block, hits)
        with self._lock:
            for id in ids:
                self._own.add(id)
                if "." in id:
                    for above in made_from(id):
                        self._above.add(above)

    def close(self) -> None:
        """All were added."""
        if not self._is_closed:
            self._own.close()
            self._above.close()
            self._is_closed = True

    def keep(self, block: Block, hits: Any) -> Any:
        """Those of the block's rows that are of the items."""
        import numpy as np

        kept = [number for number, id in zip(hits, ids_of(block, hits), strict=True) if self._has(id)]
        return np.array(kept, np.int64)

    def _has(self, id: str) -> bool:
        if id in self._own or id in self._above:
            return True
        return "." in id and any(above in self._own for above in made_from(id))


def ids_of(block: Block, numbers: Any) -> list[str]:
    """The ids of a block's rows. Quick where lines begin with them."""
    content = block.content
    if not isinstance(content, Lines):
        return [str(row.get("_id")) for row in block.rows([int(number) for number in numbers])]
    data, starts = content.data, content.index()
    ids: list[str] = []
    for number in numbers:
        start = int(starts[number]) + len(_HEAD)
        end = data.find(b'"', start)
        id = data[start:end]
        if data.startswith(_HEAD, start - len(_HEAD)) and b"\\" not in id:
            ids.append(id.decode())
        else:
            ids.append(str(block.rows([int(number)])[0].get("_id")))
    return ids
