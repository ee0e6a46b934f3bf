"""What all tests share."""

import signal

# A job that a shell has put into the background ignores Ctrl-C from birth, and so would every process that the tests start and
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
