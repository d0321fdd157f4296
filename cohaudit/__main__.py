"""`python -m cohaudit` is the same as `cohaudit`."""

from cohaudit.cli import program

if __name__ == "__main__":
    program()
