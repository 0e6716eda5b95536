"""`chainette schema`: the JSON Schema of chain files, for editors. Knows where it lies, not what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Write it there.")
]


def schema(output: Output = None) -> None:
    """Print the JSON Schema of chain files (chain.yml), for editors.

    chainette schema -o chain.schema.json, and `# yaml-language-server: $schema=chain.schema.json` as the first line.
    """
    from importlib.resources import files

    from chainette.cli.output import write
    from chainette.cli.target import refuse_empty, wrong_call

    refuse_empty("schema", output=output)
    text = files("chainette.chain").joinpath("chain.schema.json").read_text(encoding="utf-8")
    if output is None:
        return write(text)
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise wrong_call("--output", f"{output} cannot be written: {error.strerror}", command="schema") from None
    return None
