"""Takes away from Python what it has on Linux and lacks on macOS.

Python runs this at its start where the folder is on PYTHONPATH, in child processes too. The names
are those that typeshed has for Linux and not for Darwin, and those that only some Macs have.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from typing import Any

_MISSING = {
    "errno": r"EBAD[EFRS].+|EREMOTEIO|ENOMEDIUM|ENOKEY|EUCLEAN|ERESTART|EDEADLOCK",
    "fcntl": r"DN_.+|F_(ADD_SEALS|GETPIPE_SZ|GETSIG|GET_SEALS|NOTIFY|SEAL_.+|SETPIPE_SZ|SETSIG)"
    r"|F_.+LKW?64|F_OFD_.+",
    "mmap": r"MADV_(DO|DONT)(DUMP|FORK)|MADV_(NO)?HUGEPAGE|MADV_REMOVE|MAP_(POPULATE|STACK)",
    "os": r"O_(PATH|TMPFILE|DIRECT|NOATIME|LARGEFILE|RSYNC)|(get|set)res[ug]id|.*xattr|XATTR_.+"
    r"|(EFD|GRND|MFD|POSIX_FADV|RWF|SPLICE_F)_.+|eventfd.*|memfd_create|pidfd_open|pipe2|P_PIDFD"
    r"|copy_file_range|fdatasync|getrandom|p(read|write)v|posix_f.+|splice|setns|unshare|waitid"
    r"|sched_([gs]et(affinity|param|scheduler)|rr_get_interval)|SCHED_(BATCH|IDLE|RESET_ON_FORK)",
    "resource": r"RLIMIT_(MSGQUEUE|NICE|OFILE|RTPRIO|RTTIME|SIGPENDING)|RUSAGE_THREAD|prlimit",
    "select": r"epoll|EPOLL.+|POLLMSG|POLLRDHUP",
    "signal": r"SIG(CLD|POLL|PWR|RTMAX|RTMIN|STKFLT)|pidfd_.+|sigtimedwait|sigwaitinfo",
    "socket": r"(AF|PF)_(ALG|NETLINK|PACKET|VSOCK)|MSG_(CMSG_CLOEXEC|CONFIRM|MORE|NOSIGNAL)"
    r"|MSG_ERRQUEUE|SOCK_(CLOEXEC|NONBLOCK)|SO_(DOMAIN|MARK|PASSCRED|PEERCRED|PRIORITY|PROTOCOL)"
    r"|TCP_(CONGESTION|CORK|DEFER_ACCEPT|INFO|KEEPIDLE|LINGER2|QUICKACK|SYNCNT|USER_TIMEOUT)",
    "time": r"CLOCK_(BOOTTIME|TAI)|pthread_getcpuclockid",
}


def _no_proc(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).startswith("/proc/"):
        raise FileNotFoundError(2, "No such file or directory", arguments[0])


for module, pattern in _MISSING.items():
    found = importlib.import_module(module)
    for name in [name for name in dir(found) if re.fullmatch(pattern, name)]:
        delattr(found, name)
proxies: Any = types.ModuleType("_scproxy")  # part of Python on macOS
proxies._get_proxies, proxies._get_proxy_settings = dict, dict
sys.modules["_scproxy"] = proxies
sys.addaudithook(_no_proc)
sys.platform = "darwin"
