"""Events to records that outlive the run. Listens only; decides nothing and opens no file itself."""

from chainette.observe.chunks import SaidChunks
from chainette.observe.record import event_fields, event_of, record_line, unix_s, utc, utc_now

__all__ = ["SaidChunks", "event_fields", "event_of", "record_line", "unix_s", "utc", "utc_now"]
