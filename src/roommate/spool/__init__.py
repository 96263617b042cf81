"""IPC files: what hooks in the rooms write is read here, and answers to them are written; only owner of watchfiles.

See docs/ipc.md for names and fields. The containers are hostile: nothing that they put into a folder may stop us, make
us read a file of the host, or reach another room. `flags` are files of the operator's.
"""

from roommate.spool.flag_files import flags, watch_flags
from roommate.spool.watcher import Spool

__all__ = ["Spool", "flags", "watch_flags"]
