/**
 * Arrays in a safetensors file: 8 bytes, the length of the header; the header, which is JSON; and the numbers.
 *
 * An array is { shape, data }. Numbers are little-endian, as those of every machine that has a browser are.
 */

/** The arrays of a file by name, and its metadata. buffer: an ArrayBuffer. Throws Error for a dtype that it lacks. */
export function read(buffer) {
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const header = new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8));
  const { __metadata__: metadata, ...entries } = JSON.parse(header);
  const arrays = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(entries)) {
    const bytes = buffer.slice(start + begin, start + end); // a copy, which begins at a multiple of 4 as it must
    if (!(dtype in DTYPES)) throw Error(`${name} is in ${dtype}: give a file with ${Object.keys(DTYPES).join(", ")}`);
    arrays[name] = { shape, data: DTYPES[dtype](bytes) };
  }
  return { arrays, metadata };
}

/** The bytes of a file with these arrays. */
export function write(arrays) {
  const header = {};
  let length = 0;
  for (const [name, { shape, data }] of Object.entries(arrays)) {
    const dtype = data instanceof Int32Array ? "I32" : "F32";
    header[name] = { dtype, shape, data_offsets: [length, (length += data.byteLength)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const size = new Uint8Array(new BigUint64Array([BigInt(text.length)]).buffer);
  return new Blob([size, text, ...Object.values(arrays).map(({ data }) => data)]);
}

const DTYPES = {
  F16: (bytes) => widened(new Uint16Array(bytes)),
  F32: (bytes) => new Float32Array(bytes),
  I32: (bytes) => new Int32Array(bytes),
};

/** float16 as float32. A loop, since `Float32Array.from` with a function takes ten times as long. */
function widened(halves) {
  const numbers = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) numbers[i] = HALVES[halves[i]];
  return numbers;
}

/** The number of each of the 65,536 patterns of float16: a sign, 5 bits of exponent, 10 of fraction. */
const HALVES = Float32Array.from({ length: 1 << 16 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
});
