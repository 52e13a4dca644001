// From a picture's file to the pixels that the network takes: those of `scalenet predict`.

// Of a picture once it is resized and before it is cropped, as in scalenet_tf.
const MAX_RESIZED_PIXELS = 2 ** 25;
const toFloat32 = Math.fround;
// How a file begins, what is before its pixels, and what is after them.
const ENDS = [
  { start: [0xff, 0xd8, 0xff], data: [0xff, 0xda], end: [0xff, 0xd9] }, // JPEG
  { start: [0x89, 0x50, 0x4e, 0x47], data: bytesOf("IHDR"), end: bytesOf("IEND") },
];

function bytesOf(text) {
  return [...text].map((letter) => letter.charCodeAt(0));
}

/** A file is no picture, or one that cannot be used. */
export class PictureError extends Error {}

/**
 * Decodes a picture, turned as its Exif data say, without its colour profile.
 *
 * @param {Blob} file
 * @returns {Promise<ImageData>} RGBA, from 0 to 255.
 * @throws {PictureError}
 */
export async function decodePicture(file) {
  if (file.size === 0) throw new PictureError("an empty file");
  if (await isCutOff(file)) throw new PictureError("a picture that is cut off");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch {
    throw new PictureError(
      "not a picture that this browser decodes, or a damaged one; JPEG, PNG, BMP and " +
        "GIF are decoded everywhere",
    );
  }
  const { width, height } = bitmap;
  try {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  } catch {
    throw new PictureError(
      `a picture of ${width} x ${height} pixels, more than this browser can hold`,
    );
  } finally {
    bitmap.close();
  }
}

/** Whether a JPEG or a PNG lacks its end; of such a file a browser shows what there is. */
async function isCutOff(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const has = (mark, place) => mark.every((byte, index) => bytes[place + index] === byte);
  const kind = ENDS.find(({ start }) => has(start, 0));
  if (kind === undefined) return false;
  // From the end, to which cameras and editors append.
  for (let place = bytes.length - 2; place >= 0; place--) {
    if (has(kind.end, place)) return false;
    if (has(kind.data, place)) return true;
  }
  return true;
}

/**
 * Whether a picture has transparent parts, whose colours a canvas does not keep.
 *
 * @param {ImageData} picture
 * @returns {boolean}
 */
export function isTransparent(picture) {
  const { data } = picture;
  for (let place = 3; place < data.length; place += 4) {
    if (data[place] < 255) return true;
  }
  return false;
}

/**
 * Resizes the shorter side to `resize` and crops the centre, as scalenet_tf does:
 * bilinear, with antialiasing, weights in float32.
 *
 * @param {{data: ArrayLike<number>, width: number, height: number}} picture RGBA.
 * @param {number} size Side of the crop in pixels, at most `resize`.
 * @param {number} resize New length of the shorter side in pixels.
 * @returns {Float32Array} `size * size * 3` values from 0 to 255, not rounded.
 * @throws {PictureError} It is too narrow.
 */
export function resizeAndCrop(picture, size, resize) {
  const { width, height, data } = picture;
  const shorter = Math.min(width, height);
  const [newHeight, newWidth] = [height, width].map((side) =>
    Math.floor((side * resize) / shorter),
  );
  if (newHeight * newWidth > MAX_RESIZED_PIXELS) {
    throw new PictureError(
      `a picture of ${width} x ${height} pixels, so narrow that it has more than ` +
        `${MAX_RESIZED_PIXELS} once its shorter side has ${resize}`,
    );
  }
  const centre = (side) => Math.floor((side - size) / 2);
  const rows = mixtures(height, newHeight, centre(newHeight), size);
  const columns = mixtures(width, newWidth, centre(newWidth), size);
  return mixColumns(mixRows(data, width, rows), width, columns);
}

/**
 * Of which places of an old side each of `count` places of a new side is mixed.
 *
 * A triangle as wide as two pixels of the smaller of the two sides weighs them. The
 * steps are those of float32, so that the same places are inside.
 */
function mixtures(oldSide, newSide, first, count) {
  const step = toFloat32(1 / toFloat32(newSide / oldSide));
  const radius = Math.max(step, 1);
  const inverse = toFloat32(1 / radius);
  const within = (place) => Math.min(Math.max(place, 0), oldSide - 1);
  return Array.from({ length: count }, (_, index) => {
    const centre = toFloat32((first + index + 0.5) * step);
    const start = within(Math.ceil(toFloat32(toFloat32(centre - radius) - 0.5)));
    const end = within(Math.floor(toFloat32(toFloat32(centre + radius) - 0.5))) + 1;
    const weights = new Float32Array(end - start);
    let sum = 0;
    for (let place = start; place < end; place++) {
      const distance = Math.abs(toFloat32(place + 0.5 - centre));
      const weight = Math.max(toFloat32(1 - toFloat32(distance * inverse)), 0);
      weights[place - start] = weight;
      sum += weight;
    }
    return { start, weights: weights.map((weight) => weight / sum) };
  });
}

/** RGBA rows to RGB rows, `rows.length * width * 3`. */
function mixRows(data, width, rows) {
  const mixed = new Float32Array(rows.length * width * 3);
  const sums = new Float64Array(width * 3);
  rows.forEach(({ start, weights }, row) => {
    sums.fill(0);
    weights.forEach((weight, index) => {
      let from = (start + index) * width * 4;
      for (let to = 0; to < sums.length; to += 3, from += 4) {
        sums[to] += weight * data[from];
        sums[to + 1] += weight * data[from + 1];
        sums[to + 2] += weight * data[from + 2];
      }
    });
    mixed.set(sums, row * sums.length);
  });
  return mixed;
}

/** The columns of RGB rows of `width` pixels, mixed. */
function mixColumns(pixels, width, columns) {
  const height = pixels.length / (width * 3);
  const mixed = new Float32Array(height * columns.length * 3);
  let to = 0;
  for (let row = 0; row < height; row++) {
    for (const { start, weights } of columns) {
      const first = (row * width + start) * 3;
      for (let channel = 0; channel < 3; channel++, to++) {
        let sum = 0;
        for (let index = 0; index < weights.length; index++) {
          sum += weights[index] * pixels[first + index * 3 + channel];
        }
        mixed[to] = sum;
      }
    }
  }
  return mixed;
}

/**
 * Pixels as whole numbers, for networks that normalise them; halves to the even one.
 *
 * @param {Float32Array} pixels
 * @returns {Uint8Array}
 */
export function roundPixels(pixels) {
  return Uint8Array.from(Uint8ClampedArray.from(pixels)); // which rounds so
}

/**
 * Pixels normalised, in float32: (pixel / 255 - mean) / deviation of each channel.
 *
 * @param {Float32Array} pixels
 * @param {number[]} mean Of pixels from 0 to 1.
 * @param {number[]} deviation
 * @returns {Float32Array}
 */
export function normalizePixels(pixels, mean, deviation) {
  const [means, deviations] = [mean, deviation].map((values) =>
    values.map((value) => toFloat32(255 * value)),
  );
  return pixels.map((value, index) => {
    const channel = index % 3;
    return toFloat32(value - means[channel]) / deviations[channel];
  });
}
