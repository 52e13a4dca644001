// What an ONNX file of scalenet_tf says of itself.
//
// ONNX Runtime Web does not show a file's own metadata. An ONNX file is one message of
// protocol buffers, a ModelProto, whose fields are passed over here up to the metadata.

const METADATA = "scalenet.json";
const METADATA_PROPS = 14; // of ModelProto; the numbers of onnx.proto
const KEY = 1; // of StringStringEntryProto
const VALUE = 2;

/** A file is not an ONNX file of scalenet_tf. */
export class ModelError extends Error {}

/**
 * Reads and checks what `scalenet export` has kept with a network.
 *
 * @param {Uint8Array} bytes The content of an ONNX file.
 * @returns {object} `image_size`, `resize`, `mean`, `standard_deviation`,
 *   `class_names`, `input_type` and others: docs/export.md.
 * @throws {ModelError}
 */
export function readMetadata(bytes) {
  checkKind(bytes);
  const found = findMetadata(bytes);
  if (found === undefined) {
    throw new ModelError(
      `it was not exported by scalenet_tf: there is no ${METADATA} among its metadata`,
    );
  }
  let content;
  try {
    content = { input_type: "float32", ...JSON.parse(found) };
  } catch {
    throw new ModelError(`its ${METADATA} is damaged`);
  }
  return checked(content);
}

/** Names files that are often taken for an ONNX file. */
function checkKind(bytes) {
  if (bytes.length === 0) throw new ModelError("it is empty");
  const has = (text, place) =>
    [...text].every((letter, index) => bytes[place + index] === letter.charCodeAt(0));
  if (has("TFL3", 4)) throw new ModelError("it is a TFLite file");
  if (has("PK", 0)) throw new ModelError("it is a .keras file or another ZIP archive");
  if (has("\x89HDF", 0)) throw new ModelError("it is an HDF5 file of weights");
  if (has("version https://git-lfs", 0)) {
    throw new ModelError("it is a pointer of Git LFS");
  }
}

function findMetadata(bytes) {
  try {
    for (const [number, entry] of fields(bytes)) {
      if (number !== METADATA_PROPS) continue;
      const { [KEY]: key, [VALUE]: value } = Object.fromEntries(fields(entry));
      if (text(key) === METADATA) return text(value);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError("it is cut off, or not an ONNX file");
  }
  return undefined;
}

function text(bytes) {
  return new TextDecoder().decode(bytes);
}

/** The number and the bytes of each field that has bytes. */
function* fields(bytes) {
  const reader = { bytes, place: 0 };
  while (reader.place < bytes.length) {
    const key = varint(reader);
    const number = Math.floor(key / 8);
    const kind = key % 8;
    if (kind === 0) {
      varint(reader);
    } else if (kind === 2) {
      const length = varint(reader);
      yield [number, taken(reader, length)];
    } else if (kind === 1 || kind === 5) {
      taken(reader, kind === 1 ? 8 : 4);
    } else {
      throw new RangeError(`a field of kind ${kind}`);
    }
  }
}

function varint(reader) {
  let value = 0;
  for (let factor = 1; factor < 2 ** 70; factor *= 128) {
    const [byte] = taken(reader, 1);
    value += (byte % 128) * factor;
    if (byte < 128) return value;
  }
  throw new RangeError("a number of more than ten bytes");
}

function taken(reader, count) {
  const end = reader.place + count;
  if (end > reader.bytes.length) throw new RangeError("the end of the file");
  const part = reader.bytes.subarray(reader.place, end);
  reader.place = end;
  return part;
}

const isSide = (value) => Number.isInteger(value) && value >= 1;
const areThree = (value) =>
  Array.isArray(value) && value.length === 3 && value.every(Number.isFinite);
// Field -> what it must be, in words and as a function.
const RULES = {
  image_size: ["a number of pixels", isSide],
  resize: ["a number of pixels", isSide],
  mean: ["three numbers", areThree],
  standard_deviation: [
    "three numbers above 0",
    (value) => areThree(value) && value.every((number) => number > 0),
  ],
  class_names: [
    "a list of names",
    (value) =>
      Array.isArray(value) &&
      value.length > 0 &&
      value.every((name) => typeof name === "string"),
  ],
  input_type: ['"uint8" or "float32"', (value) => ["uint8", "float32"].includes(value)],
};

function checked(content) {
  for (const [field, [rule, holds]] of Object.entries(RULES)) {
    if (!holds(content[field])) {
      throw new ModelError(`the field ${field} of its ${METADATA} must be ${rule}`);
    }
  }
  if (content.image_size > content.resize) {
    throw new ModelError(`the field image_size of its ${METADATA} is above resize`);
  }
  return content;
}
