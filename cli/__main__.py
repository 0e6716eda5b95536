"""`python -m chainette.cli`, the same as `chainette`."""

from chainette.cli.main import main

main()
