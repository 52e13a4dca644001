"""The page of examples/browser: its pixels by Node.js, all of it in Chromium."""

import contextlib
import functools
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import threading

import keras
import numpy as np
import pytest
from PIL import Image
from processes import ROOT
from test_export import NAMES, PHOTOS, TRANSFORM, classifier

import scalenet_tf
from scalenet_tf import export
from scalenet_tf.decoding.pillow import decode_array
from scalenet_tf.decoding.resizing import resize_and_crop_array
from scalenet_tf.preprocessing import EvaluationTransform

FOLDER = pathlib.Path(ROOT, "examples", "browser")
GUIDE = pathlib.Path(ROOT, "docs", "browser.md").read_text(encoding="utf-8")
VERSION = json.loads((FOLDER / "package.json").read_text())["dependencies"][
    "onnxruntime-web"
]
RUNTIME = FOLDER / "node_modules" / "onnxruntime-web"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Nothing but the page: no look-ups of the browser's own.
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZES = [(40, 60, 32, 36), (75, 33, 32, 32), (32, 32, 32, 32), (20, 24, 32, 40)]
SIZES += [(500, 375, 224, 256), (7, 600, 8, 8)]


def node(script, data=b""):
    """What a module prints that finds the page's modules in `page`."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js: node on PATH")
    imports = "import {readFileSync} from 'fs';" + "".join(
        f"import * as {name} from '{(FOLDER / name).as_uri()}.js';"
        for name in ("pixels", "metadata")
    )
    ended = subprocess.run(
        ["node", "--input-type=module", "--eval", imports + script],
        input=data,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout


def test_nothing_comes_from_elsewhere_and_the_guide_has_the_version():
    names = ("index.html", "page.js", "network.js", "pixels.js", "metadata.js")
    text = "".join((FOLDER / name).read_text() for name in names)
    mark = "version https://git-lfs"  # of a file that is no network
    assert not re.findall(r"https?:|//cdn", text.replace(mark, ""))
    (policy,) = re.findall(r'Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; ")
    assert {*re.findall(r"(?:[a-z]+:)(?=[ ;])", policy)} == {"blob:", "data:"}
    assert f"onnxruntime-web {VERSION}" in GUIDE


def test_pixels_are_those_of_the_package():
    random = np.random.default_rng(0)
    for height, width, size, resize in SIZES:
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        opaque = np.full((height, width, 1), 255, np.uint8)
        output = node(
            "const data = readFileSync(0);"
            f"const picture = {{data, width: {width}, height: {height}}};"
            f"const crop = pixels.resizeAndCrop(picture, {size}, {resize});"
            "process.stdout.write(new Uint8Array(crop.buffer));",
            np.concatenate([image, opaque], -1).tobytes(),
        )
        crop = np.frombuffer(output, np.float32).reshape(size, size, 3)
        expected = resize_and_crop_array(image, size, resize)
        assert np.abs(crop - expected).max() < 2e-3, (height, width)
    # as is a picture that is too narrow
    output = node(
        "try { pixels.resizeAndCrop({data: [], width: 1, height: 2e5}, 224, 256) }"
        "catch (error) { console.log(error.message) }"
    )
    assert b"so narrow that it has more than 33554432" in output


def test_values_are_rounded_and_normalised_as_the_package_does():
    crop = np.random.default_rng(0).uniform(-1, 256, (4, 4, 3)).astype(np.float32)
    crop.flat[:3] = 0.5, 1.5, 254.5  # to even
    transform = EvaluationTransform(4, 4, "imagenet")
    mean, deviation = scalenet_tf.preprocessing.STATISTICS["imagenet"]
    output = node(
        "const crop = new Float32Array(new Uint8Array(readFileSync(0)).buffer);"
        f"const normal = pixels.normalizePixels(crop, {[*mean]}, {[*deviation]});"
        "process.stdout.write(pixels.roundPixels(crop));"
        "process.stdout.write(new Uint8Array(normal.buffer));",
        crop.tobytes(),
    )
    rounded = np.frombuffer(output[:48], np.uint8).reshape(crop.shape)
    np.testing.assert_array_equal(rounded, np.round(np.clip(crop, 0, 255)))
    normal = np.frombuffer(output[48:], np.float32).reshape(crop.shape)
    np.testing.assert_array_equal(normal, transform.of_array(crop))


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def onnx_files(model, tmp_path_factory):
    """A tiny network that takes pixels, and one that takes normalised floats."""
    pytest.importorskip("onnx", reason="needs the extra `onnx`")
    folder = tmp_path_factory.mktemp("onnx")
    for kind in ("uint8", "float32"):
        path = folder / f"{kind}.onnx"
        export.convert_onnx(model, path, TRANSFORM, NAMES, input_type=kind)
    return folder


def read_by_node(data):
    output = node(
        "try { console.log(JSON.stringify(metadata.readMetadata(readFileSync(0)))) }"
        "catch (error) { if (!(error instanceof metadata.ModelError)) throw error;"
        "console.log(JSON.stringify(error.message)) }",
        data,
    )
    return json.loads(output)


def test_metadata_are_those_of_the_file(onnx_files):
    for kind in ("uint8", "float32"):
        path = onnx_files / f"{kind}.onnx"
        content = read_by_node(path.read_bytes())
        assert content == export.read_metadata(path)
        assert content["input_type"] == kind


def altered(path, **fields):
    """The file with other metadata; without any where they are None."""
    import onnx

    model = onnx.load(path)
    (entry,) = model.metadata_props
    content = json.loads(entry.value)
    content.update(fields)
    entry.value = json.dumps({k: v for k, v in content.items() if v is not None})
    return model.SerializeToString()


def test_other_files_are_named(onnx_files):
    path = onnx_files / "uint8.onnx"
    data = path.read_bytes()
    for content, message in (
        (b"", "it is empty"),
        (b"\x1c\0\0\0TFL3", "it is a TFLite file"),
        (b"PK\3\4", "it is a .keras file or another ZIP archive"),
        (b"\x89HDF\r\n", "it is an HDF5 file of weights"),
        (b"version https://git-lfs.github.com", "it is a pointer of Git LFS"),
        (b"words, no network", "it is cut off, or not an ONNX file"),
        (data[: len(data) // 2], "it is cut off, or not an ONNX file"),
        (
            data.replace(b"scalenet.json", b"another1.json"),
            "it was not exported by scalenet_tf: there is no scalenet.json among its "
            "metadata",
        ),
        (data.replace(b'{"name"', b'["name"'), "its scalenet.json is damaged"),
        (
            altered(path, image_size=0),
            "the field image_size of its scalenet.json must be a number of pixels",
        ),
        (
            altered(path, standard_deviation=[1, 0, 1]),
            "the field standard_deviation of its scalenet.json must be three numbers "
            "above 0",
        ),
        (
            altered(path, class_names=None),
            "the field class_names of its scalenet.json must be a list of names",
        ),
        (
            altered(path, image_size=37),
            "the field image_size of its scalenet.json is above resize",
        ),
    ):
        assert read_by_node(content) == message
    assert read_by_node(altered(path, input_type=None))["input_type"] == "float32"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder):
    """The address of a folder, as `python -m http.server` serves it."""
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Visitor:
    """Someone who uses the page, and notes what the browser asks for and says."""

    def __init__(self, page):
        self.page, self.requests, self.errors = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self._note(message))

    def _note(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def choose(self, network=None, picture=None):
        """What the page says once it is done: the answer, and what is wrong."""
        for field, path in (("#model", network), ("#picture", picture)):
            if path is not None:
                self.page.set_input_files(field, path)
                self.page.locator("body[aria-busy=false]").wait_for(timeout=60_000)
        return [self.page.locator(f"#{id}").inner_text() for id in ("status", "wrong")]

    def probabilities(self):
        """Number of the class -> probability, and the likeliest first."""
        button = self.page.locator("#all")
        if button.is_visible() and button.get_attribute("aria-expanded") == "false":
            button.click()
        rows = self.page.locator("#classes tr").evaluate_all(
            "rows => rows.map(({dataset: {index, probability}}) => "
            "[Number(index), Number(probability)])"
        )
        return dict(rows)


@pytest.fixture(scope="module")
def browser():
    reason = "needs playwright: pip install playwright"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    if CHROMIUM is None:
        pytest.skip("needs a browser: chromium or google-chrome on PATH")
    if not RUNTIME.is_dir():
        pytest.skip("needs ONNX Runtime Web: npm install in examples/browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    with serving(FOLDER) as address:
        yield address


@pytest.fixture
def visitor(browser, address):
    page = browser.new_page()
    page.goto(address)
    visitor = Visitor(page)
    yield visitor
    page.close()
    assert all(url.startswith((address, "data:", "blob:")) for url in visitor.requests)


def predicted(run_verb, network, pictures):
    """What `scalenet predict` says of each picture, of all classes."""
    words = [*pictures, "--model", network, "--top-k", "1000", "--json"]
    code, output, error = run_verb("predict", " ".join(f"'{word}'" for word in words))
    assert code == 0, error
    return [answer["predictions"] for answer in json.loads(output)]


def largest_difference(answer, probabilities):
    """Between what `predict` says and what the page shows."""
    assert len(answer) == len(probabilities)
    return max(abs(probabilities[row["class"]] - row["probability"]) for row in answer)


def sample(data_dir, count=16):
    """Photographs of different classes."""
    photographs = sorted(pathlib.Path(data_dir, "imagenet-sample").glob("*/*.jpg"))
    return photographs[:: len(photographs) // count][:count]


def write_network(name, kind, path, pictures):
    """An ONNX file of a published network with weights of a seed.

    Bias and temperature are such that it tells the pictures apart.
    """
    names = [f"class {index}" for index in range(10 if "Cifar" in name else 1000)]
    size = 32 if "Cifar" in name else 224
    transform = EvaluationTransform(size, size * 8 // 7)
    architecture = scalenet_tf.get_architecture(name)
    model = classifier(architecture, classes=len(names))
    images = [transform.of_array(decode_array(p.read_bytes())) for p in pictures]
    head = model.get_layer("logits")
    logits = keras.Model(model.input, head.output).predict(np.stack(images), verbose=0)
    head.bias.assign_sub(logits.mean(0))
    temperature = float((logits - logits.mean(0)).std() / 2)
    options = {"input_type": kind, "temperature": temperature}
    export.convert_onnx(model, path, transform, names, **options)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("name", ["ScaleNetCifar38", "ScaleNet50"])
def test_chromium_says_what_predict_says(
    name, kind, visitor, run_verb, data_dir, tmp_path
):
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    network, pictures = tmp_path / f"{name}.onnx", sample(data_dir)
    assert len(pictures) == 16
    write_network(name, kind, network, pictures)
    assert visitor.choose(network=network) == ["Now choose a picture.", ""]
    largest, best, likeliest = 0.0, 0.0, set()
    for answer, picture in zip(
        predicted(run_verb, network, pictures), pictures, strict=True
    ):
        status, wrong = visitor.choose(picture=picture)
        assert wrong == ""
        assert status.startswith(f"{picture.name}: {answer[0]['name']}, ")
        shown = visitor.probabilities()
        assert next(iter(shown)) == answer[0]["class"]
        likeliest.add(answer[0]["class"])
        best = max(best, answer[0]["probability"])
        largest = max(largest, largest_difference(answer, shown))
    print(f"{name}, {kind}: {largest:.1e}, {len(likeliest)} classes, {best:.2f}")
    assert largest < 1e-3
    assert len(likeliest) > 1  # the network tells pictures apart
    assert not visitor.errors
    assert any(url.endswith(".wasm") for url in visitor.requests)


@pytest.mark.slow
@pytest.mark.processes
def test_chromium_refuses_by_name(visitor, onnx_files, tmp_path):
    network = onnx_files / "uint8.onnx"
    (tmp_path / "a.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    (tmp_path / "cut.onnx").write_bytes(network.read_bytes()[:-100])
    for name, message in (
        ("a.tflite", "it is a TFLite file"),
        ("cut.onnx", "it is cut off, or not an ONNX file"),
    ):
        assert visitor.choose(network=tmp_path / name)[1] == (
            f"{name} cannot be used: {message}. Choose a file that scalenet export "
            "--format onnx wrote."
        )
    (tmp_path / "words.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_text("")
    (tmp_path / "cut.jpg").write_bytes(PHOTOS[0][:-200])
    (tmp_path / "cut.png").write_bytes(PHOTOS[2][:-200])
    assert visitor.choose(network=network)[1] == ""
    for name, message in (
        (
            "words.jpg",
            "not a picture that this browser decodes, or a damaged one; JPEG, PNG, BMP "
            "and GIF are decoded everywhere",
        ),
        ("empty.jpg", "an empty file"),
        ("cut.jpg", "a picture that is cut off"),
        ("cut.png", "a picture that is cut off"),
    ):
        status, wrong = visitor.choose(picture=tmp_path / name)
        assert (status, wrong) == ("", f"{name} cannot be used: it is {message}.")
        assert not visitor.page.locator("#answer").is_visible()
    (tmp_path / "good.jpg").write_bytes(PHOTOS[0])  # after all of these
    assert visitor.choose(picture=tmp_path / "good.jpg")[1] == ""
    assert len(visitor.probabilities()) == 10
    assert not visitor.errors


@pytest.mark.slow
@pytest.mark.processes
def test_chromium_takes_pictures_of_every_kind_as_predict_does(
    visitor, onnx_files, run_verb, tmp_path
):
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8))
    image = coarse.resize((90, 60), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "a.png": {},
        "turned.jpg": {"exif": turned},
        "a.bmp": {},
        "grey.png": {"mode": "L"},
        "a.gif": {"mode": "P"},
        "progressive.jpg": {"progressive": True},
        "profile.jpg": {"icc_profile": b"no profile of any kind"},
    }
    for name, options in pictures.items():
        mode = options.pop("mode", "RGB")
        image.convert(mode).save(tmp_path / name, **options)
    network = onnx_files / "float32.onnx"
    visitor.choose(network=network)
    paths = [tmp_path / name for name in pictures]
    for answer, path in zip(predicted(run_verb, network, paths), paths, strict=True):
        assert visitor.choose(picture=path)[1] == ""
        assert largest_difference(answer, visitor.probabilities()) < 1e-3, path.name
    clear = image.convert("RGBA")
    clear.putalpha(128)
    clear.save(tmp_path / "clear.png")
    status, _ = visitor.choose(picture=tmp_path / "clear.png")
    assert "The picture has transparent parts" in status


@pytest.mark.slow
@pytest.mark.processes
def test_the_page_by_keyboard_narrow_and_dark(browser, address, onnx_files, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(PHOTOS[0])
    grounds = set()
    for width in (400, 1200):
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            page.goto(address)
            visitor = Visitor(page)
            visitor.choose(onnx_files / "uint8.onnx", tmp_path / "photo.jpg")
            root = "document.documentElement"
            assert page.evaluate(f"{root}.scrollWidth") <= width
            grounds.add(
                page.evaluate("getComputedStyle(document.body).backgroundColor")
            )
            seen = []
            for _ in range(3):
                page.keyboard.press("Tab")
                seen.append(page.evaluate("document.activeElement.id"))
            assert seen == ["model", "picture", "all"]
            assert page.locator("#classes tr").count() == 5
            page.keyboard.press("Enter")
            assert page.locator("#classes tr").count() == 10
            assert page.locator("#all").get_attribute("aria-expanded") == "true"
            page.close()
    assert grounds == {"rgb(255, 255, 255)", "rgb(23, 23, 26)"}


@pytest.mark.slow
@pytest.mark.processes
def test_a_network_beside_the_page_and_a_page_without_its_library(
    browser, onnx_files, tmp_path
):
    ignored = shutil.ignore_patterns("node_modules")
    shutil.copytree(FOLDER, tmp_path / "page", ignore=ignored)
    shutil.copy(onnx_files / "uint8.onnx", tmp_path / "page/tiny.onnx")
    page = browser.new_page()
    with serving(tmp_path / "page") as address:
        for query, message in (
            (
                "tiny.onnx",
                "ONNX Runtime Web is not beside this page: run npm install in its "
                "folder.",
            ),
            ("no.onnx", "no.onnx cannot be loaded: the server answers 404."),
            (
                "http://localhost/a.onnx",
                "http://localhost/a.onnx is on another server: put the network beside "
                "this page.",
            ),
        ):
            page.goto(f"{address}?model={query}")
            page.locator("#wrong", has_text=message).wait_for(timeout=10_000)
        (tmp_path / "page/node_modules").symlink_to(FOLDER / "node_modules")
        page.goto(f"{address}?model=tiny.onnx")
        page.locator("#status", has_text="Now choose a picture").wait_for()
    page.close()
