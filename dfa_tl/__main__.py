"""`python -m dfa_tl` is the command `dfa-tl`."""

from dfa_tl.cli import app

if __name__ == "__main__":
    app()
