"""A run folder as tables: pages by place, conditions, search, order, SQL. Knows files and rows, not what a run meant.

What is asked is a `Query`; `Tables` answers it. Parts give blocks of lines (`parts`, `cells`, `column_blocks`), an
`Evaluator` finds the rows of a block that meet it by the cheapest way that is right (`needles`, `field_bytes`,
`predicates`, row by row), and a `Selection` (`scan`) or an order (`order`) goes over all of them. `sql` is the one door
to DuckDB.
"""

from chainette.files.tables.query import Condition, Page, Query
from chainette.files.tables.tables import TableInfo, Tables

__all__ = ["Condition", "Page", "Query", "TableInfo", "Tables"]
