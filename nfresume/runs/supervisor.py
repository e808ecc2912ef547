"""The process that supervises one attempt: `python -m nfresume.runs.supervisor`."""

from nfresume.system import inherited


def main() -> None:
    """Supervise the execution named in the order on standard input, see `supervising`."""
    inherited.put_right()
    from nfresume.runs import supervising

    supervising.main()


if __name__ == "__main__":
    main()
