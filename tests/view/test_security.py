"""Who may see the page, and what a run's texts can do in it: nothing."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from chainette.view.guard import HEADERS, is_ours
from tests.view.conftest import NOT_HERE
from tests.view.samples import HOSTILE, make_hostile


def ask(served, path="/", method="GET", *, cookie=True, body=None, **headers):
    """(status, headers, text) of one request, by a client that does just what it is told."""
    told = {"Host": f"127.0.0.1:{served.port}", **headers}
    if cookie:
        told["Cookie"] = "; ".join(f"{name}={value}" for name, value in served.cookie.items())
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in told.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode("utf-8")
    finally:
        connection.close()


def test_without_the_token_nothing_of_a_run_is_told(runs, served):
    page = served(runs)
    for path in ("/", "/run/fine", "/api/run/fine/live", "/static/style.css", "/?token=wrong", "/?token="):
        status, _, text = ask(page, path, cookie=False)
        assert (status, "fine" in text) == (403, False)
        assert "next: open the address that chainette view has printed" in text


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(runs, served):
    page = served(runs)
    status, headers, _ = ask(page, f"/run/fine?x=1&token={page.site.token}", cookie=False)
    assert (status, headers["Location"]) == (303, "/run/fine?x=1")
    cookie = headers["Set-Cookie"]
    assert cookie.startswith(f"chainette-{page.port}={page.site.token};")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_the_address_with_the_token_leads_nowhere_else(runs, served):
    page = served(runs)
    _, headers, _ = ask(page, f"//192.0.2.1/x?token={page.site.token}", cookie=False)
    assert headers["Location"] == "/192.0.2.1/x"


@pytest.mark.parametrize(
    "address",
    ["/run/a%3Fb%23c%25/rows", "/run/%7Bx%7D?field=a&op=%3D&value=1&field=b&op=is+null&value=", "/run/x%0D%0AX:1"],
)
def test_the_address_with_the_token_leads_to_the_page_it_names(address, runs, served):
    page = served(runs)
    with_token = f"{address}{'&' if '?' in address else '?'}token={page.site.token}"
    assert ask(page, with_token, cookie=False)[1]["Location"] == address


def test_a_link_in_a_web_terminal_opens_the_page_too(runs, served):
    """A strict cookie is not sent along a redirect that began on another site."""
    page = served(runs)
    fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    status, headers, text = ask(page, f"/run/fine?token={page.site.token}", cookie=False, **fetched)
    assert status == 200
    assert "Set-Cookie" in headers
    assert 'content="0;url=/run/fine"' in text


def test_a_ticket_is_good_for_one_visit(runs, served):
    page = served(runs)
    ticket = page.guard.ticket()
    assert [ask(page, f"/?token={ticket}", cookie=False)[0] for _ in range(2)] == [303, 403]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:80@evil.example",
        "[::1]evil.example",
        "192.0.2.1",
        "",
        "localhost.evil.example:80",
    ],
)
def test_another_host_is_refused(host, runs, served):
    """DNS rebinding: a foreign name that was made to point at this machine."""
    assert ask(served(runs), Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:8377", "[::1]:8377", "LOCALHOST"])
def test_behind_a_tunnel_the_port_may_differ(host, runs, served):
    assert ask(served(runs), Host=host)[0] == 200


def test_on_another_address_names_that_are_not_ours_are_refused_still():
    assert is_ours("192.0.2.7", "0.0.0.0")
    assert is_ours("node7.cluster", "node7.cluster")
    assert not is_ours("evil.example", "0.0.0.0")
    assert not is_ours("192.0.2.7", "127.0.0.1")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_pages_are_only_read(method, runs, served):
    assert ask(served(runs), "/run/fine", method)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1"},
    ],
)
def test_a_note_from_another_origin_is_refused(headers, runs, served):
    page = served(runs)
    body = json.dumps({"row_id": "0", "step": "facts", "label": "good"}).encode()
    sent = {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}
    assert ask(page, "/api/run/fine/notes", "POST", body=body, **sent)[0] == 403
    assert not (runs / "fine" / "notes").exists()


@pytest.mark.parametrize("back", ["//evil.example", "/\t/evil.example", "/\\evil.example", "http://evil.example/run/"])
def test_from_a_note_the_way_leads_back_to_a_run_and_nowhere_else(back, runs, served):
    page = served(runs)
    body = urlencode({"row": "0", "step": "facts", "label": "good", "back": back}).encode()
    sent = {"Origin": page.base, "Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
    status, headers, _ = ask(page, "/api/run/fine/notes", "POST", body=body, **sent)
    assert (status, headers["Location"]) == (303, "/")


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff", b"[1]", b'{"step": 1}'])
def test_a_note_that_is_none_is_told_so(body, runs, served):
    page = served(runs)
    sent = {"Origin": page.base, "Content-Type": "application/json", "Content-Length": str(len(body))}
    assert ask(page, "/api/run/fine/notes", "POST", body=body, **sent)[0] == 422


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_ports_and_sites_may_not_ask_in_the_background(site, runs, served):
    """Cookies do not know ports: another program's page on this machine would send ours along."""
    fetched = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    assert ask(served(runs), "/api/run/fine/live", **fetched)[0] == 403


@pytest.mark.parametrize("path", ["/", "/run/fine", "/run/none", "/nowhere", "/static/app.js", "/api/run/none/live"])
@pytest.mark.parametrize("cookie", [True, False])
def test_every_answer_has_the_headers(path, cookie, runs, served):
    _, headers, _ = ask(served(runs), path, cookie=cookie)
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../..",
        "../../etc",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "/etc",
        "fine/../../secret",
        ".",
        "~..",
        "fine\0",
        "",
    ],
)
def test_a_run_is_a_name_and_never_a_path(name, runs, served):
    secret = runs.parent / "secret"
    secret.mkdir()
    (secret / "status.json").write_text('{"chain": "SECRET"}')
    page = served(runs)
    for path in (f"/run/{quote(name, safe='')}", f"/run/{name.replace(chr(0), '%00')}", f"/run/..%2f{quote(name)}"):
        status, _, text = ask(page, path)
        assert status in (400, 404), path
        assert "SECRET" not in text


@pytest.mark.parametrize(
    "file", ["../fine/.lock", ".lock", "steps/facts/000.jsonl", "..%2f..%2fetc%2fpasswd", "events"]
)
def test_only_named_files_can_be_downloaded(file, runs, served):
    assert ask(served(runs), f"/run/fine/file/{quote(file, safe='')}")[0] == 404


def test_links_out_of_the_runs_folder_are_not_followed(runs, served, tmp_path):
    outside = tmp_path / "elsewhere"
    (runs / "fine").rename(outside)
    (runs / "fine").symlink_to(outside)
    status, _, text = ask(served(runs), "/run/fine")
    assert status == 404
    assert f"next: chainette view {outside}" in text


def test_a_downloaded_file_that_is_a_link_is_not_followed(runs, served, tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    (runs / "fine" / "report.html").symlink_to(tmp_path / "secret")
    status, _, text = ask(served(runs), "/run/fine/file/report.html")
    assert status == 404
    assert "SECRET" not in text


def test_static_files_are_those_of_the_page_only(runs, served):
    page = served(runs)
    for path in ("/static/../server.py", "/static/..%2fserver.py", "/static/", "/static//etc/passwd"):
        assert ask(page, path)[0] in (403, 404)


def test_downloads_are_never_shown_as_a_page(runs, served):
    (runs / "fine" / "report.html").write_text("<script>alert(1)</script>")
    _, headers, _ = ask(served(runs), "/run/fine/file/report.html")
    assert headers["Content-Disposition"] == 'attachment; filename="report.html"'
    assert headers["Content-Type"] == "application/octet-stream"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    make_hostile(folder / "hostile")
    make_hostile(folder / "hostile-2")
    return folder


def links(page):
    """Of a page, to pages of ours."""
    found = page.eval_on_selector_all("a[href]:not([download])", "all => all.map(one => one.getAttribute('href'))")
    return list(dict.fromkeys(href for href in found if href.startswith("/")))


@pytest.mark.browser
def test_what_a_run_contains_is_text_on_every_page(hostile, served, window):
    """Rows, prompts, ids of rows and steps, messages, tags: no dialog, no error, no request to elsewhere."""
    tab, site = window(), served(hostile)
    page = tab.open(site)
    todo = ["/", "/run/hostile", "/run/hostile/course", "/run/hostile/figures", "/run/hostile/failures"]
    todo += ["/compare?a=hostile&b=hostile-2"]
    tab.expected = [NOT_HERE]
    seen = set()
    while todo:
        path = todo.pop(0)
        kind = re.sub(r"%[0-9A-Fa-f]{2}|\d|[?#].*", "", path)
        if kind in seen or "/file/" in path:
            continue
        seen.add(kind)
        answer = page.goto(site.base + path, wait_until="load")
        assert answer.status < 500, path
        assert page.eval_on_selector_all("script:not([src]), [onerror], [onload], img", "all => all.length") == 0, path
        if len(seen) < 14:
            todo += links(page)
    assert len(seen) > 6


@pytest.mark.browser
def test_the_run_page_shows_the_attack_as_it_was_written(hostile, served, window):
    page = window().open(served(hostile), "/run/hostile")
    assert page.inner_text("h1") == f"Reviews of {HOSTILE}"
    assert HOSTILE in page.inner_text("#steps")
    page.wait_for_selector("#course .failures")
    assert HOSTILE in page.inner_text("#course .failures")
