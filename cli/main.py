"""The command line: names, help lines and exit codes. Each command's work is imported when the command is called."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from chainette.cli import devices, init, inspect, run, runs, show


def dashed(args: list[str]) -> list[str]:
    """Option names in underscore spelling, `--output_dir=x`, as they are declared, `--output-dir=x`."""
    result: list[str] = []
    for position, arg in enumerate(args):
        if arg == "--":
            return result + args[position:]
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = name.replace("_", "-") + equals + value
        result.append(arg)
    return result


class Commands(TyperGroup):
    """The group of all commands: takes underscore spellings and turns errors into a block and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        parsed: list[str] = super().parse_args(ctx, dashed(list(args)))
        return parsed

    def invoke(self, ctx: Any) -> Any:
        from chainette.errors import ChainetteError

        try:
            return super().invoke(ctx)
        except (ChainetteError, KeyboardInterrupt) as error:
            from chainette.cli.trouble import report

            raise typer.Exit(report(error)) from None


app = typer.Typer(
    cls=Commands,
    name="chainette",
    help="Batch pipelines of LLM work: typed steps, checked before the first engine starts, written to a run folder.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from chainette import __version__

        typer.echo(f"chainette {__version__}")
        raise typer.Exit


@app.callback(epilog="Errors are told without a traceback; CHAINETTE_DEBUG=1 shows it.")
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Batch pipelines of LLM work: typed steps, checked before the first engine starts, written to a run folder."""


app.command("run")(run.run)
app.command("inspect")(inspect.inspect)
app.command("inspect-dag")(inspect.inspect_dag)
app.command("runs")(runs.runs)
app.command("show")(show.show)
app.command("init")(init.init)
app.command("devices")(devices.devices)


def main() -> None:
    """The `chainette` program."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); Python would complain once more at exit.
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        from chainette.cli.trouble import report

        sys.exit(report(error))


if __name__ == "__main__":
    main()
