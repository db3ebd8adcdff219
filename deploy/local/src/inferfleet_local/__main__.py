"""Runs the command line."""

import sys

from inferfleet_local.cli import main

sys.exit(main())
