// Similar users and items, and items that do not exist.
import { ask, bought, byId, complain, el, newest, number } from "/page/dom.js";
import { addItem, takeUser } from "/page/main.js";

const users = newest();
const items = newest();

export function prepareMore(state) {
  const options = () => state.about.runs.map((run) => el("option", {}, run.name));
  byId("similar-run").replaceChildren(...options());
  byId("similar-run").addEventListener("change", () => showSimilar(state).catch(complain));
  const form = byId("new-form");
  const able = state.about.runs.filter((run) => run.new_items);
  if (!able.length) {
    form.replaceChildren(el("p", {}, "None of these models takes new items: their data have no text, or their text encoder reads no further one."));
    return;
  }
  const fields = state.about.columns.map((name) => el("label", { class: "field" }, name, el("input", { name, maxlength: 2000, required: name === state.about.columns[0] })));
  const run = el("select", { name: "", "aria-label": "Model" }, able.map((one) => el("option", {}, one.name)));
  form.replaceChildren(...fields, el("label", { class: "field narrow" }, "model", run), el("button", { type: "submit" }, "Who would get it?"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const texts = Object.fromEntries(fields.map((field) => [field.querySelector("input").name, field.querySelector("input").value]));
    byId("new-body").replaceChildren(el("p", { class: "soft" }, "The text is encoded and every user of the sample is ranked…"));
    try {
      drawNew(await ask("new_item", { run: run.value, texts, k: 10 }));
    } catch (error) {
      byId("new-body").replaceChildren();
      complain(error);
    }
  });
}

function drawNew(answer) {
  const share = Math.round((1000 * answer.within) / answer.sample) / 10;
  byId("new-body").replaceChildren(
    el("p", { class: "finding" }, `${answer.within} of ${answer.sample.toLocaleString("en")} users (${share} %) would have it among their first ${answer.k}.`),
    el("div", { class: "halves" },
      el("div", {}, el("h3", {}, "Who would see it first"), el("ul", { class: "plain" }, answer.users.map((one) => userRow(one, `number ${one.rank}`)))),
      el("div", {}, el("h3", {}, "Known items nearest to it"), el("ul", { class: "plain" }, answer.near.map(itemRow)))));
}

/** Ask for users like the history and items like its newest one. */
export async function showSimilar(state) {
  const run = byId("similar-run").value;
  const last = state.history.at(-1);
  byId("similar-items-title").textContent = last ? `Items like ${last.title}` : "Items like the newest one";
  const [near, like] = await Promise.all([
    state.history.length ? users("similar_users", { run, history: state.history.map((item) => item.id) }) : [],
    last ? items("similar_items", { run, item: last.id }) : [],
  ]);
  const none = () => el("li", { class: "soft" }, "The history is empty.");
  if (near !== null) byId("similar-users").replaceChildren(...(near.length ? near.map((one) => userRow(one, number(one.value))) : [none()]));
  if (like !== null) byId("similar-items").replaceChildren(...(like.length ? like.map(itemRow) : [none()]));
}

function userRow(one, value) {
  return el("li", {}, el("button", { type: "button", class: "item", "aria-label": `Take the history of user ${one.user}`, onclick: () => takeUser(one.user) },
    el("span", { class: "name" }, one.user, el("small", {}, `last: ${one.last.map((item) => item.title).join(" · ")}`)), el("span", { class: "count" }, value)));
}

function itemRow(item) {
  return el("li", {}, el("button", { type: "button", class: "item", "aria-label": `Add ${item.title} to the history`, onclick: () => addItem(item) },
    el("span", { class: "name" }, item.title, el("small", {}, bought(item.count))), el("span", { class: "count" }, number(item.value))));
}
