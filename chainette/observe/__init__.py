"""Events to records that outlive the run. Listens only; decides nothing and opens no file itself."""

from chainette.observe.record import event_fields, record_line, utc, utc_now

__all__ = ["event_fields", "record_line", "utc", "utc_now"]
