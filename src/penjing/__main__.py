"""`python -m penjing` is `penjing`."""

import sys

from penjing.cli import main

if __name__ == "__main__":
    sys.exit(main())
