// The page: a network and a picture are chosen, classes and probabilities are shown.

import { ModelError } from "./metadata.js";
import { Network } from "./network.js";
import { decodePicture, isTransparent, PictureError } from "./pixels.js";

const RUNTIME = "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
const SHOWN = 5; // classes, before all are asked for
const TRANSPARENT =
  " The picture has transparent parts: scalenet predict drops the transparency, a " +
  "browser mixes the colours, and probabilities may differ.";

const element = (id) => document.getElementById(id);
const HINT = element("about-model").textContent;
let network; // the one that is loaded, if any
let picture; // the file that was chosen last, if any
let ranked = []; // [class name, its number, probability], the likeliest first
let work = Promise.resolve(); // one thing after another

/** A message that the page shows; all others are errors of the program. */
class Refusal extends Error {}

/** Does something when all before it is done, and shows what is wrong with it. */
function next(task) {
  work = work.then(async () => {
    element("wrong").textContent = "";
    document.body.ariaBusy = "true";
    try {
      await task();
    } catch (error) {
      say("");
      element("wrong").textContent =
        error instanceof Refusal ? error.message : `This page failed: ${error.message}`;
      if (!(error instanceof Refusal)) console.error(error);
    } finally {
      document.body.ariaBusy = "false";
    }
  });
}

/** Shows what is going on, before the work that follows holds the page up. */
async function say(text) {
  element("status").textContent = text;
  await new Promise((done) => setTimeout(done, 20));
}

async function loadRuntime() {
  try {
    return await import(RUNTIME);
  } catch {
    throw new Refusal(
      "ONNX Runtime Web is not beside this page: run npm install in its folder.",
    );
  }
}

async function openNetwork(name, bytes) {
  await say(`Loading ${name}.`);
  forget();
  const runtime = await loadRuntime();
  try {
    network = await Network.open(runtime, bytes);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new Refusal(
      `${name} cannot be used: ${error.message}. Choose a file that scalenet export ` +
        "--format onnx wrote.",
    );
  }
  const { name: kind = "a network", image_size: side } = network.metadata;
  element("about-model").textContent =
    `${name}: ${kind}, ${side} x ${side} pixels, ${network.metadata.class_names.length} classes.`;
  await (picture ? classify() : say("Now choose a picture."));
}

/** Forgets the network and what it said, since another one comes. */
function forget() {
  network?.release();
  network = undefined;
  element("answer").hidden = true;
  element("about-model").textContent = HINT;
}

async function classify() {
  element("answer").hidden = true;
  if (!network) return say("Now choose a network.");
  await say(`Looking at ${picture.name}.`);
  const begin = performance.now();
  const { decoded, pixels } = await cropped(picture);
  const middle = performance.now();
  const probabilities = await probabilitiesOf(pixels);
  const end = performance.now();
  ranked = Array.from(probabilities, (probability, index) => [
    network.metadata.class_names[index],
    index,
    probability,
  ]).sort((one, other) => other[2] - one[2]);
  showPixels(pixels);
  showClasses(false);
  element("answer").hidden = false;
  element("times").textContent =
    `Decoded, resized and cropped in ${Math.round(middle - begin)} ms, computed in ` +
    `${Math.round(end - middle)} ms.`;
  Object.assign(element("times").dataset, { pixels: middle - begin, network: end - middle });
  const [[best, , probability]] = ranked;
  await say(
    `${picture.name}: ${best}, ${percent(probability)}.` +
      (isTransparent(decoded) ? TRANSPARENT : ""),
  );
}

async function cropped(file) {
  try {
    const decoded = await decodePicture(file);
    return { decoded, pixels: network.crop(decoded) };
  } catch (error) {
    if (!(error instanceof PictureError)) throw error;
    throw new Refusal(`${file.name} cannot be used: it is ${error.message}.`);
  }
}

async function probabilitiesOf(pixels) {
  try {
    return await network.classify(pixels);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new Refusal(`The network cannot be used: ${error.message}.`);
  }
}

function showPixels(pixels) {
  const side = network.metadata.image_size;
  const seen = element("seen");
  seen.width = seen.height = side;
  const image = new ImageData(side, side);
  for (let place = 0; place < side * side; place++) {
    image.data.set([...pixels.subarray(3 * place, 3 * place + 3), 255], 4 * place);
  }
  seen.getContext("2d").putImageData(image, 0, 0);
  seen.ariaLabel = `The middle of ${picture.name}, ${side} x ${side} pixels`;
}

function showClasses(all) {
  const rows = (all ? ranked : ranked.slice(0, SHOWN)).map(row);
  element("classes").replaceChildren(...rows);
  const button = element("all");
  button.hidden = ranked.length <= SHOWN;
  button.ariaExpanded = String(all);
  button.textContent = all
    ? `Show the first ${SHOWN}`
    : `Show all ${ranked.length} classes`;
}

function row([name, index, probability]) {
  const line = document.createElement("tr");
  Object.assign(line.dataset, { index, probability });
  const [heading, number, cell] = ["th", "td", "td"].map((kind) =>
    line.appendChild(document.createElement(kind)),
  );
  heading.scope = "row";
  heading.textContent = name;
  number.className = "number";
  number.textContent = percent(probability);
  cell.className = "bar";
  cell.ariaHidden = "true";
  cell.appendChild(document.createElement("i")).style.width = `${100 * probability}%`;
  return line;
}

function percent(probability) {
  return `${(100 * probability).toFixed(2)} %`;
}

const TAKEN = {
  model(file) {
    next(async () => openNetwork(file.name, new Uint8Array(await file.arrayBuffer())));
  },
  picture(file) {
    picture = file;
    next(classify);
  },
};

/** Takes a file that was dropped as if it had been chosen: a picture, or a network. */
function takeDropped(file) {
  const id = file.type.startsWith("image/") ? "picture" : "model";
  const chosen = new DataTransfer();
  chosen.items.add(file);
  element(id).files = chosen.files;
  TAKEN[id](file);
}

function listen() {
  for (const [id, take] of Object.entries(TAKEN)) {
    element(id).addEventListener("change", ({ target }) => {
      if (target.files.length > 0) take(target.files[0]);
    });
  }
  element("all").addEventListener("click", ({ target }) =>
    showClasses(target.ariaExpanded === "false"),
  );
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    for (const file of event.dataTransfer.files) takeDropped(file);
  });
}

/** Loads the network that the address names, `?model=digits.onnx`, of this server. */
async function openNamed(path) {
  const address = new URL(path, location.href);
  if (address.origin !== location.origin) {
    throw new Refusal(`${path} is on another server: put the network beside this page.`);
  }
  await say(`Loading ${path}.`);
  let response;
  try {
    response = await fetch(address);
  } catch {
    throw new Refusal(`${path} cannot be loaded: the server does not answer.`);
  }
  if (!response.ok) {
    throw new Refusal(`${path} cannot be loaded: the server answers ${response.status}.`);
  }
  await openNetwork(path, new Uint8Array(await response.arrayBuffer()));
}

listen();
const named = new URLSearchParams(location.search).get("model");
if (named) next(() => openNamed(named));
else say("Choose a network and a picture.");
