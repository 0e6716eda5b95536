"""Rows of a dataset by its name on the Hugging Face Hub, streamed by `datasets`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from chainette.errors import InputError, nearest
from chainette.files.finding import missing
from chainette.files.pieces import Piece
from chainette.files.table_inputs import TableSource

_CONNECT_TIMEOUT_S = 5.0


def name_readings(source: str) -> list[tuple[str, str | None, str | None]]:
    """The (dataset, config, split) that a name can mean, the likelier first.

    `name/split`, `org/name/split`, `name:config/split`; without a split the dataset must have only one.
    """
    head, colon, tail = source.partition(":")
    if colon:
        config, _, split = tail.partition("/")
        return [(head, config or None, split or None)]
    parts = source.split("/")
    if len(parts) == 3:
        return [(f"{parts[0]}/{parts[1]}", None, parts[2])]
    if len(parts) == 2:
        return [(parts[0], None, parts[1]), (source, None, None)]
    return [(source, None, None)]


class HubSource:
    """A dataset that is streamed; nothing of it is kept on disk."""

    rereadable = True
    json_like = False
    total: int | None = None
    cheap = False

    def __init__(self, source: str) -> None:
        if source.count("/") > 2 or not all(source.replace(":", "/").split("/")):
            raise InputError(missing(source))
        self._source = source
        self._dataset, self._read_as = _load(source)

    def describe(self) -> dict[str, Any]:
        name, config, split = self._read_as
        version = getattr(getattr(self._dataset, "info", None), "version", None)
        found = {"kind": "datasets", "source": self._source, "dataset": name, "config": config, "split": split}
        return {**found, "version": None if version is None else str(version)}

    def columns(self) -> list[str] | None:
        names = self._dataset.column_names
        return None if names is None else list(names)

    def pieces(self, size: int) -> Iterator[Piece]:
        for piece in TableSource(self._dataset, "IterableDataset").pieces(size):
            piece.label = self._source
            yield piece


def _check_reachable(source: str) -> None:
    """`datasets` tries an unreachable hub for half a minute per reading of a name; one connection tells."""
    if getproxies() or os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE"):
        return
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
        socket.create_connection((endpoint.hostname or "", port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        names = " or ".join(f'"{name}"' for name, _, _ in name_readings(source))
        raise InputError(
            f"{missing(source)}; nor can a dataset {names} be loaded: {endpoint.hostname} cannot be reached ({error})"
        ) from error


def _load(source: str) -> tuple[Any, tuple[str, str | None, str]]:
    _check_reachable(source)
    tried: list[str] = []
    for name, config, split in name_readings(source):
        try:
            return _load_one(name, config, split)
        except InputError:
            raise
        except Exception as error:  # datasets and the hub raise dozens of kinds
            first = str(error).strip().splitlines()
            tried.append(f'dataset "{name}": {type(error).__name__}: {first[0] if first else ""}'[:240])
    lines = [f"there is no file {source}, and no dataset of that name could be loaded", *(f"  - {t}" for t in tried)]
    lines.append(f"  - here: {missing(source)}")
    raise InputError("\n".join(lines))


def _load_one(name: str, config: str | None, split: str | None) -> tuple[Any, tuple[str, str | None, str]]:
    import datasets

    splits = datasets.get_dataset_split_names(name, config) if split is None else None
    if splits is not None:
        if len(splits) != 1:
            raise InputError(f'dataset "{name}" has several splits (name one: {name}/{splits[0]}; {", ".join(splits)})')
        split = splits[0]
    assert split is not None
    try:
        return datasets.load_dataset(name, config, split=split, streaming=True), (name, config, split)
    except ValueError as error:
        if "split" in str(error):
            known = datasets.get_dataset_split_names(name, config)
            raise InputError(f'dataset "{name}" has no split "{split}" ({nearest(split, known)})') from error
        if "config" in str(error).lower() and config is None:
            configs = datasets.get_dataset_config_names(name)
            example = f"{name}:{configs[0]}/{split}"
            raise InputError(f'dataset "{name}" has several configs: {", ".join(configs[:8])} ({example})') from error
        raise
