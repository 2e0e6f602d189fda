"""The watcher as it is, killed to the line by an order: `python -m tests.campaign.dying_watcher FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from console import watch
from tests.campaign.moments import Orders, install

if __name__ == "__main__":
    install(Orders(Path(sys.argv[1])))
    watch.main()
