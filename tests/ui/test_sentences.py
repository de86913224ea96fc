"""What Python says in English is read in the page's language: found by its pattern, whole, with nothing of it lost."""

import ast
import json
import re
import time
from dataclasses import replace

import pytest
from playwright.sync_api import expect
from served import opened, served

from newbie_ui.engine.base import DeviceInfo
from newbie_ui.engine.fake import FAKE_MODEL, FakeEngine
from newbie_ui.engine.memory import too_small
from newbie_ui.engine.plan import make_plan, step_down
from newbie_ui.engine.queued import DEVICE_LOST
from newbie_ui.engine.resolve import resolve
from newbie_ui.errors import UserError
from newbie_ui.model.checkpoint import NAMES as CHECKPOINT_NAMES
from newbie_ui.presets import Preset, choose, load_presets, rank
from newbie_ui.prompt.lint import lint
from newbie_ui.request import PARAMETERS, GenerateRequest, LoraUse
from newbie_ui.settings import PROJECT
from newbie_ui.ui import bind, words
from tests.prompt.samples import NASTY, OFFICIAL
from tests.prompt.test_lint import CASES

SOURCES = PROJECT / "newbie_ui"
LOCALES = {"ja": "ja-JP", "zh-CN": "zh-CN"}
MAX_BYTES = 40_000  # of a language's table: all of them travel with the page
HOLE = re.compile(r"\{(\w+)\}")
ENGLISH = re.compile(
    r"\b(?:the|a|an|is|are|was|has|have|not|of|it|its|use|used|with|for|this|that|be)\b", re.IGNORECASE
)
# Files whose every sentence is for people on the page.
SPOKEN = [
    "prompt/lint.py",
    "prompt/lint_tags.py",
    "prompt/reader.py",
    "prompt/paste.py",
    "prompt/paste_json.py",
    "prompt/paste_text.py",
    "prompt/split.py",
    "prompt/wildcards.py",
    "ui/bind.py",
    "ui/compose.py",
    "ui/restore.py",
    "ui/actions.py",
    "grid/axes.py",
    "grid/plan.py",
    "grid/values.py",
    "grid/runner.py",
    "engine/memory.py",
    "engine/plan.py",
    "engine/announce.py",
    "model/fit.py",
    "gallery/info.py",
]


@pytest.fixture(scope="module")
def tell(browser):
    """`tell(language, sentences)`: what the page makes of them."""
    script = (SOURCES / "ui/static/core.js").read_text("utf-8") + "\n" + words.script()
    pages = {}
    for language, locale in LOCALES.items():
        pages[language] = browser.new_context(locale=locale).new_page()
        pages[language].add_script_tag(content=script)
    return lambda language, sentences: pages[language].evaluate(
        "all => all.map((one) => nb.told(one))", list(sentences)
    )


def assert_told(tell, sentences, own=""):
    """Nothing of them stays English but what stands in `own`, the text of a person."""
    sentences = sorted(set(sentences))
    assert sentences
    english = [
        f"{language}: {sentence} → {told}"
        for language in LOCALES
        for sentence, told in zip(sentences, tell(language, sentences))
        if told == sentence or any(word not in own for word in ENGLISH.findall(told))
    ]
    assert english == []


# ---- what the code can say -----------------------------------------------------------------------------------------


def templates(path):
    """Strings of a file that are no docstring and nobody's log; what is filled in became \\0."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        called = getattr(node, "func", None)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            skipped |= {*node.values}
        elif isinstance(called, ast.Attribute) and getattr(called.value, "id", "") == "log":
            skipped |= {*node.args}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)


def refusals(*tries):
    for attempt in tries:
        try:
            attempt()
        except UserError as error:
            yield str(error)


def test_every_lint_message_and_fix_has_its_words(tell):
    texts = [*NASTY.values(), OFFICIAL, *(case[1] for case in CASES)]
    found = [finding for text in texts for finding in lint(text)] + list(lint(OFFICIAL, ["1girl"]))
    assert {finding.code for finding in found} == {case[0] for case in CASES} | {"unknown_to_model"}
    said = [finding.message for finding in found] + [finding.fix.label for finding in found if finding.fix]
    assert_told(tell, said, own=" ".join(texts))


def test_every_refusal_of_a_field_has_its_words(tell):
    odd = {"loras": ((LoraUse("", 1.0),), (LoraUse("ink", 9.0),)), "text": ("x" * 30_000, 7)}
    fields = [(p, value) for p in PARAMETERS.values() for value in odd.get(p.kind, ("abc", 1e9, -99))]
    tries = [lambda p=p, value=value: p.check(value) for p, value in fields]
    usual = GenerateRequest("1girl")
    tries += [replace(usual, width=1001).checked, replace(usual, guidance_start=0.8, guidance_end=0.5).checked]
    tries += [
        lambda uses=uses: bind.loras({"uses": uses})
        for uses in ("x", [{}], [{"name": "ink", "weight": "9"}], [{}] * 99)
    ]
    said = list(refusals(*tries))
    assert len(said) > 50
    assert_told(tell, said)


def test_presets_are_told_for_every_device(tell):
    presets = load_presets(PROJECT / "presets")
    said = [text for preset in presets for text in (preset.label, preset.summary)]
    for kind, gb in (("cpu", 8), ("cpu", 64), *(("cuda", gb) for gb in (4, 8, 11.9, 16, 24, 80))):
        said += [row.reason for row in rank(presets, kind, gb) if row.reason]
        said += refusals(*(lambda p=p, k=kind, gb=gb: choose(presets, p.name, k, gb) for p in presets))
    said += refusals(lambda: choose(presets, "nope", "cuda", 24))
    assert_told(tell, said)


def test_whatever_the_files_say_that_speak_to_people_has_its_words(tell):
    said = [text for name in SPOKEN for text in templates(SOURCES / name)]
    sentences = [
        text for text in said if re.search(r"[a-z]{2} .*\.$", text, re.DOTALL) and not text.startswith("You are")
    ]
    sentences = [text for text in sentences if "\0\0" not in text]  # put together of parts: a card's name, "and"
    assert len(sentences) > 90
    assert_told(tell, [re.sub(r"^\0 (?=[A-Z])|(?<=\.)\0", "", text).replace("\0", "7") for text in sentences])


def test_what_the_engine_says_while_it_works_has_its_words(tell):
    said = [text for name in ("fake", "local", "rig") for text in templates(SOURCES / f"engine/{name}.py")]
    said = [text for text in said if re.match("(Looking|Converting|Moving|Compiling|Pretending) ", text)]
    assert len(said) > 6
    said += [f"Reading the {name}" for name in CHECKPOINT_NAMES.values()]
    said += [DEVICE_LOST, "Downloading NewBie-AI/NewBie-image-Exp0.1 (8.2 GB): vae/config.json"]
    plan, notes = make_plan(Preset(batch=4), DeviceInfo("cuda", "card", 24.0), small_model=False), ()
    for stage in ("decode", "encode", "encode", *["denoise"] * 3):
        plan = step_down(plan, stage, card=True)
        notes = plan.notes
    said += [*notes, str(too_small(resolve(GenerateRequest("1girl"), FAKE_MODEL, "quality")[0], notes))]
    assert_told(tell, [text.replace("\0", "7") for text in said])


def test_figures_of_a_picture_and_of_the_device_have_their_words(tell):
    facts = [
        "native",
        "off",
        "hit",
        "miss",
        "block, warm",
        "block, as written",
        "prompt cache hit",
        "compile block, cold",
    ]
    facts += ["0.333 s/step", "19 hits, 5 misses", "offload off", "the embedded demo model", "see its model card"]
    facts.append("newbie-demo on Intel(R) Xeon(R) Processor, 2 cores, 256 × 256, 20 steps.")
    assert_told(tell, facts)
    assert tell("ja", ["cudnn", "encoders"]) == ["cudnn", "encoders"]  # names stay


# ---- the tables ----------------------------------------------------------------------------------------------------


def test_translations_have_the_holes_of_their_sentence_and_every_language_the_same_sentences():
    tables = words.sentences()
    assert set(tables) == set(LOCALES) == set(words.words()) - {"en"}
    assert tables["ja"].keys() == tables["zh-CN"].keys()
    for language, table in tables.items():
        for sentence, text in table.items():
            assert sorted(HOLE.findall(sentence)) == sorted(HOLE.findall(text)), f"{language}: {sentence}"
            assert HOLE.sub("", sentence).strip(), "a hole alone would hold itself"
        path = words.FOLDER / "sentences" / f"{language}.json"
        assert path.stat().st_size < MAX_BYTES
        pairs = json.loads(path.read_text("utf-8"), object_pairs_hook=list)
        assert len(pairs) == len(table), "a sentence stands there twice"


def test_no_sentence_is_one_that_nobody_says():
    source = "\n".join(text for path in SOURCES.rglob("*.py") for text in templates(path))
    filled = ("\0", "", "s", "a number", "a whole number")  # what the code itself puts into a sentence
    said = [source.replace("\0", one) for one in filled]
    said += [text for preset in load_presets(PROJECT / "presets") for text in (preset.label, preset.summary)]
    said = "\n".join(said)
    parts = [(part, sentence) for sentence in words.sentences()["ja"] for part in HOLE.split(sentence)[::2]]
    assert [sentence for part, sentence in parts if part.strip(" .,<>()×") not in said] == []


# ---- on the page ---------------------------------------------------------------------------------------------------


def test_what_people_wrote_stays_as_it_is(tell):
    wild = "{n} </b> $& is there twice. Once"
    said = [
        f"{wild} is there twice. Once is enough.",
        f"Remove the second {wild}",
        "Nobody translated this. Use it.",
        "",
    ]
    assert tell("ja", said) == [f"{wild} が 2 つあります。1 つで足ります。", f"2 つ目の {wild} を消す", *said[2:]]


def test_several_sentences_are_told_one_by_one_and_lists_word_by_word(tell):
    said = (
        "Restored from a picture of Fooocus. Width 1000 became 1008, the nearest multiple of 16. Odd! It was left out."
    )
    assert tell("ja", [said, "Move to appearance, clothing", "Guidance from 7 is out of range. Use 0 to 1."]) == [
        "Fooocusの画像から戻しました。幅の 1000 を、最も近い 16 の倍数 1008 にしました。Odd! これは省きました。",
        "容姿、服装へ移す",
        "ガイダンス開始の 7 は範囲外です。0～1 にしてください。",
    ]


def test_no_text_keeps_the_page_busy(tell):
    unit = ["Steps ", "a and b ", "LoRA 1 is ", "<x> is closed by . ", ", ", "1 x 1 is 1 "]
    started = time.perf_counter()
    tell("ja", [one * (length // len(one)) for one in unit for length in (1990, 100_000)])
    assert time.perf_counter() - started < 2.0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(tmp_path_factory.mktemp("sentences"), lambda settings, sink: FakeEngine(sink, step_s=0.01)) as parts:
        yield parts


def test_a_note_its_fix_and_a_refused_field_are_read_in_japanese(browser, site):
    with opened(browser, site[0], locale="ja-JP") as page:
        page.get_by_role("button", name="XML").click()
        text = page.locator(".xml-text")
        text.fill(OFFICIAL.replace("<count>2girls, multiple_girls</count>", "<count>1girl, solo</count>"))
        note = page.locator(".lint > div", has_text="人数は 1girl、カードは 2girls です。")
        expect(note).to_be_visible()
        note.get_by_role("button", name="2girls にする").click()
        expect(text).to_have_value(OFFICIAL)
        expect(note).to_have_count(0)
        expect(page.locator(".prs")).to_contain_text("の GPU が必要")
        page.get_by_role("button", name="ほか", exact=True).click()
        page.locator("#nb-p-width").fill("1001")
        page.locator("#nb-p-width").press("Tab")
        page.locator("#nb-generate").click()
        refusal = "幅の 1001 は 16 の倍数ではありません。992 か 1008 にしてください。"
        expect(page.locator(".nb-err", has_text=refusal)).to_be_visible()
        expect(page.locator(".lint .err")).to_contain_text(refusal)


def test_what_flags_and_preset_keys_mean_is_read_in_japanese(browser, site):
    with opened(browser, site[0], locale="ja-JP") as page:
        page.get_by_role("tab", name="設定").first.click()
        helps = page.locator(".nb-s-keys dd span").filter(visible=True)
        expect(page.locator(".nb-s-keys", has_text="--max-queue")).to_contain_text("待てるジョブの総数")
        english = [text for text in helps.all_inner_texts() if ENGLISH.search(text)]
        assert helps.count() > 20
        assert not english
