/** The page: it shows a view of a sentence, and a new one if the sentence, the token or a head's factor changes. */

import { compare, limit } from "./golden.js";
import { lens, likeliest, modelOf, run } from "./lens.js";
import { MISTAKES } from "./mistakes.js";
import { roberta } from "./roberta.js";
import { read, write } from "./safetensors.js";
import { Tokenizer } from "./tokenizer.js";

const LONGEST = 40; // tokens: more rows and columns would be too small to see on a phone
const GUESSES = 3; // for each layer
const MASK = "<mask>";

const $ = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)}\u00a0%`;
const shown = (token) => token.replaceAll(" ", "␣").replaceAll("\n", "↵") || "∅";

/** An element with these properties and children. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A radio button of a group with its label. */
function radio(name, value, label, ...children) {
  const input = element("input", { type: "radio", name, value, ariaLabel: label });
  return element("label", {}, input, ...children);
}

// --- the state -------------------------------------------------------------------------------------------------------

/**
 * A view: `tokens`, texts; `position`, the token that is looked at; `guesses`, for the embeddings and each layer the
 * likeliest tokens as [text, probability]; `attention`, for each layer the probabilities, (H, L, L), as one array.
 */
let view;
let model, tokenizer, golden;
let ids = []; // of the sentence
let plain; // its values, with every head at work
let values; // the same with the factors of the heads
let factors; // for each layer, of each head
let chosen = [1, 0]; // layer and head
let pointed; // the same, while one is pointed at

const isChanged = () => factors.some((ofLayer) => ofLayer.some((factor) => factor !== 1));

/** Tokenize the sentence and compute it. */
function readSentence() {
  const start = performance.now();
  const all = tokenizer.encode($("text").value);
  ids = all.length > LONGEST ? [...all.slice(0, LONGEST - 1), all.at(-1)] : all;
  const tokens = ids.map((id) => tokenizer.decode([id]));
  const mask = tokens.indexOf(MASK);
  view = { tokens, position: mask < 0 ? Math.max(ids.length - 2, 0) : mask };
  const notes = [];
  if (mask < 0) notes.push(`There is no ${MASK} in the sentence, so the guesses are for a token that the model sees.`);
  if (all.length > LONGEST) notes.push(`This page reads ${LONGEST} of ${all.length} tokens; minroberta reads 512.`);
  $("status").textContent = notes.join(" ");
  plain = run(model, ids);
  compute();
  const time = Math.round(performance.now() - start);
  $("time").textContent = `${ids.length} tokens, computed by this browser in ${time} ms.`;
}

/** Compute the sentence with the heads as they are. */
function compute() {
  values = isChanged() ? run(model, ids, factors) : plain;
  const { num_hidden_layers: count } = model.config;
  view.attention = Array.from({ length: count }, (_, i) => values[`encoder.layer.${i}.attention.self.probs`].data);
  look();
}

/** Guess at the token that is looked at, and show all. */
function look() {
  const texts = (guesses) => guesses.map(([id, p]) => [tokenizer.decode([id]), p]);
  view.guesses = lens(model, values, view.position, GUESSES).map(texts);
  view.before = isChanged() ? texts(lens(model, plain, view.position, GUESSES).at(-1)) : undefined;
  show();
}

function show() {
  showAnswer();
  showTokens();
  showLens();
  showHeads();
  showHead();
}

// --- the guesses -----------------------------------------------------------------------------------------------------

function showAnswer() {
  const guess = ([text, p], i) => [i ? ", " : "", element(i ? "span" : "b", {}, text.trim()), ` ${percent(p)}`];
  $("answer").replaceChildren(...view.guesses.at(-1).flatMap(guess));
  if (!view.before) return;
  const [text, p] = view.before[0];
  $("answer").append(` (before the heads were changed: ${text.trim()} ${percent(p)})`);
}

function showTokens() {
  const labels = view.tokens.map((token, i) => radio("token", i, token.trim(), shown(token)));
  labels[view.position].firstChild.checked = true;
  const focused = $("tokens").contains(document.activeElement);
  $("tokens").replaceChildren($("tokens").firstElementChild, ...labels);
  if (focused) labels[view.position].firstChild.focus();
}

function showLens() {
  const rows = view.guesses.map((guesses, i) => {
    const cells = guesses.map(([text, p]) => {
      const cell = element("td", {}, element("span", {}, shown(text)), element("small", {}, percent(p)));
      cell.style.setProperty("--p", p);
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, i ? `layer ${i - 1}` : "embeddings"), ...cells);
  });
  const caption = element("caption", {}, `Guesses at ${shown(view.tokens[view.position])}, best first`);
  $("lens").replaceChildren(caption, ...rows);
}

// --- the heads -------------------------------------------------------------------------------------------------------

/** The probabilities of a head, (L, L). */
function headOf([layer, head]) {
  const size = view.tokens.length ** 2;
  return view.attention[layer].subarray(head * size, (head + 1) * size);
}

/** A small picture for each head, made once: a row for each layer, a column for each head, with their numbers. */
function makeHeads(layers, heads) {
  factors = Array.from({ length: layers }, () => Array(heads).fill(1));
  const number = (i) => element("span", { ariaHidden: true }, i);
  $("heads").style.setProperty("--heads", heads);
  $("heads").append(number(""), ...Array.from({ length: heads }, (_, head) => number(head)));
  for (let layer = 0; layer < layers; layer++) {
    const pictures = Array.from({ length: heads }, (_, head) =>
      radio("head", `${layer} ${head}`, `layer ${layer}, head ${head}`, element("canvas")),
    );
    $("heads").append(number(layer), ...pictures);
  }
}

function showHeads() {
  const L = view.tokens.length;
  for (const input of $("heads").querySelectorAll("input")) {
    const [layer, head] = input.value.split(" ").map(Number);
    const canvas = input.nextElementSibling;
    const rgb = getComputedStyle(canvas).color.match(/\d+/g);
    const image = new ImageData(L, L); // in which a number above 255, of a head with a factor above 1, becomes 255
    headOf([layer, head]).forEach((p, i) => image.data.set([...rgb, 255 * p], 4 * i));
    Object.assign(canvas, { width: L, height: L }).getContext("2d").putImageData(image, 0, 0);
    input.checked = layer === chosen[0] && head === chosen[1];
    input.parentElement.classList.toggle("changed", factors[layer][head] !== 1);
  }
}

/** The head that is pointed at, or the chosen one, as a large picture, and the controls of the chosen one. */
function showHead() {
  const [layer, head] = pointed ?? chosen;
  const probs = headOf([layer, head]);
  const L = view.tokens.length;
  const columns = view.tokens.map((token) => element("th", { scope: "col" }, element("span", {}, shown(token))));
  const rows = view.tokens.map((token, i) => {
    const cells = view.tokens.map((_, j) => {
      const cell = element("td", { title: reading(i, [j]) });
      cell.style.setProperty("--p", Math.min(probs[i * L + j], 1));
      return cell;
    });
    const className = i === view.position ? "chosen" : "";
    return element("tr", { className }, element("th", { scope: "row" }, shown(token)), ...cells);
  });
  const caption = element("caption", {}, `Layer ${layer}, head ${head}`);
  $("matrix").classList.toggle("crowded", L > 24);
  $("matrix").replaceChildren(caption, element("tr", {}, element("td"), ...columns), ...rows);
  $("reading").textContent = `Layer ${layer}, head ${head}: ${reading(view.position, strongest(view.position))}.`;
  showControls();

  function strongest(i) {
    const row = probs.subarray(i * L, (i + 1) * L);
    const keys = [...row.keys()].filter((j) => row[j] >= 0.005); // those that show as more than 0 %
    return keys.sort((one, other) => row[other] - row[one]).slice(0, 3);
  }
  function reading(i, keys) {
    const parts = keys.map((j) => `${shown(view.tokens[j])} ${percent(probs[i * L + j])}`);
    return `${shown(view.tokens[i])} reads ${parts.join(", ") || "nothing"}`;
  }
}

function showControls() {
  const [layer, head] = chosen;
  const factor = factors[layer][head];
  $("strength").value = factor;
  $("strength-label").textContent = `Strength of layer ${layer}, head ${head}`;
  $("factor").value = factor.toFixed(2);
  $("switch").textContent = factor ? "Switch off" : "Switch on";
  $("reset").disabled = !isChanged();
  const change = (f, i, h) => (f === 1 ? "" : `layer ${i}, head ${h} × ${f}`);
  const changes = factors.flatMap((ofLayer, i) => ofLayer.map((f, h) => change(f, i, h)));
  $("changed").textContent = isChanged() ? `Changed: ${changes.filter(Boolean).join("; ")}.` : "";
}

function setFactor(factor) {
  factors[chosen[0]][chosen[1]] = factor;
  showControls();
  soon(compute, 0);
}

// --- the golden file -------------------------------------------------------------------------------------------------

/** Compute the golden sentence, with the mistake that is planted, and compare every value. */
function check() {
  const mistake = MISTAKES[$("mistake").value];
  const found = {};
  const tap = (name, value) => (found[name] = mistake(name, value, found, model.weights));
  const input = golden.arrays["inputs.input_ids"];
  roberta(model, { tap }).maskedLm(input);
  const rows = compare(golden, found);
  showVerdict(rows, input, found.logits);
  showRows(rows);
  URL.revokeObjectURL($("values").href);
  $("values").href = URL.createObjectURL(write(found));
}

function showVerdict(rows, input, logits) {
  const wrong = rows.filter((row) => !row.right);
  const most = limit(model.config, input.data.length);
  $("verdict").className = wrong.length ? "wrong" : "right";
  if (wrong.length) {
    const mask = tokenizer.ids.get(MASK);
    const [[id, p]] = likeliest(logits, 1)[input.data.indexOf(mask)];
    const guess = `${tokenizer.decode([id]).trim()}, ${percent(p)}`;
    const same = id === likeliest(golden.arrays["values.logits"], 1)[input.data.indexOf(mask)][0][0];
    $("verdict").textContent =
      `✗ ${wrong.length} of ${rows.length} values are wrong. The first is ${wrong[0].name}. ` +
      (same ? `The guess is still ${guess}: the answer alone shows nothing.` : `The guess is ${guess}.`);
    return;
  }
  const worst = rows.reduce((one, other) => (other.multiple > one.multiple ? other : one));
  $("verdict").textContent =
    `✓ All ${rows.length} values agree. The worst is ${worst.name}: ` +
    `it differs by ${worst.difference.toExponential(1)}, ` +
    `which is ${worst.multiple.toFixed(2)} times what float32's rounding does to it. ` +
    `Up to ${most.toFixed(0)} times is right.`;
}

function showRows(rows) {
  const heading = ["value", "shape", "largest difference", "of the largest number", "of rounding"];
  const cells = ({ name, shape, difference, relative, multiple }) => [
    name, shape.join(" × "), difference.toExponential(1), relative.toExponential(1),
    multiple < 1000 ? multiple.toFixed(2) : multiple.toExponential(1),
  ];
  const head = element("tr", {}, ...heading.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map((row) => {
    const className = row.right ? "right" : "wrong";
    return element("tr", { className }, ...cells(row).map((text) => element("td", {}, text)));
  });
  $("rows").replaceChildren(head, ...body);
}

// --- events ----------------------------------------------------------------------------------------------------------

const timers = new Map();
/** Call a function after some milliseconds, unless it is to be called again by then. */
function soon(callback, milliseconds) {
  clearTimeout(timers.get(callback));
  timers.set(callback, setTimeout(callback, milliseconds));
}

const choiceOf = (target) => target.closest("label")?.firstChild.value.split(" ").map(Number);

function point(choice) {
  pointed = choice;
  showHead();
}

/** Arrow keys go from head to head in a row; up and down to the same head of another layer. */
function moveByLayer(event) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const layers = factors.length;
  const next = [(chosen[0] + step + layers) % layers, chosen[1]];
  const input = $("heads").querySelector(`input[value="${next.join(" ")}"]`);
  input.focus();
  input.click();
}

function listenToHeads() {
  $("heads").addEventListener("change", ({ target }) => {
    chosen = choiceOf(target);
    point(undefined);
  });
  $("heads").addEventListener("keydown", moveByLayer);
  $("heads").addEventListener("pointerover", ({ target }) => point(choiceOf(target)));
  $("heads").addEventListener("pointerleave", () => point(undefined));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showHeads);
}

function listenToModel() {
  $("text").addEventListener("input", () => soon(readSentence, 150));
  $("tokens").addEventListener("change", ({ target }) => {
    view.position = Number(target.value);
    look();
  });
  $("strength").addEventListener("input", ({ target }) => setFactor(Number(target.value)));
  $("switch").addEventListener("click", () => setFactor(factors[chosen[0]][chosen[1]] ? 0 : 1));
  $("reset").addEventListener("click", () => {
    for (const ofLayer of factors) ofLayer.fill(1);
    compute();
  });
}

// --- the start -------------------------------------------------------------------------------------------------------

/** The bytes of a file of this page. progress: gets the share that has arrived, of `size` bytes. */
async function fetched(name, size, progress = () => {}) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw Error(`${name} cannot be read: the server answers ${response.status}`);
  const chunks = [];
  let length = 0;
  const reader = response.body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    chunks.push(next.value);
    length += next.value.length;
    progress(Math.min(length / size, 1));
  }
  return new Blob(chunks).arrayBuffer();
}

const json = async (name) => JSON.parse(new TextDecoder().decode(await fetched(name)));

async function start() {
  const prepared = JSON.parse($("prepared").textContent); // the view of the first sentence
  if (!prepared) throw Error("its folder lacks the model, which tools/web.py puts there");
  const attention = prepared.attention.map((text) => Float32Array.from(atob(text), (byte) => byte.charCodeAt(0) / 255));
  view = { ...prepared, attention };
  $("text").value ||= prepared.text;
  $("mistake").append(...Object.keys(MISTAKES).map((name) => element("option", {}, name)));
  makeHeads(attention.length, attention[0].length / view.tokens.length ** 2);
  show();
  listenToHeads();
  const live = document.querySelectorAll("#tokens, #strength, #switch");
  for (const control of live) control.disabled = true;
  const megabytes = (prepared.bytes / 1e6).toFixed(0);
  $("status").textContent = `These answers were computed before. For yours, ${megabytes} MB of weights arrive:`;
  const [config, file, weights] = await Promise.all([
    json("tiny/config.json"),
    json("tiny/tokenizer.json"),
    fetched("tiny/model.safetensors", prepared.bytes, (share) => ($("progress").value = share)),
  ]);
  model = modelOf(weights, config);
  tokenizer = new Tokenizer(file);
  $("progress").remove();
  for (const control of live) control.disabled = false;
  listenToModel();
  readSentence();
  $("time").append(` The model was here ${(performance.now() / 1000).toFixed(1)} s after the page was opened.`);
  startComparison().catch((error) => {
    $("verdict").textContent = `The comparison is not available: ${error.message}. The rest of the page works.`;
    console.error(error);
  });
}

/** Compare, as soon as the golden file is here, which nothing else needs. */
async function startComparison() {
  $("verdict").textContent = "The comparison begins when the golden file has arrived.";
  golden = read(await fetched("golden.safetensors"));
  check();
  for (const id of ["values", "every"]) $(id).hidden = false;
  $("mistake").disabled = false;
  $("mistake").addEventListener("change", check);
}

start().catch((error) => {
  $("status").textContent = `The page stopped: ${error.message}. Load it again, or take a current browser.`;
  throw error;
});
