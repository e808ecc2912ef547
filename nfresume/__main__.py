"""`python -m nfresume`."""

from nfresume.cli import main

main()
