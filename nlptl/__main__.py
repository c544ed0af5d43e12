"""`python -m nlptl`, and so `torchrun -m nlptl` and `accelerate launch -m nlptl`."""

from __future__ import annotations

import sys

from nlptl.cli import main

sys.exit(main())
