"""A run as a dataset: its tables and its card in a folder, and that folder on the Hugging Face Hub.

`prepare` needs no network. `send` is all that writes to the Hub.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainette.errors import ChainetteError, RunFolderError
from chainette.reports.card import Config, card
from chainette.reports.export import FLATTENED, Export, Wanted, is_empty_table

if TYPE_CHECKING:
    from chainette.files.reading import RunReader

ROWS_PER_FILE = 500_000
_TAKEN = ("default", FLATTENED)
"""`default` would be a second default config, `flattened` is ours."""
_REPO = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


class PushError(ChainetteError):
    """The Hub does not take it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset in a folder, as it is to be sent."""

    folder: Path
    configs: tuple[Config, ...]
    empty: tuple[str, ...] = ()
    """Steps that made no row in a run that ended well: they have no table, for a split without rows does not load."""


def check_repo(repo: str) -> None:
    """
    Raises:
        PushError: the Hub has no such names.
    """
    last = repo.rpartition("/")[2]
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or last.endswith((".git", ".", "-")) or len(repo) > 96:
        raise PushError(
            f'"{repo}" is no name of a dataset (org/name: letters, digits, `-`, `_` and `.`, at most 96 characters)'
        )


def config_names(ids: Iterable[str]) -> dict[str, str]:
    """What each step's table is called: ASCII letters, digits, `-` and `_`, each name once."""
    taken = {name.lower() for name in _TAKEN}
    names: dict[str, str] = {}
    for id in ids:
        plain = unicodedata.normalize("NFKD", id.replace("/", "__")).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:80] or "step"
        name, number = stem, 1
        # Folders that differ only in their case are one on some systems.
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names[id] = name
    return names


def prepare(
    reader: RunReader,
    folder: Path,
    repo: str,
    *,
    license: str | None = None,
    tags: Sequence[str] = (),
    rows_per_file: int = ROWS_PER_FILE,
) -> Prepared:
    """Writes `README.md` and `data/<config>/*.parquet` into `folder`, which is new or empty.

    Raises:
        RunFolderError: the folder is neither, or the run has no rows.
    """
    from chainette.files.delivery import delivered

    check_repo(repo)
    with _whole_folder(folder):
        configs: list[Config] = []
        for name, what, export in _tables(reader):
            rows = export.write_parts(folder / "data" / name, rows_per_file)
            configs.append(Config(name, what, rows, is_default=not configs))
        empty = tuple(id for id in reader.step_ids() if is_empty_table(reader, Wanted(step=id)))
        if not configs and not (empty or is_empty_table(reader, Wanted())):
            raise RunFolderError(f"{reader.path.name} has no rows: there is nothing to push")
        text = card(reader, configs, repo, license=license, tags=tags, empty=empty)
        with delivered(str(folder / "README.md")) as stream:
            stream.write(text.encode("utf-8", "replace"))
    return Prepared(folder, tuple(configs), empty)


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[None]:
    """The folder, new or empty, for what the block writes: when that fails, what was made is taken away.

    Raises:
        RunFolderError: it has something in it, or cannot be written.
    """
    from chainette.files.disk import file_error

    made: list[Path] = []
    try:
        made += [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunFolderError(f"{folder} is not empty (name another folder with -o, or delete it)")
        try:
            yield
        except BaseException:
            # It was empty: all that is there under these names was made here.
            shutil.rmtree(folder / "data", ignore_errors=True)
            (folder / "README.md").unlink(missing_ok=True)
            raise
    except BaseException as error:
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()
        if isinstance(error, OSError):
            raise file_error(error.filename or folder, error) from error
        raise


def _tables(reader: RunReader) -> Iterator[tuple[str, str, Export]]:
    """(config, what it holds, its rows): the flattened rows first, then each node's that has some."""
    if len(reader.flattened()):
        yield FLATTENED, FLATTENED, Export(reader, Wanted())
    names = config_names(reader.step_ids())
    for id, name in names.items():
        if len(reader.rows(id)):
            yield name, id, Export(reader, Wanted(step=id))


def refuse_early(repo: str, *, public: bool = False, force: bool = False) -> None:
    """What `send` would refuse, asked before there is anything to send.

    Raises:
        PushError: as `send`.
    """
    with _told(repo):
        api = _api()
        repo = _whole_name(api, repo)
        if api.repo_exists(repo, repo_type="dataset"):
            _require_ours(api, repo, public, force)


@dataclass(frozen=True, slots=True)
class Sent:
    url: str
    commit: str


def send(folder: Path, repo: str, *, public: bool = False, force: bool = False, message: str = "") -> Sent:
    """Makes the dataset on the Hub and puts the folder there. The only thing here that writes beyond this machine.

    `force` takes one that exists: its `data/` and card are replaced, its history and its other files stay. A large
    folder takes several commits; what was sent when the connection broke is not sent again.

    Raises:
        PushError: no token, no right to, it exists already, or the Hub cannot be reached.
    """
    with _told(repo):
        api = _api()
        repo, made = _repository(api, repo, public, force)
    with _told(repo, made):
        done: Any = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            repo_type="dataset",
            commit_message=message or "Chainette run",
            delete_patterns=["data/**"],
        )
    return Sent(f"{api.endpoint}/datasets/{repo}", str(done.oid))


def _api() -> Any:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        error = PushError("there is no token for the Hugging Face Hub (set HF_TOKEN, or log in)")
        error.add_note("next: hf auth login")
        raise error
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="chainette")


def _repository(api: Any, repo: str, public: bool, force: bool) -> tuple[str, bool]:
    """The repository's whole name, and whether it was made now.

    Raises:
        PushError: it exists, and may not be written to.
    """
    from huggingface_hub.errors import HfHubHTTPError

    check_repo(repo)
    try:
        url = api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=False)
        return str(url.repo_id), True
    except HfHubHTTPError as error:
        if _status(error) != 409:
            raise
    repo = _whole_name(api, repo)
    _require_ours(api, repo, public, force)
    return repo, False


def _whole_name(api: Any, repo: str) -> str:
    return repo if "/" in repo else f"{api.whoami()['name']}/{repo}"


def _require_ours(api: Any, repo: str, public: bool, force: bool) -> None:
    if not force:
        raise PushError(f"the dataset {repo} exists already (--force replaces its tables and its card)")
    info = api.repo_info(repo, repo_type="dataset")
    if not info.private and not public:
        raise PushError(f"the dataset {repo} exists and is public (say --public if that is meant)")
    if info.private and public:
        raise PushError(f"the dataset {repo} exists and is private (leave --public out; its settings can change that)")


@contextlib.contextmanager
def _told(repo: str, made: bool = False) -> Iterator[None]:
    """What the Hub or the way to it refuses, in our words; `made` when the repository is new."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        raise _refused(error, repo, made) from None
    except (OSError, ValueError, _transport_error()) as error:  # ValueError: the Hub refuses the card
        raise _unreached(repo, _scrubbed(str(error) or type(error).__name__), made) from None


def _refused(error: Any, repo: str, made: bool) -> PushError:
    status = _status(error)
    # The Hub's own words; the token is sent in a header and is not among them.
    reason = _scrubbed(str(getattr(error, "server_message", None) or error)).strip().partition("\n")[0]
    if status == 401:
        told = PushError(f"the Hub does not know the token: {reason} (set HF_TOKEN, or log in anew)")
        told.add_note("next: hf auth login")
        return told
    if status in (403, 404):
        return PushError(
            f"the token may not write to {repo}: {reason} (it needs the right to write, and you need to be a member)"
        )
    return _unreached(repo, f"{status or ''} {reason}".strip(), made)


def _unreached(repo: str, reason: str, made: bool) -> PushError:
    left = f"; {repo} was made and does not hold all of it, --force goes on with it" if made else ""
    return PushError(f"the Hub did not take {repo}: {reason}{left}")


def _status(error: Any) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _scrubbed(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "***") if token else text


def _transport_error() -> type[Exception]:
    """What the Hub's client raises where nobody answers: the base of the errors of the HTTP library that it uses."""
    from huggingface_hub.errors import HfHubHTTPError

    for base in HfHubHTTPError.__mro__:
        if base.__module__.partition(".")[0] in ("httpx", "httpx2", "requests") and issubclass(base, Exception):
            return base
    return ConnectionError
