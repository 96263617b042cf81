"""`python -m roommate` is `roommate`."""

from roommate.cli import main

main()
