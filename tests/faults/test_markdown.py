"""What do renderers of GitHub Markdown make of a text of the record in a card? C01.

Two of them: the one of the order-entry page, which is what a CDS client in a browser is likely to
have, and one that follows CommonMark to the letter.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from cds_service.cards import escaped, plain
from tests.support.vignette import ROOT

ATTACKS = [
    "# heading",
    "###### heading",
    "> quoted",
    ">quoted",
    "- item",
    "+ item",
    "---",
    "- - -",
    "1. item",
    "12) item",
    "123456789. item",
    "[ ] task",
    "```js",
    "~~~",
    "    code",
    "===",
    "&lt;b&gt; &#60;i&#62; &#x3C; &amp; &copy",
    "&nbsp;&Tab;&NewLine;x",
    "www.evil.example",
    "(www.evil.example/a?b)",
    "see WWW.evil.example",
    "http://evil.example/p?x=1",
    "HTTPS://evil.example",
    "ftp://evil.example",
    "<http://evil.example>",
    "nurse@evil.example",
    "mailto:nurse@evil.example",
    "xmpp:nurse@evil.example",
    "[x](javascript:alert(1))",
    "![](http://evil.example/p)",
    "[x]: http://evil.example",
    "[^1]",
    "a | b",
    "|a|b| |-|-| |c|d|",
    "**b** __b__ *i* _i_ ~~s~~ ~s~ `c`",
    "<script>alert(1)</script>",
    "<!-- -->",
    "ends with a backslash \\",
    "\\# \\[ \\\\",
]
#: What is read as it is written, and so is not to be changed.
HARMLESS = [
    "B12 120 pg/mL on 2025-12-01 (reference 200-900): low",
    "2.5 mg, not 2,5 mg: 1000 microgram = 1 mg & more",
    "Condition: ileal resection > 20 cm; see note #4 + 1.",
    "at 8:30 // no reply, wwwx. Smith & Sons; R&D",
]

Render = Callable[[list[str]], list[str]]


def commonmark(texts: list[str]) -> list[str]:
    with_tables = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return [with_tables.render(text) for text in texts]


def in_a_browser(texts: list[str]) -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node: apt-get install nodejs")
    marked = (ROOT / "cds_service/pages/static/vendor/marked.js").as_uri()
    script = (
        f"import {{ Marked }} from {json.dumps(marked)};"
        "let text = ''; for await (const part of process.stdin) text += part;"
        "const all = JSON.parse(text).map((one) => new Marked({ gfm: true }).parse(one));"
        "console.log(JSON.stringify(all));"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: list[str] = json.loads(done.stdout)
    return found


class _Seen(HTMLParser):
    """The elements, and the text in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_data(self, data: str) -> None:
        self.text += data


def cards_with(text: str) -> list[str]:
    """Where a text of a record may stand in the detail of a card: at the start, and after it."""
    return [f"**Why**\n\n- {escaped(text)}\n- next", f"**Why**\n\n- Drug: {escaped(text)}\n- next"]


@pytest.mark.fault("C01")
@pytest.mark.parametrize("render", [commonmark, in_a_browser])
def test_c01_a_text_of_the_record_is_read_as_it_is_written(render: Render) -> None:
    texts = [*ATTACKS, *HARMLESS]
    details = [detail for text in texts for detail in cards_with(text)]
    shown = [_Seen(html) for html in render(details)]
    for number, (detail, seen) in enumerate(zip(details, shown, strict=True)):
        assert seen.tags == ["p", "strong", "ul", "li", "li"], detail
        before = "Drug: " if number % 2 else ""
        expected = f"Why {before}{plain(texts[number // 2])} next"
        assert " ".join(seen.text.split()) == expected, detail


def test_what_is_harmless_is_not_escaped() -> None:
    assert [escaped(text) for text in HARMLESS] == HARMLESS
