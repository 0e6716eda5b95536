"""`chainette push`: a run as a dataset on the Hugging Face Hub. Knows what was typed, not what is sent."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainette.cli.runs import AsJson, RunsDir
from chainette.cli.signals import ended_like_ctrl_c

if TYPE_CHECKING:
    from chainette.files.reading import RunReader


def push(
    *,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder, a run's name or its beginning, or last.", show_default=False)
    ],
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The dataset on the Hub.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="For everyone to read; without it private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write card and files here, send nothing.")] = False,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="Where card and files are written, and stay.")
    ] = None,
    license: Annotated[str | None, typer.Option(metavar="ID", help="As the Hub spells it: mit, cc-by-4.0.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="WORD", help="A tag of the dataset; several times.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the tables of a dataset that exists.")] = False,
    runs_dir: RunsDir = "runs",
    as_json: AsJson = False,
) -> None:
    """Put a run on the Hugging Face Hub: a table per step, and a card that says how it was made."""
    from chainette.cli.show import found_run
    from chainette.cli.target import refuse_empty, wrong_call
    from chainette.files.reading import RunReader
    from chainette.reports.push import PushError, check_repo, refuse_early

    refuse_empty("push", output=output, license=license)
    try:
        check_repo(repo)
    except PushError as error:
        raise wrong_call("ORG/NAME", str(error), command="push") from None
    reader = RunReader(found_run(run, runs_dir))
    if output is None and dry_run:
        output = repo.rpartition("/")[2]
    if not dry_run:
        refuse_early(repo, public=public, force=force)
    said = (repo, public, dry_run, force)
    again = [*(["--public"] if public else []), *(["--license", license] if license else [])]
    again += [word for one in tag or [] for word in ("--tag", one)]
    if output is not None:
        about = _push(reader, Path(output).expanduser(), said, license, tag or [])
    else:
        with tempfile.TemporaryDirectory(prefix="chainette-") as folder:
            about = _push(reader, Path(folder), said, license, tag or [])
        about["folder"] = None
    _tell(about, again, as_json)


def _push(
    reader: RunReader, folder: Path, said: tuple[str, bool, bool, bool], license: str | None, tags: list[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    from chainette.reports.export import progress_of
    from chainette.reports.push import prepare, send

    repo, public, dry_run, force = said
    state, rows_done, rows_in = progress_of(reader)
    with ended_like_ctrl_c():
        prepared = prepare(reader, folder, repo, license=license, tags=tags)
    about = {
        "run": reader.path.name,
        "state": state,
        "rows_done": rows_done,
        "rows_in": rows_in,
        "repo": repo,
        "private": not public,
        "dry_run": dry_run,
        "folder": str(folder),
        "configs": [asdict(config) for config in prepared.configs],
        "empty": list(prepared.empty),
    }
    if not dry_run:
        sent = send(folder, repo, public=public, force=force, message=f"Chainette run {reader.path.name}")
        about |= {"url": sent.url, "commit": sent.commit}
    return about


def _tell(about: dict[str, Any], again: list[str], as_json: bool) -> None:
    from chainette.cli.output import write, write_json
    from chainette.cli.wording import counted, one_line, state_in_words

    if as_json:
        write_json(about)
        return
    kind = "private" if about["private"] else "public"
    lines = [f"{one_line(about['repo'])}: a {kind} dataset of {counted(len(about['configs']), 'table')}"]
    wide = max((len(config["name"]) for config in about["configs"]), default=0)
    lines += [f"  {config['name']:<{wide}}  {counted(config['rows'], 'row')}" for config in about["configs"]]
    if about["empty"]:
        lines += [f"without a table, 0 rows each: {', '.join(map(one_line, about['empty']))}"]
    if about["state"] != "done":
        of = f"{about['rows_done']:,} of {counted(about['rows_in'], 'input row')}"
        sys.stderr.write(f"note: the run {one_line(state_in_words(about['state']))}: {of} finished so far\n")
    if about["dry_run"]:
        lines += [f"nothing was sent; it would be what is in {one_line(about['folder'])}"]
        words = ["chainette", "push", about["run"], about["repo"], *again]
        lines += [f"next: {one_line(shlex.join(words))}"]
    else:
        lines += [one_line(about["url"])]
    write("\n".join(lines) + "\n")
