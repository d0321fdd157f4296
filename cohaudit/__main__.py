"""`python -m cohaudit` is the same as `cohaudit`."""

from cohaudit.cli import main

if __name__ == "__main__":
    main()
