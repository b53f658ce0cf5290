// The history, and what follows from each change of it.
import { ask, bought, byId, complain, el, say, searching } from "/page/dom.js";
import { showLists } from "/page/lists.js";
import { closeWhy, refreshWhy } from "/page/why.js";
import { mapState, prepareMap } from "/page/map.js";
import { prepareMore, showSimilar } from "/page/more.js";

export const state = { about: null, history: [], user: null, answer: null };

const title = (item) => item.title || item.id;

/** Show the history, and ask anew what depends on it. */
export async function changed() {
  drawHistory();
  try {
    const lists = await showLists(state);
    if (lists === null) return;
    mapState(state, lists);
    await Promise.all([refreshWhy(state), showSimilar(state)]);
  } catch (error) { complain(error); }
}

export function addItem(item) {
  state.history.push(item);
  say(`${title(item)} added to the history`);
  changed();
}

export async function takeUser(user) {
  try {
    const answer = await ask(`history?user=${encodeURIComponent(user)}`);
    Object.assign(state, { user, history: answer.history, answer: answer.answer });
    closeWhy();
    say(`History of user ${user}: ${state.history.length} items`);
    await changed();
  } catch (error) { complain(error); }
}

function drawHistory() {
  const rows = state.history.map((item, place) => el("li", {},
    el("span", { class: "name" }, title(item)), el("span", { class: "count" }, bought(item.count)),
    el("span", { class: "buttons" },
      el("button", { type: "button", "aria-label": `Move ${title(item)} earlier`, disabled: place === 0, onclick: () => move(place) }, "↑"),
      el("button", { type: "button", "aria-label": `Remove ${title(item)}`, onclick: () => remove(place) }, "×"))));
  byId("history").replaceChildren(...rows);
  byId("whose").textContent = state.user === null
    ? (state.history.length ? "A composed history, oldest first." : "A new user: no item yet.")
    : `User ${state.user}, oldest first${state.answer ? `; bought next: ${title(state.answer)}` : ""}.`;
  const list = byId("history");
  list.scrollTop = list.scrollHeight;
}

function focusRow(place) {
  const rows = byId("history").children;
  const row = rows[Math.min(place, rows.length - 1)];
  (row ? row.querySelector("button:last-of-type") : byId("item")).focus();
}

function remove(place) {
  const [item] = state.history.splice(place, 1);
  say(`${title(item)} removed`);
  changed();
  focusRow(place);
}

function move(place) {
  const [item] = state.history.splice(place, 1);
  state.history.splice(place - 1, 0, item);
  say(`${title(item)} is now number ${place}`);
  changed();
  focusRow(place - 1);
}

async function anotherUser() {
  const users = await ask(`users?q=${Math.floor(Math.random() * 10)}`).catch((error) => { complain(error); return []; });
  if (users.length) takeUser(users[Math.floor(Math.random() * users.length)].user);
}

function theme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const button = byId("theme");
  const show = (now) => {
    document.documentElement.dataset.theme = now ? "dark" : "light";
    button.setAttribute("aria-pressed", String(now));
    document.dispatchEvent(new Event("theme"));
  };
  show(dark);
  button.addEventListener("click", () => show(button.getAttribute("aria-pressed") !== "true"));
}

async function begin() {
  theme();
  searching(byId("user"), byId("user-results"), "users",
    (user) => [el("span", { class: "name" }, user.user), el("span", { class: "count" }, `${user.items} items`)], (user) => takeUser(user.user));
  searching(byId("item"), byId("item-results"), "items",
    (item) => [el("span", { class: "name" }, title(item)), el("span", { class: "count" }, bought(item.count))], addItem);
  byId("clear").addEventListener("click", () => {
    Object.assign(state, { history: [], user: null, answer: null });
    closeWhy();
    changed();
  });
  byId("shuffle").addEventListener("click", anotherUser);
  try {
    state.about = await ask("about");
  } catch (error) { complain(error); return; }
  const { runs, items, users } = state.about;
  byId("about").textContent = `${runs.map((run) => run.name).join(" beside ")} — ${items.toLocaleString("en")} items, ${users.toLocaleString("en")} users`;
  byId("key-all").hidden = runs.length < 2;
  prepareMore(state);
  prepareMap(state, addItem);
  await takeUser(state.about.first_user);
}

begin();
