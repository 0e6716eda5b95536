"""Checks and opens a run wherever it is: one whose folder is a URL is held and brought to this machine first."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from chainette.chain import Chain
from chainette.files.runs import meant_run
from chainette.run.checking import check
from chainette.run.opening import Opening, open_again, open_new
from chainette.run.options import RunOptions
from chainette.run.result import RunResult
from chainette.run.retrying import open_retry


def open_run(chain: Chain, inputs: Any, options: RunOptions) -> Opening | RunResult:
    """A new run, or an earlier one to go on with or to heal; of one where nothing is left to do, its result.

    Raises:
        ChainError, PlanError, InputError, RunFolderError: it cannot be begun. Nothing was written.
    """
    earlier = options.resume if options.resume is not None else options.retry
    meant = meant_run(earlier, options.runs_dir) if earlier is not None else None
    if not isinstance(meant, str):
        return _open(chain, inputs, options)
    from chainette.files.remote_carrier import Carrier

    carrier = Carrier.take(meant)
    carrier.begin_again()
    try:
        opening = _open(chain, inputs, _here(options, carrier.path))
        if isinstance(opening, RunResult):
            carrier.close()
            return replace(opening, url=carrier.url)
    except BaseException:
        carrier.release()
        raise
    opening.folder.remote = carrier
    return opening


def _open(chain: Chain, inputs: Any, options: RunOptions) -> Opening | RunResult:
    if options.retry is not None:
        return open_retry(chain, options)
    if options.resume is not None:
        return open_again(chain, inputs, options)
    checked = check(chain, options)
    checked.require()
    return open_new(checked, inputs, options)


def _here(options: RunOptions, path: os.PathLike[str]) -> RunOptions:
    return replace(options, resume=path) if options.resume is not None else replace(options, retry=path)
