"""The terminal: a program that uses the library. Knows typer and rich, and nothing of how a run is done."""
