"""A full disk, a folder that may not be written, a folder that is gone: said clearly, and what was written stays."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import disk
from tests.crash.conftest import KILLS
from tests.crash.play import STOPPED, Layout, Played, Stage

pytestmark = pytest.mark.crash

LAYOUTS = [Layout(), Layout("parquet", 120)]
NO_ROOT_RIGHTS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
"""Makes root obey the permissions of its own files."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if not _mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)):
        pytest.skip("no right to mount a tmpfs here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _mounted(*words: str) -> bool:
    if shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


def _resize(place: Path, size: int) -> None:
    assert _mounted("-o", f"remount,size={size}", str(place))


@pytest.mark.parametrize("layout", LAYOUTS if KILLS else LAYOUTS[1:], ids=str)
def test_a_run_on_a_full_disk_stops_and_goes_on_when_there_is_room(
    small_stage: Stage, small_disk: Path, layout: Layout
) -> None:
    whole = sum(_blocks(path) for path in disk.files(small_stage.undisturbed(layout)[0]).values())
    played = Played(small_disk / "run", layout)
    for share in (0.3, 0.6) if KILLS else (0.5,):
        _resize(small_disk, int(whole * share))
        program = small_stage.go_on(played)
        assert program.end() == STOPPED, program.said()
        program.leaves_no_process()
        assert "the disk is full" in program.said()
        assert "chainette resume" in program.said()
    _resize(small_disk, whole * 10)
    small_stage.finish(played)
    assert small_stage.same(played) == [], small_stage.story(played)


def _blocks(path: Path) -> int:
    return -(-path.stat().st_size // 4096) * 4096


def test_a_run_whose_folder_becomes_read_only_stops_and_goes_on_when_it_is_not(small_stage: Stage) -> None:
    root = os.geteuid() == 0
    if root and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to make it obey")
    played = Played(small_stage.fresh(), Layout(), before=NO_ROOT_RIGHTS if root else ())
    program = small_stage.begin_and_do(1 / 3, played)
    folders = [played.run, *(path for path in played.run.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    exit_code = program.end()
    for folder in folders:
        folder.chmod(0o755)
    assert exit_code == STOPPED, program.said()
    assert f"{played.run}" in program.said()
    assert "change its permissions" in program.said()
    small_stage.finish(played)
    assert small_stage.same(played) == [], small_stage.story(played)


def test_a_run_whose_folder_is_deleted_says_so_and_does_not_make_it_again(small_stage: Stage) -> None:
    played = Played(small_stage.fresh(), Layout())
    program = small_stage.begin_and_do(1 / 3, played)
    shutil.rmtree(played.run.rename(played.run.with_suffix(".gone")))
    assert program.end() == STOPPED, program.said()
    program.leaves_no_process()
    assert "the folder is gone" in program.said()
    assert not played.run.exists()
