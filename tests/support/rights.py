"""Read-only folders are none to root; a command with this before it finds them as a user does."""

import os

WITHOUT_ROOTS_RIGHTS: tuple[str, ...] = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
