"""The tools for files: read_file, write_file, edit_file, list_files, search."""

from __future__ import annotations

from roommate.errors import ToolError
from roommate.ports import Hand
from roommate.tools.arguments import EditFile, ListFiles, ReadFile, Search, WriteFile
from roommate.tools.bounded import Bounded
from roommate.tools.edit import replace_once
from roommate.tools.outcome import Outcome, counted, size
from roommate.tools.plain import is_binary, plain, start_of_binary
from roommate.words import DirEntry

SLICE = 1 << 20
LONGEST_READ = 256 << 20
"""How far into a file read_file looks for a line, in bytes."""
LARGEST_EDIT = 4 << 20
LINES = 2000
"""Lines that read_file gives where the model does not say."""
LONGEST_LINE = 2000
ENTRIES = 500
SEARCH_SECONDS = 60.0
RIPGREP = ("rg", "--line-number", "--no-heading", "--with-filename", "--color=never", "--sort=path")
RIPGREP_LIMITS = ("--max-columns=300", "--max-columns-preview", "--no-messages")
GREP = ("grep", "-rnIE", "--color=never", "--exclude-dir=.git", "--exclude-dir=node_modules", "--exclude-dir=.roommate")
