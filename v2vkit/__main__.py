"""`python -m v2vkit` is `v2v`."""

from v2vkit.cli.main import main

main()
