"""Runs a command at a terminal of its own, for pseudo-terminal.ts.

Standard input is typed at the terminal, and what it shows comes on standard output. On descriptor 3 stands one line of JSON when
the command has begun, and one when it has ended: whether the terminal is set as it was, and whether it echoes. At SIGUSR1 the
terminal hangs up, as when its window is closed; standard output ends once it has.
"""
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios

LOCAL_FLAGS = 3


def tell(**what):
    os.write(3, (json.dumps(what) + '\n').encode())


def command(slave):
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(slave, descriptor)
    os.closerange(3, 64)
    os.execvp(sys.argv[1], sys.argv[1:])


def show(master):
    try:
        shown = os.read(master, 65536)
    except BlockingIOError:
        return False
    os.write(1, shown)
    return True


def main():
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 132, 0, 0))
    before = termios.tcgetattr(slave)
    pid = os.fork()
    if pid == 0:
        command(slave)
    tell(pid=pid)
    os.set_blocking(master, False)
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for each in (signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(each, lambda *_: None)
    status = None
    while status is None:
        # It may have ended before the handler was there.
        done, status_of = os.waitpid(pid, os.WNOHANG)
        if done:
            status = status_of
            break
        ready, _, _ = select.select([ended] if master is None else [0, master, ended], [], [])
        if master in ready:
            show(master)
        if 0 in ready:
            typed = os.read(0, 65536)
            if not typed:
                os.kill(pid, signal.SIGKILL)
                return
            os.write(master, typed)
        if ended in ready and signal.SIGUSR1 in os.read(ended, 64):
            os.close(master)
            master = None
            os.close(1)
    if master is None:
        tell(code=os.waitstatus_to_exitcode(status), restored=False, echoes=False)
        return
    # The terminal is still open here, so that what was shown last, and how it is set, can be read.
    while show(master):
        pass
    after = termios.tcgetattr(slave)
    tell(code=os.waitstatus_to_exitcode(status), restored=before == after, echoes=bool(after[LOCAL_FLAGS] & termios.ECHO))


main()
