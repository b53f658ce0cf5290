// What an item's score is made of, and what each number is.
import { byId, complain, el, newest, number, say } from "/page/dom.js";

const query = newest();
let open = null; // { run, item }

const NAMES = {
  model: "the model’s score", neighbours: "its neighbours in text, as it has no purchases", text: "text of the last items",
  transitions: "what follows the last items", walks: "what follows the last items", after: "bought after", before: "bought before",
  second: "bought two steps later", together: "bought together", popularity: "popularity", group: "how often it was bought, as a group",
  repeat: "already in the history", scorer: "the scorer",
};
const PARTS = { id: "its ID vector", text: "its text vector", fused: "ID and text, joined by a layer", "id and text": "ID and text together", "of every item": "the same for every item", vector: "its vector, in one part" };

export function closeWhy() {
  open = null;
  byId("why").hidden = true;
}

export const refreshWhy = (state) => (open ? showWhy(state, open.run, open.item, false) : null);

/** Ask for an item's parts and show them. */
export async function showWhy(state, run, item, focus) {
  open = { run, item };
  try {
    const answer = await query("why", { run, history: state.history.map((one) => one.id), user: state.user, item: item.id });
    if (answer === null || !open) return;
    draw(run, answer);
    byId("why").hidden = false;
    if (focus) {
      byId("why").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      byId("why").focus({ preventScroll: true });
    }
    say(`${answer.item.title} is number ${answer.rank} in ${run}`);
  } catch (error) { complain(error); }
}

function draw(run, answer) {
  const { ranking, vector, history, cluster } = answer;
  byId("why-title").replaceChildren(`Why ${answer.item.title}`);
  const lead = el("p", {}, `Number ${answer.rank} in ${run}, with a score of ${number(answer.score)}.`,
    el("button", { type: "button", class: "close", onclick: closeWhy }, "Close"));
  const cards = [
    ranking.length ? card("Columns of the score", ranking.map((part) => [NAMES[part.name] ?? part.name, part.value]), ranking,
      "Each column times its weight, exactly; they sum to the score that ranks.") : null,
    vector.length ? card(ranking.length ? "Inside the model’s score" : "Parts of the item’s vector",
      vector.map((part) => [PARTS[part.name] ?? part.name, part.value]), vector,
      vector.length > 1 ? "The state of the history times each part of the item’s vector, exactly; they sum to the model’s score."
        : "The vector is not a sum of parts, so its score has one.") : null,
    history.length ? card("The history, one item left out at a time", history.slice(0, 8).map((part) => [part.title, part.value]), null,
      "The score now, less the score without that item: an effect, not a share, so the bars do not sum to the score.") : null,
    el("div", { class: "card" }, el("h3", {}, "Its cluster"), clusterText(cluster)),
  ];
  byId("why-body").replaceChildren(lead, el("div", { class: "cards" }, cards.filter(Boolean)));
}

function clusterText(cluster) {
  const name = el("strong", {}, cluster.name);
  if (!cluster.of) return el("p", {}, "The item belongs to ", name, "; the history is empty.");
  return el("p", {}, "The item belongs to ", name, `, as do ${cluster.items} of the ${cluster.of} items of the history. `,
    cluster.items ? `Without these the score would change by ${number(-cluster.value)}.` : "None of them can have drawn it there.");
}

/** A table with a bar for each signed value; with `sum`, the total in the last row. */
function card(heading, rows, sum, note) {
  const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-9);
  const total = sum?.reduce((all, part) => all + part.value, 0);
  const body = rows.map(([name, value]) => {
    const bar = el("span", { class: value < 0 ? "bar less" : "bar" });
    bar.style.width = `${(Math.abs(value) / most) * 100}%`;
    const share = sum && rows.length > 1 && total > 0 && rows.every(([, one]) => one >= 0) ? ` (${Math.round((100 * value) / total)} %)` : "";
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "bars", "aria-hidden": "true" }, bar), el("td", { class: "number" }, number(value) + share));
  });
  if (sum && rows.length > 1) body.push(el("tr", { class: "total" }, el("th", { scope: "row" }, "sum"), el("td", {}), el("td", { class: "number" }, number(total))));
  return el("div", { class: "card" }, el("h3", {}, heading), el("table", {}, el("caption", {}, note), el("tbody", {}, body)));
}
