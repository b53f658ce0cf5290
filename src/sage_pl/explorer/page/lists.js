// The lists of every model, side by side.
import { bought, byId, el, newest, number } from "/page/dom.js";
import { addItem } from "/page/main.js";
import { showWhy } from "/page/why.js";

const query = newest();

/** Ask for the lists and show them; null where a later question overtook this one. */
export async function showLists(state) {
  byId("columns").setAttribute("aria-busy", "true");
  const lists = await query("lists", {
    history: state.history.map((item) => item.id), user: state.user, answer: state.answer?.id ?? null, k: 10,
  });
  if (lists === null) return null;
  const common = shared(Object.values(lists));
  byId("columns").replaceChildren(...Object.entries(lists).map(([name, items], place) => column(state, name, items, place, common)));
  byId("columns").setAttribute("aria-busy", "false");
  return lists;
}

/** Ids that every list has. */
function shared(lists) {
  const [first, ...others] = lists.map((items) => new Set(items.map((item) => item.id)));
  return new Set([...first].filter((id) => others.every((ids) => ids.has(id))));
}

function column(state, name, items, place, common) {
  const several = state.about.runs.length > 1;
  const hit = items.findIndex((item) => item.hit);
  const summary = [hit >= 0 ? `the purchase is number ${hit + 1}` : state.answer ? "without the purchase" : "",
    several ? `${items.filter((item) => common.has(item.id)).length} of ${items.length} in every list` : ""].filter(Boolean).join("; ");
  return el("article", { class: `column run${place % 6}`, "aria-label": `List of ${name}` },
    el("h3", {}, name), el("p", { class: "soft" }, summary),
    el("ol", {}, items.map((item) => row(state, name, item, several && common.has(item.id)))));
}

function row(state, run, item, inAll) {
  const badges = [item.hit ? el("span", { class: "badge hit" }, "bought next") : null,
    item.known ? el("span", { class: "badge known" }, "has it") : null,
    item.count ? el("span", { class: "count" }, bought(item.count)) : el("span", { class: "badge unseen" }, "unseen")];
  return el("li", { class: item.hit ? "hit" : null },
    el("button", {
      type: "button", class: "item", "aria-label": `Why ${item.title}? Score ${number(item.score)}${item.hit ? ", bought next" : ""}`,
      onclick: () => showWhy(state, run, item, true),
    }, el("span", { class: inAll ? "name all" : "name" }, item.title), ...badges),
    el("button", { type: "button", class: "add", "aria-label": `Add ${item.title} to the history`, onclick: () => addItem(item) }, "+"));
}
