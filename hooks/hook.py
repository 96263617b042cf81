"""Runs `report`: an imported module may lie beside here compiled already, the program that Python starts may not."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # Python is told to look nowhere but in its own folders

import report

try:
    report.main(*sys.argv[1:])
except Exception as error:  # the wrapper makes it a line in hook-errors.log
    sys.exit(f"{type(error).__name__}: {error}")
