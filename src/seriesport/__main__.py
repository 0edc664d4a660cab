"""`python -m seriesport` is the command line."""

from __future__ import annotations

from seriesport.cli.main import main

if __name__ == "__main__":
    main()
