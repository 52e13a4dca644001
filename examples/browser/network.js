// A network of scalenet_tf, exported as an ONNX file, run by ONNX Runtime Web.

import { ModelError, readMetadata } from "./metadata.js";
import { normalizePixels, resizeAndCrop, roundPixels } from "./pixels.js";

export class Network {
  #runtime;
  #session;

  constructor(runtime, session, metadata) {
    this.#runtime = runtime;
    this.#session = session;
    /** What the file says of itself: see docs/export.md. */
    this.metadata = metadata;
  }

  /**
   * Loads a file that `scalenet export --format onnx` wrote.
   *
   * @param {object} runtime The module onnxruntime-web.
   * @param {Uint8Array} bytes
   * @returns {Promise<Network>}
   * @throws {ModelError} It is another file, or damaged.
   */
  static async open(runtime, bytes) {
    const metadata = readMetadata(bytes);
    let session;
    try {
      session = await runtime.InferenceSession.create(bytes, {
        executionProviders: ["wasm"],
      });
    } catch (error) {
      throw new ModelError(`ONNX Runtime cannot load it: ${error.message}`);
    }
    const names = [...session.inputNames, ...session.outputNames].sort();
    if (names.join() !== "images,logits,probabilities") {
      throw new ModelError(
        "its inputs and outputs must be images, logits and probabilities, and are " +
          names.join(", "),
      );
    }
    return new Network(runtime, session, metadata);
  }

  /**
   * The part of a picture that the network sees.
   *
   * @param {ImageData} picture
   * @returns {Float32Array} `image_size * image_size * 3` values from 0 to 255.
   * @throws {PictureError} It is too narrow.
   */
  crop(picture) {
    return resizeAndCrop(picture, this.metadata.image_size, this.metadata.resize);
  }

  /**
   * The probability of each class.
   *
   * @param {Float32Array} pixels As `crop` gives them.
   * @returns {Promise<Float32Array>} In the order of `metadata.class_names`.
   * @throws {ModelError} The network has another number of classes than names.
   */
  async classify(pixels) {
    const { Tensor } = this.#runtime;
    const { image_size: side, mean, standard_deviation: deviation } = this.metadata;
    const [type, values] =
      this.metadata.input_type === "uint8"
        ? ["uint8", roundPixels(pixels)]
        : ["float32", normalizePixels(pixels, mean, deviation)];
    const images = new Tensor(type, values, [1, side, side, 3]);
    const { probabilities } = await this.#session.run({ images }, ["probabilities"]);
    const expected = this.metadata.class_names.length;
    if (probabilities.data.length !== expected) {
      throw new ModelError(
        `it has ${expected} class names and gives ${probabilities.data.length} ` +
          "probabilities",
      );
    }
    return probabilities.data;
  }

  /** Gives the memory of the network back. */
  async release() {
    await this.#session.release();
  }
}
