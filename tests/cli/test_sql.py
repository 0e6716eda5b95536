"""`chainette sql`: a run asked with SQL, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainette.cli.sql import fitted
from tests.cli.conftest import Project


def test_without_a_query_the_tables_and_their_columns_are_told(finished_run: Project) -> None:
    out = finished_run.call("sql", "done")
    assert "facts  5 rows\n  _id      VARCHAR\n  product  VARCHAR\n  rating   BIGINT\n" in out
    assert "calls  15 rows" in out
    assert out.splitlines()[-1] == 'next: chainette sql done "select * from flattened limit 10"'
    told = json.loads(finished_run.call("sql", "done", "--json"))
    assert [table["name"] for table in told["tables"]] == [
        "chain_input", "facts", "french", "last", "flattened", "failed", "calls",
    ]  # fmt: skip


def test_an_answer_is_a_table(finished_run: Project) -> None:
    out = finished_run.call(
        "sql", "done", "select _id, text, null::text as nothing, length(text) n from chain_input limit 2"
    )
    assert out == "_id  text  nothing  n\n0    one   null     3\n1    odd   null     3\n"
    assert finished_run.call("sql", "done", "select * from chain_input where text = 'x'") == "no rows\n"


def test_a_query_is_read_from_stdin(finished_run: Project) -> None:
    assert finished_run.call("sql", "done", "-", stdin="select count(*) as n\nfrom facts;\n") == "n\n5\n"


def test_an_answer_for_programs_is_json_or_csv(finished_run: Project) -> None:
    query = "select text, [1, 2] as both, text as text, 1.5 as half from chain_input where _id = '4'"
    said = json.loads(finished_run.call("sql", "done", query, "--json"))
    assert said["rows"] == [{"text": "three [b]", "both": [1, 2], "text_2": "three [b]", "half": 1.5}]
    assert [column["type"] for column in said["columns"]] == ["VARCHAR", "INTEGER[]", "VARCHAR", "DECIMAL(2,1)"]
    out = finished_run.call(
        "sql", "done", "select text, null as n from chain_input order by text", "--csv", "--limit", "1"
    )
    assert out == "text,n\nbad,\n"


def test_all_rows_go_to_a_file(finished_run: Project) -> None:
    query = "select _id, usage from calls where step = 'facts' order by _id"
    assert finished_run.call("sql", "done", query, "-o", "c.jsonl") == "5 rows in c.jsonl\n"
    lines = [json.loads(line) for line in Path("c.jsonl").read_text().splitlines()]
    assert [line["_id"] for line in lines] == ["0", "1", "2", "3", "4"]
    assert lines[0]["usage"]["prompt_tokens"] > 0
    finished_run.call("sql", "done", "select * from chain_input", "-o", "c.csv")
    assert Path("c.csv").read_text().splitlines()[0] == "_id,text"
    finished_run.call("sql", "done", "select 1", "-o", "c.xlsx")
    assert finished_run.exit_code == 2


def test_a_file_that_is_there_is_replaced_only_by_force(finished_run: Project) -> None:
    Path("c.csv").write_text("mine")
    finished_run.call("sql", "done", "select 1 as one", "-o", "c.csv")
    assert (finished_run.exit_code, finished_run.err) == (2, "error: c.csv exists (--force replaces it)\n")
    assert Path("c.csv").read_text() == "mine"
    finished_run.call("sql", "done", "select 1 as one", "-o", "c.csv", "--force")
    assert Path("c.csv").read_text() == "one\n1\n"


def test_more_rows_than_are_shown_are_told_of(finished_run: Project) -> None:
    out = finished_run.call("sql", "done", "select * from chain_input", "--limit", "2")
    assert out.splitlines()[-1] == "the first 2 rows; --limit 0 shows all"
    assert len(finished_run.call("sql", "done", "from range(300)").splitlines()) == 102
    assert len(finished_run.call("sql", "done", "from range(300)", "--limit", "0").splitlines()) == 301


def test_a_wrong_query_is_exit_code_2_with_the_place_and_the_nearest_name(finished_run: Project) -> None:
    assert finished_run.call("sql", "done", "select produkt from facts") == ""
    assert finished_run.exit_code == 2
    assert 'Referenced column "produkt" not found' in finished_run.err
    assert 'did you mean "product"?' in finished_run.err
    assert "^" in finished_run.err
    finished_run.call("sql", "done", "drop table facts")
    assert (finished_run.exit_code, "DROP is refused" in finished_run.err) == (2, True)


def test_what_a_row_contains_is_shown_and_never_obeyed(finished_run: Project) -> None:
    out = finished_run.call("sql", "done", "select chr(27) || '[31mred' || chr(10) || '[b]two' as x")
    assert out == "x\nred [b]two\n"


@pytest.mark.parametrize(
    ("wanted", "width", "widths"),
    [
        ([3, 5], 80, [3, 5]),
        ([3, 200, 10], 60, [3, 43, 10]),
        ([100, 100], 42, [20, 20]),
        ([20] * 10, 60, []),
    ],
)  # fmt: skip
def test_the_widest_columns_give_way_until_the_table_fits(wanted: list[int], width: int, widths: list[int]) -> None:
    assert fitted(wanted, width) == widths


def test_what_is_too_wide_for_a_table_is_shown_field_by_field(finished_run: Project) -> None:
    columns = ", ".join(f"'{'x' * 30}' as c{n}" for n in range(20))
    out = finished_run.call("sql", "done", f"select {columns}")
    assert out.splitlines()[0] == f"c0   {'x' * 30}"
    assert len(out.splitlines()) == 20
