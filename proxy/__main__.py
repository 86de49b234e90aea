"""`python -m proxy` is `lighterage`."""

from proxy.cli import main

main()
