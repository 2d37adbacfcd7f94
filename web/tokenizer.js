/**
 * Byte-level BPE (Radford et al. 2019, section 2.2; Sennrich et al. 2016), read from tokenizer.json.
 *
 * A text becomes words, a word the bytes of its UTF-8, and bytes are merged into tokens, most frequent pairs first. No
 * text is unknown, since every byte is a token.
 */

export class Tokenizer {
  /** file: the object in tokenizer.json. */
  constructor({ model, added_tokens, post_processor }) {
    this.ids = new Map(Object.entries(model.vocab)); // entry -> id
    for (const { content, id } of added_tokens) this.ids.set(content, id);
    this.entries = new Map([...this.ids].map(([entry, id]) => [id, entry])); // id -> entry
    const pair = (merge) => (Array.isArray(merge) ? merge.join(" ") : merge); // older files have "a b", not ["a", "b"]
    this.ranks = new Map(model.merges.map((merge, rank) => [pair(merge), rank]));
    this.special = new Set(added_tokens.map(({ content }) => content));
    this.added = pattern(added_tokens);
    [[, this.start], [, this.end]] = [post_processor.cls, post_processor.sep];
  }

  /** The ids of a text: <s>, its tokens, </s>. */
  encode(text) {
    return [this.start, ...this.tokens(text), this.end];
  }

  /** The ids of a text without <s> and </s>. Special tokens that are written in the text, such as <mask>, count. */
  tokens(text) {
    const ids = [];
    let rest = 0;
    for (const { index, 0: found } of text.matchAll(this.added)) {
      ids.push(...this.words(text.slice(rest, index)), this.ids.get(found.replaceAll(SPACE_AROUND, "")));
      rest = index + found.length;
    }
    return [...ids, ...this.words(text.slice(rest))];
  }

  words(text) {
    return (text.match(WORD) ?? []).flatMap((word) => this.merge(symbols(word)).map((token) => this.ids.get(token)));
  }

  /** Merge neighbours, always the pair of the lowest rank, and of equal ones the leftmost, until no pair has a rank. */
  merge(parts) {
    for (;;) {
      const ranks = parts.slice(1).map((part, i) => this.ranks.get(`${parts[i]} ${part}`) ?? Infinity);
      const lowest = ranks.reduce((best, rank, i) => (rank < ranks[best] ? i : best), 0);
      if (!(ranks[lowest] < Infinity)) return parts;
      parts = parts.toSpliced(lowest, 2, parts[lowest] + parts[lowest + 1]);
    }
  }

  /** The text of tokens. Bytes that are not UTF-8, such as half a letter, become U+FFFD. */
  decode(ids) {
    const bytes = ids.flatMap((id) => {
      const entry = this.entries.get(id);
      if (this.special.has(entry)) return [...new TextEncoder().encode(entry)];
      return [...entry].map((letter) => BYTES.get(letter));
    });
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }
}

/**
 * A word: one of the English contractions; or letters, digits, or other signs, each with a space before if there is
 * one; or white space.
 *
 * This is GPT-2's pattern, but for `\s`. JavaScript's `\s` has U+FEFF and lacks U+0085, where Unicode's White_Space,
 * which the Rust library means by `\s`, lacks the one and has the other.
 */
const WORD = new RegExp(
  [
    "'s|'t|'re|'ve|'m|'ll|'d",
    " ?\\p{L}+",
    " ?\\p{N}+",
    " ?[^\\p{White_Space}\\p{L}\\p{N}]+",
    "\\p{White_Space}+(?!\\P{White_Space})", // white space up to the last sign, which belongs to the next word
    "\\p{White_Space}+",
  ].join("|"),
  "gu",
);

/** A pattern that finds added tokens, with the white space that they take from the text on their left and right. */
function pattern(added) {
  const space = (takes) => (takes ? "\\p{White_Space}*" : "");
  const escaped = (content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const tokens = added
    .toSorted((one, other) => other.content.length - one.content.length) // the longest of those that fit is found
    .map(({ content, lstrip, rstrip }) => space(lstrip) + escaped(content) + space(rstrip));
  return new RegExp(tokens.join("|"), "gu");
}

const SPACE_AROUND = /^\p{White_Space}+|\p{White_Space}+$/gu;

/** The byte-level alphabet: each byte as a letter that can be seen. Others than these get letters from U+0100 on. */
const VISIBLE = [[33, 126], [161, 172], [174, 255]];
const LETTERS = [];
for (let byte = 0, next = 256; byte < 256; byte++) {
  const visible = VISIBLE.some(([first, last]) => first <= byte && byte <= last);
  LETTERS.push(String.fromCodePoint(visible ? byte : next++));
}
const BYTES = new Map(LETTERS.map((letter, byte) => [letter, byte]));

const symbols = (word) => Array.from(new TextEncoder().encode(word), (byte) => LETTERS[byte]);
