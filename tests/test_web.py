"""The live start page: its JavaScript computes what the package computes, and the page shows it, in a real browser."""

import functools
import html
import json
import random
import re
import runpy
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import PHONE, Visit, chromium, contrast, visit
from click.testing import CliRunner

import minroberta
from minroberta.cli.app import main
from minroberta.heads import lm_head
from minroberta.testing import compare, golden, read

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web"
TEXT = "She was the first woman to win the <mask> Prize."
MODEL = minroberta.load()
IDS = MODEL.tokenize([TEXT])["input_ids"]
AT = IDS[0].tolist().index(MODEL.tokenizer.mask_token_id)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve, in which the page stands below another folder."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run([sys.executable, ROOT / "tools" / "web.py", root / "some" / "folder"], check=True, cwd=ROOT)
    return root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/some/folder/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Visit]:
    with visit(browser, address) as opened:
        opened.page.wait_for_selector("#verdict.right")
        yield opened
        assert opened.errors == []


def percent(p: float) -> str:
    return f"{100 * p:.{1 if p < 0.0995 else 0}f}\u00a0%"


def guesses(logits: np.ndarray, count: int = 3) -> list[str]:
    """The likeliest tokens and their probabilities, as a row of the page's table shows them."""
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    texts = [(MODEL.tokenizer.text_of([int(id)]), p[id]) for id in np.argsort(-p, kind="stable")[:count]]
    return [part for text, p in texts for part in (text.replace(" ", "␣"), percent(p))]


def last_row(opened: Visit) -> list[str]:
    return opened.page.locator("#lens tr").last.locator("td > *").all_inner_texts()


# --- in node --------------------------------------------------------------------------------------------------------


def node(script: str, given: object, folder: Path) -> Any:
    """The result of a script, JavaScript whose functions come from web/, for an object, `given`."""
    if shutil.which("node") is None:
        pytest.skip("the JavaScript of web/ is run where node is installed")
    shutil.copytree(WEB, folder / "web")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "script.js").write_text(
        'import { readFileSync } from "node:fs";\n'
        'const given = JSON.parse(readFileSync("given.json", "utf8"));\n'
        f'const tiny = (name) => readFileSync("{(ROOT / "minroberta" / "tiny").as_posix()}/" + name);\n'
        f"{script}\nprocess.stdout.write(JSON.stringify(result));\n"
    )
    return json.loads(subprocess.run(["node", "script.js"], cwd=folder, check=True, capture_output=True).stdout)


TOKENIZE = """
import { Tokenizer } from "./web/tokenizer.js";
const tokenizer = new Tokenizer(JSON.parse(tiny("tokenizer.json")));
const result = given.map((text) => { const ids = tokenizer.encode(text); return [ids, tokenizer.decode(ids)]; });
"""
SPACES = [*"\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u180e\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"]
PARTS = [
    *SPACES, *"aBé1²½٣._\0", "e\u0301", "\u0345", "ⅷ", "ß", "漢字", "😀", "👩‍🚀", "the", " people", " ?", "don't", "'S",
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "<mask>", "<s>", "</s>", "<pad>", "<unk>", "<mask", "mask>", "<", ">",
]  # fmt: skip


def texts() -> list[str]:
    """Every assigned character of the BMP beside letters, spaces and digits, some of the others, and mixed texts.

    Whether an unassigned character is a letter depends on the version of Unicode, which each engine has its own of.
    """
    characters = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    within = [text for c in characters if ord(c) < 0x10000 for text in (f"a{c}b", f" {c} {c}1")]
    beyond = [f"a{c}b {c}1" for c in characters if ord(c) >= 0x10000][::20]
    choose = random.Random(0)
    return within + beyond + ["".join(choose.choices(PARTS, k=choose.randint(0, 12))) for _ in range(10_000)]


@pytest.mark.slow
def test_the_tokenizer_is_the_library_s(tmp_path: Path) -> None:
    """Ids of 140,000 texts, and the texts of these ids, are those of the Rust library."""
    given = texts()
    result = node(TOKENIZE, given, tmp_path)
    encodings = MODEL.tokenizer.library.encode_batch(given)
    assert [ids for ids, _ in result] == [encoding.ids for encoding in encodings]
    decoded = MODEL.tokenizer.library.decode_batch([encoding.ids for encoding in encodings], skip_special_tokens=False)
    assert [text for _, text in result] == decoded


FORWARD = """
import { lens, modelOf, run } from "./web/lens.js";
const { buffer } = Uint8Array.from(tiny("model.safetensors"));
const model = modelOf(buffer, JSON.parse(tiny("config.json")));
const values = run(model, given.ids, given.headMask);
const result = { encoder: [...values.encoder.data], lens: lens(model, values, given.position, 8) };
"""


def test_heads_are_switched_off_and_scaled(tmp_path: Path) -> None:
    """As by `head_mask`, which has a factor for each head of each layer."""
    factors = np.random.default_rng(0).choice([0, 0.5, 1, 1, 2], (6, 8)).astype(np.float32)
    given = {"ids": IDS[0].tolist(), "position": AT, "headMask": factors.tolist()}
    result = node(FORWARD, given, tmp_path)
    exact = minroberta.load(dtype="float64")
    with_factors = functools.partial(minroberta.trace, exact, IDS, head_mask=factors.astype(np.float64))
    truth = with_factors()["encoder"]
    assert abs(truth - minroberta.trace(exact, IDS)["encoder"]).max() > 1
    # Each of about 50 steps rounds a number of at most 5, once; the largest errors were 1e-5.
    np.testing.assert_allclose(np.reshape(result["encoder"], truth.shape), truth, atol=1e-4)
    logits = lm_head(with_factors()["encoder.layer.2"], exact.p, exact.config)[0, AT]
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    ids, probabilities = zip(*result["lens"][3], strict=True)
    assert list(ids) == np.argsort(-p)[:8].tolist()
    np.testing.assert_allclose(probabilities, p[list(ids)], rtol=1e-3)


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_named_value_is_right(opened: Visit, root: Path, tmp_path: Path) -> None:
    """The values that the page computed and saves, compared by name with the golden file by the package."""
    with opened.page.expect_download() as download:
        opened.page.click("#values")
    download.value.save_as(tmp_path / "values.safetensors")
    values, held = read(tmp_path / "values.safetensors"), golden.load(root / "some/folder/golden.safetensors")
    assert np.array_equal(held.inputs["input_ids"], IDS)
    assert [*held] == [*minroberta.trace(MODEL, IDS)] == [*values]
    report = compare(held, values)
    assert {row.verdict for row in report.rows} == {"good"}
    # Sums are computed in float64 here, so that a step's only error is to round its result: less than the noise.
    assert max(row.multiple for row in report.rows) < 2
    command = ["golden", "check", root / "some/folder/golden.safetensors", tmp_path / "values.safetensors"]
    assert CliRunner().invoke(main, [*map(str, command)]).exit_code == 0
    opened.page.click("summary")
    shown = [line.split("\t") for line in opened.page.inner_text("#rows").splitlines()[1:]]
    assert [(row[0], row[4]) for row in shown] == [(row.name, f"{row.multiple:.2f}") for row in report.rows]
    worst = max(report.rows, key=lambda row: row.multiple)
    verdict = opened.page.inner_text("#verdict")
    assert f"All {len(report.rows)} values agree. The worst is {worst.name}: " in verdict
    assert f"{worst.multiple:.2f} times" in verdict and f"Up to {report.bound:.0f} times" in verdict


@pytest.mark.slow
def test_the_guesses(opened: Visit, address: str) -> None:
    """At each layer, and the answer, which is `fill_mask`'s. Nothing but the page's files was fetched for it."""
    trace = minroberta.trace(MODEL, IDS)
    names = ["embeddings", *(f"encoder.layer.{i}" for i in range(6))]
    rows = opened.page.locator("#lens tr").all()
    for name, row in zip(names, rows, strict=True):
        logits = lm_head(trace[name], MODEL.p, MODEL.config)[0, AT]
        assert row.locator("td > *").all_inner_texts() == guesses(logits)
    opened.page.fill("#text", "The Amazon River flows into the Atlantic <mask>.")
    opened.page.wait_for_selector("#answer b:text('Ocean')")
    best = MODEL.fill_mask("The Amazon River flows into the Atlantic <mask>.", top_k=3)
    assert re.match(r"14 tokens, computed by this browser in \d+ ms\.$", opened.page.inner_text("#time"))
    answer = ", ".join(f"{one['token_str'].strip()} {percent(one['score'])}" for one in best)
    assert opened.page.inner_text("#answer") == answer
    assert opened.requests and all(request.startswith((address, "blob:")) for request in opened.requests)


@pytest.mark.slow
def test_another_token_is_looked_at(opened: Visit) -> None:
    opened.page.check("#tokens input >> nth=4")
    logits = MODEL(IDS).logits[0, 4]
    assert last_row(opened) == guesses(logits)
    assert "␣the reads" in opened.page.inner_text("#reading")


@pytest.mark.slow
def test_a_head_is_pointed_at_and_switched_off(opened: Visit) -> None:
    page = opened.page
    probs = minroberta.trace(MODEL, IDS)["encoder.layer.2.attention.self.probs"][0, 6, AT]
    page.hover("#heads input[value='2 6']")
    assert f"Layer 2, head 6: <mask> reads ␣the {percent(probs[AT - 1])}" in page.inner_text("#reading")
    page.mouse.move(0, 0)
    assert "Layer 1, head 0" in page.inner_text("#reading")

    page.click("#switch")
    page.wait_for_selector("#changed:text('layer 1, head 0 × 0')")
    page.wait_for_selector("#answer:has-text('before the heads were changed: Nobel')")
    factors = np.ones((6, 8), np.float32)
    factors[1, 0] = 0
    assert last_row(opened) == guesses(MODEL(IDS, head_mask=factors).logits[0, AT])
    assert "<mask> reads nothing" in page.inner_text("#reading")
    assert page.inner_text("#answer b") == "."  # the page says that the guess changes

    page.click("#reset")
    page.wait_for_selector("#answer b:text('Nobel')")
    assert page.inner_text("#changed") == "" and last_row(opened) == guesses(MODEL(IDS).logits[0, AT])


@pytest.mark.slow
def test_keyboard(opened: Visit) -> None:
    """Tab goes from group to group, arrows go within, and every control can be reached."""
    page = opened.page
    page.focus("#text")
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.locator(":focus").evaluate("e => e.name || e.id || e.tagName"))
    assert reached == ["token", "head", "strength", "switch", "A", "mistake", "values", "SUMMARY", "A"]
    page.focus("#heads input:checked")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#reading").startswith("Layer 1, head 1:")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#reading").startswith("Layer 2, head 1:")
    page.focus("#strength")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#changed:text('layer 2, head 1 × 0.95')")
    page.focus("#tokens input:checked")
    page.keyboard.press("ArrowRight")
    assert page.locator(":focus").get_attribute("value") == str(AT + 1)
    assert "␣Prize reads" in page.inner_text("#reading")


DOCUMENT = (ROOT / "docs" / "javascript.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_planted_mistakes(opened: Visit) -> None:
    """They show as the table in the document says."""
    page = opened.page
    right = page.inner_text("#verdict")
    rows = re.findall(r"^\| (.+) \| (\d+) \| `(.+)` \| (.+) %", DOCUMENT, re.MULTILINE)
    assert page.locator("#mistake option").all_inner_texts() == ["none", *(row[0] for row in rows)]
    for mistake, count, name, guess in rows:
        page.select_option("#mistake", mistake)
        verdict = page.inner_text("#verdict.wrong").replace("\u00a0", " ")
        assert f"✗ {count} of 121 values are wrong. The first is {name}. The guess is" in verdict
        assert f" {guess} %" in verdict and ("is still" in verdict) == ("Nobel" in guess)
    page.select_option("#mistake", "none")
    assert page.inner_text("#verdict.right") == right


@pytest.mark.slow
def test_while_the_weights_arrive(browser: Any, address: str) -> None:
    """The first sentence is answered before, as it is after."""
    with visit(browser, "about:blank") as opened:
        held: list[Any] = []
        opened.page.route("**/model.safetensors", lambda route: held.append(route))
        opened.page.goto(address)
        opened.page.wait_for_selector("#answer b:text('Nobel')")
        before = opened.page.inner_text("main section.lens"), opened.page.inner_text("#reading")
        assert opened.page.is_visible("#progress") and "14 MB" in opened.page.inner_text("#status")
        assert opened.page.is_disabled("#switch") and opened.page.is_disabled("#tokens input >> nth=0")
        held[0].continue_()
        opened.page.wait_for_selector("#verdict.right")
        assert (opened.page.inner_text("main section.lens"), opened.page.inner_text("#reading")) == before
        assert opened.page.locator("#progress").count() == 0 and opened.page.inner_text("#status") == ""


@pytest.mark.slow
def test_while_the_golden_file_arrives(browser: Any, address: str) -> None:
    """The page answers already. A mistake can be planted only when there is something to compare with."""
    with visit(browser, "about:blank") as opened:
        page, held = opened.page, list[Any]()
        page.route("**/golden.safetensors", lambda route: held.append(route))
        page.goto(address)
        page.wait_for_selector("#verdict:text('when the golden file has arrived')")
        assert page.is_disabled("#mistake") and not page.is_visible("#values") and not page.is_visible("summary")
        page.dispatch_event("#mistake", "change")  # as a browser may do that restores a form
        page.fill("#text", "The Amazon River flows into the Atlantic <mask>.")
        page.wait_for_selector("#answer b:text('Ocean')")
        held[0].continue_()
        page.wait_for_selector("#verdict.right")
        page.select_option("#mistake", "positions begin at 0")
        page.wait_for_selector("#verdict.wrong")
        assert page.is_visible("#values") and page.is_visible("summary") and opened.errors == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "reason"), [({"status": 404}, "the server answers 404"), ({"body": b"not such a file"}, ".")]
)
def test_without_the_golden_file(browser: Any, address: str, answer: dict[str, Any], reason: str) -> None:
    """Only the comparison is not available, and this is said where it would stand."""
    with visit(browser, "about:blank") as opened:
        page = opened.page
        page.route("**/golden.safetensors", lambda route: route.fulfill(**answer))
        page.goto(address)
        page.wait_for_selector("#verdict:text('The comparison is not available: ')")
        assert reason in page.inner_text("#verdict") and page.inner_text("#status") == ""
        assert page.is_disabled("#mistake") and not page.is_visible("#values") and not page.is_visible("summary")
        page.click("#switch")
        page.wait_for_selector("#answer:has-text('before the heads were changed: Nobel')")


@pytest.mark.slow
def test_what_goes_wrong_is_said(browser: Any, address: str, root: Path) -> None:
    with visit(browser, "about:blank") as opened:
        opened.page.route("**/model.safetensors", lambda route: route.fulfill(status=404))
        opened.page.goto(address)
        opened.page.wait_for_selector("#status:has-text('model.safetensors cannot be read: the server answers 404')")
    shutil.copytree(WEB, root / "unbuilt")
    with visit(browser, address.replace("some/folder", "unbuilt")) as opened:
        opened.page.wait_for_selector("#status:has-text('tools/web.py')")
    with visit(browser, (root / "some/folder/index.html").as_uri()) as opened:
        assert "an address that begins with http" in opened.page.inner_text("#status")


@pytest.mark.slow
def test_sentences_that_need_a_word(opened: Visit) -> None:
    page = opened.page
    page.fill("#text", "")
    page.wait_for_selector("#status:has-text('There is no <mask> in the sentence')")
    page.fill("#text", "a <mask> " * 30)
    page.wait_for_selector("#status:has-text('This page reads 40 of ')")
    assert page.locator("#tokens label").count() == 40
    page.fill("#text", "<b> </script> <mask>")
    tokens = [MODEL.tokenizer.text_of([id]) for id in MODEL.tokenize(["<b> </script> <mask>"])["input_ids"][0].tolist()]
    page.wait_for_selector(f"#tokens:not(:has(label:nth-of-type({len(tokens) + 1})))")
    assert page.locator("#tokens label").all_inner_texts() == [token.replace(" ", "␣") for token in tokens]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone(browser: Any, address: str, dark: bool) -> None:
    """Nothing has to be scrolled sideways, and text can be read on its background, in both schemes."""
    with visit(browser, address, PHONE, dark=dark, touch=True) as opened:
        page = opened.page
        page.wait_for_selector("#verdict.right")
        page.tap("#heads label >> nth=11")
        assert page.inner_text("#reading").startswith("Layer 1, head 3:")
        page.tap("summary")
        assert opened.sideways() == 0
        page.fill("#text", "a <mask> " * 30)
        page.wait_for_selector("#status:has-text('40')")
        assert opened.sideways() == 0
        paper = opened.style("body", "backgroundColor")
        for selector in ("body", "a", "#reading", "#verdict", "#lens th"):
            assert contrast(opened.style(selector, "color"), paper) > 4.5, selector
        panel = opened.style(".ask", "backgroundColor")
        assert contrast(opened.style("#status", "color"), panel) > 4.5
        assert contrast(opened.style("label[for=text]", "color"), panel) > 4.5
        page.select_option("#mistake", "positions begin at 0")
        assert contrast(opened.style("#verdict.wrong", "color"), paper) > 4.5


# --- the page as a file ---------------------------------------------------------------------------------------------

HOME = "https://github.com/minroberta/minroberta/blob/main/"


def links(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', page)


PAGE = (WEB / "index.html").read_text(encoding="utf-8")


def test_links() -> None:
    """Each leads to a file of the page, of the repository, or to a heading of the page."""
    for link in links(PAGE):
        if link.startswith(HOME):
            assert (ROOT / link.removeprefix(HOME)).is_file(), link
        elif link.startswith("#"):
            assert f'id="{link[1:]}"' in PAGE, link
        else:
            known = (HOME.removesuffix("/blob/main/"), "golden.safetensors")  # the second is made by the build
            assert link in known or (WEB / link).is_file(), link


def test_links_lead_to_the_pages_beside_it(tmp_path: Path) -> None:
    """If the page stands at the root of the documents' site."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "testing.html").write_text("")
    index = runpy.run_path(str(ROOT / "tools" / "web.py"))["index"]
    found = links(index(tmp_path, {}))
    assert "docs/testing.html" in found and f"{HOME}docs/testing.md" not in found
    assert f"{HOME}docs/javascript.md" in found


def test_the_page_s_commands_are_readme_s() -> None:
    page = html.unescape(PAGE)
    block = re.findall(r"```sh\n(.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    assert block in f"{page.partition('cd minroberta')[2].partition('</code>')[0].lstrip()}\n"
    assert TEXT in page


def test_the_document_s_lines() -> None:
    rows = dict(re.findall(r"^\| \[\w+\.js\]\(\.\./(web/\w+\.js)\) \| (\d+) \|", DOCUMENT, re.MULTILINE))
    assert rows == {
        f"web/{path.name}": str(len(path.read_text(encoding="utf-8").splitlines())) for path in sorted(WEB.glob("*.js"))
    }
