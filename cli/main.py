"""The command line: names, help lines and exit codes. Each command's work is imported when the command is called."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from chainette.cli import (
    cancel,
    devices,
    diff,
    engines,
    export,
    init,
    inspect,
    kill,
    note,
    push,
    report,
    resume,
    retry,
    run,
    runs,
    schema,
    show,
    sql,
    stats,
    trace,
    view,
    warmup,
    why,
)


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


# Typer brings its own copy of click or uses the one that is installed, by its version.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class Commands(TyperGroup):
    """The group of all commands: takes underscore spellings and turns errors into a block and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            parsed: list[str] = super().parse_args(ctx, dashed(list(args)))
        except _UsageError as error:
            if not args:  # no arguments are answered with the help
                raise
            raise typer.Exit(_misunderstood(error)) from None
        return parsed

    def invoke(self, ctx: Any) -> Any:
        from chainette.errors import ChainetteError

        try:
            return super().invoke(ctx)
        except _UsageError as error:
            raise typer.Exit(_misunderstood(error)) from None
        except (ChainetteError, KeyboardInterrupt) as error:
            from chainette.cli.trouble import report

            raise typer.Exit(report(error)) from None


def _misunderstood(error: Any) -> int:
    from chainette.cli.trouble import report
    from chainette.cli.usage import as_problem

    return report(as_problem(error))


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
app.command("resume")(resume.resume)
app.command("retry")(retry.retry)
app.command("cancel")(cancel.cancel)
app.command("inspect")(inspect.inspect)
app.command("inspect-dag")(inspect.inspect_dag)
app.command("runs")(runs.runs)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("stats")(stats.stats)
app.command("trace")(trace.trace)
app.command("view")(view.view)
app.command("export")(export.export)
app.command("push")(push.push)
app.command("sql")(sql.sql)
app.command("diff")(diff.diff)
app.command("why")(why.why)
app.command("note")(note.note)
app.command("warmup")(warmup.warmup)
app.command("kill")(kill.kill)
app.command("engines")(engines.engines)
app.command("schema")(schema.schema)
app.command("init")(init.init)
app.command("devices")(devices.devices)


def main() -> None:
    """The `chainette` program."""
    from chainette.cli.streams import Unwritable, mend_streams, silence_stdout

    mend_streams()
    try:
        try:
            app()
        finally:
            _end_quietly()
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`).
        silence_stdout()
        sys.exit(1)
    except Unwritable as error:
        silence_stdout()
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from chainette.cli.trouble import report

        sys.exit(report(error))


def _end_quietly() -> None:
    """A Ctrl-C from here on would only turn the exit code into a death by signal."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
