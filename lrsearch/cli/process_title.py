"""What ``ps`` shows of this process: its command line, without the passwords in it."""

import sys


def hide_passwords() -> None:
    """Replace this process's title if its command line has a URL with a password; else it stays as it is.

    Whoever has an account on the machine can read it until then, which is while Python starts. Only a URL in
    the environment is never seen.
    """
    from lrsearch.storage.masking import masked_arguments

    shown = masked_arguments(sys.orig_argv)
    if shown != sys.orig_argv:
        from setproctitle import setproctitle

        setproctitle(" ".join(shown))
