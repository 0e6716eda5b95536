"""`import chainette` beside `import pydantic`, `chainette --help` beside a bare typer app of two commands.

python -m benchmarks.startup [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

BARE = '''
import typer

app = typer.Typer()

@app.command()
def one(name: str) -> None:
    """One."""

@app.command()
def two(name: str) -> None:
    """Two."""

app()
'''


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        python = sys.executable
        pairs = {
            "import chainette / import pydantic": (
                [python, "-c", "import chainette"],
                [python, "-c", "import pydantic"],
            ),
            "from chainette import Step, Chain / from pydantic import BaseModel": (
                [python, "-c", "from chainette import Step, Chain"],
                [python, "-c", "from pydantic import BaseModel"],
            ),
            "chainette --help / bare typer --help": (
                [str(Path(python).with_name("chainette")), "--help"],
                [python, str(bare), "--help"],
            ),
        }
        for name, (ours, theirs) in pairs.items():
            measure.run(ours)
            measure.run(theirs)
            ratios = [measure.run(ours).wall_s / measure.run(theirs).wall_s for _ in range(rounds)]
            target = "no target" if "Step" in name else "target: at most 1.5"
            print(f"{name}: {measure.spread(ratios)}, median {statistics.median(ratios):.2f} ({target})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
