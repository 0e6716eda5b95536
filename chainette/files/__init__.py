"""Files: where rows are read from and what a run leaves on disk. Knows nothing of engines, prompts or the terminal."""

from chainette.files.inputs import BadRow, Input, RawChunk, open_input
from chainette.files.names import folder_name
from chainette.files.run_folder import NodeOutput, RunFolder
from chainette.files.validate import RowValidator, check_input
from chainette.files.writable import plain_type, unwritable

__all__ = [
    "BadRow",
    "Input",
    "NodeOutput",
    "RawChunk",
    "RowValidator",
    "RunFolder",
    "check_input",
    "folder_name",
    "open_input",
    "plain_type",
    "unwritable",
]
