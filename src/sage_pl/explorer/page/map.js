// The items on a plane: hover, search, colours, and arrow keys from item to item.
import { ask, bought, byId, complain, el, say } from "/page/dom.js";

const CLUSTERS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07c00", "#56b4e9", "#8a63d2", "#7a4a21", "#6b7780", "#c2185b"];
const RAMP = ["#5e4fa2", "#3288bd", "#66a61e", "#e6ab02", "#e6550d", "#b2182b"];
const UNSEEN = ["#9aa1a6", "#d55e00"];
let items = [];
let about = null;
let at = null; // the item under the pointer, or the one that the keys reached
let found = new Set();
let marked = { history: new Set(), lists: new Set() };
let add = () => {};

const canvas = () => byId("canvas");
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function mapState(state, lists) {
  marked = {
    history: new Set(state.history.map((item) => item.id)),
    lists: new Set(Object.values(lists).flat().map((item) => item.id)),
  };
  draw();
}

export function prepareMap(state, addItem) {
  about = state.about;
  add = addItem;
  byId("map-draw").addEventListener("click", load);
  byId("colour").addEventListener("change", () => { legend(); draw(); });
  byId("map-search").addEventListener("input", search);
  new ResizeObserver(draw).observe(byId("plane"));
  document.addEventListener("theme", draw);
  canvas().addEventListener("pointermove", (event) => hover(event));
  canvas().addEventListener("pointerleave", () => choose(null));
  canvas().addEventListener("click", (event) => { hover(event); if (at) add(at); });
  canvas().addEventListener("keydown", keys);
}

async function load() {
  byId("map-draw").disabled = true;
  byId("map-at").textContent = "The items are being laid out; the first time takes half a minute…";
  try {
    const answer = await ask("map");
    items = answer.items;
    byId("plane").hidden = false;
    byId("map-draw").hidden = true;
    const plane = answer.plane === "umap" ? "UMAP keeps neighbours together; distances between groups mean little." : "The two main directions (PCA).";
    const part = items.length < answer.of ? `${items.length.toLocaleString("en")} of ${answer.of.toLocaleString("en")} items. ` : "";
    byId("map-at").textContent = `${part}${plane} Rings: the history and the lists. A click adds an item.`;
    legend();
    search();
    draw();
  } catch (error) {
    byId("map-draw").disabled = false;
    byId("map-at").textContent = "";
    complain(error);
  }
}

function colourOf(item) {
  const by = byId("colour").value;
  if (by === "cluster") return CLUSTERS[item.cluster % CLUSTERS.length];
  if (by === "unseen") return item.count ? UNSEEN[0] : UNSEEN[1];
  return RAMP[Math.min(RAMP.length - 1, item.count ? 1 + Math.floor(Math.log10(item.count) * 1.7) : 0)];
}

function legend() {
  const by = byId("colour").value;
  const entries = by === "cluster" ? about.clusters.map((name, place) => [CLUSTERS[place % CLUSTERS.length], name])
    : by === "unseen" ? [[UNSEEN[0], "with training purchases"], [UNSEEN[1], "without any"]]
      : [["0", 0], ["1", 1], ["4", 2], ["15", 3], ["60", 4], ["230 and more", 5]].map(([name, place]) => [RAMP[place], place ? `${name}${place < 5 ? " or more" : ""} purchases` : "none"]);
  byId("legend").replaceChildren(...entries.map(([colour, name]) => {
    const dot = el("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = colour;
    return el("li", {}, dot, name);
  }));
}

const place = (item) => {
  const { clientWidth, clientHeight } = canvas();
  return [14 + item.x * (clientWidth - 28), 14 + (1 - item.y) * (clientHeight - 28)];
};

function draw() {
  const board = canvas();
  if (!items.length || !board.clientWidth) return;
  const scale = window.devicePixelRatio || 1;
  board.width = board.clientWidth * scale;
  board.height = board.clientHeight * scale;
  const pen = board.getContext("2d");
  pen.scale(scale, scale);
  const faded = found.size > 0;
  for (const item of items) {
    const [x, y] = place(item);
    const hit = found.has(item.id);
    pen.globalAlpha = faded ? (hit ? 1 : 0.12) : 0.75;
    pen.fillStyle = colourOf(item);
    pen.beginPath();
    pen.arc(x, y, hit ? 5 : item.count ? 2.6 : 3.2, 0, 7);
    pen.fill();
  }
  pen.globalAlpha = 1;
  for (const item of items) {
    if (marked.history.has(item.id)) ring(pen, item, 6, style("--ink"), 2);
    else if (marked.lists.has(item.id)) ring(pen, item, 6, style("--accent"), 2);
  }
  if (at) ring(pen, at, 9, style("--accent"), 3);
}

function ring(pen, item, radius, colour, width) {
  const [x, y] = place(item);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.stroke();
}

function hover(event) {
  const box = canvas().getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = null;
  let least = 20 * 20;
  for (const item of items) {
    if (found.size && !found.has(item.id)) continue;
    const [px, py] = place(item);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [best, least] = [item, distance];
  }
  if (best !== at) choose(best);
}

function choose(item) {
  at = item;
  const tip = byId("tip");
  tip.hidden = item === null;
  if (item) {
    const [x, y] = place(item);
    tip.replaceChildren(el("strong", {}, item.title), el("span", {}, `${bought(item.count)} · ${about.clusters[item.cluster]}`));
    tip.style.left = `${Math.min(x, canvas().clientWidth - 220)}px`;
    tip.style.top = `${y + 14}px`;
  }
  draw();
}

/** Arrow keys: the nearest item in that direction. */
function keys(event) {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === "Enter" && at) { event.preventDefault(); add(at); return; }
  if (event.key === "Escape") { choose(null); return; }
  const way = ways[event.key];
  if (!way || !items.length) return;
  event.preventDefault();
  const among = found.size ? items.filter((item) => found.has(item.id)) : items;
  const from = at ? place(at) : [canvas().clientWidth / 2, canvas().clientHeight / 2];
  let best = null;
  let least = Infinity;
  for (const item of among) {
    if (item === at) continue;
    const [dx, dy] = place(item).map((value, axis) => value - from[axis]);
    const along = dx * way[0] + dy * way[1];
    const across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (along > 0.5 && along + 3 * across < least) [best, least] = [item, along + 3 * across];
  }
  if (best) {
    choose(best);
    say(`${best.title}, ${bought(best.count)}, ${about.clusters[best.cluster]}`);
  }
}

function search() {
  const words = byId("map-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  found = new Set(words.length ? items.filter((item) => words.every((word) => item.title.toLowerCase().includes(word))).map((item) => item.id) : []);
  if (words.length) say(`${found.size} items on the map`);
  draw();
}
