// Elements, requests and searching: what the other parts share.

export const byId = (id) => document.getElementById(id);

/** An element; attributes that begin with "on" are listeners, null children are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const say = (text) => { byId("status").textContent = text; };

let showing;
export function complain(error) {
  const place = byId("problem");
  place.textContent = error.message;
  place.hidden = false;
  clearTimeout(showing);
  showing = setTimeout(() => { place.hidden = true; }, 8000);
}

/** The answer of the server; a refusal is an error with its sentence. */
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(`/api/${path}`, options);
  } catch {
    throw new Error("The server does not answer; start sage-pl explore again.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

/** The same, where of several calls only the newest counts; null for an earlier one. */
export function newest() {
  let last = 0;
  return async (path, body) => {
    const mine = ++last;
    const answer = await ask(path, body);
    return mine === last ? answer : null;
  };
}

/** Results below a search field, which arrow keys reach. */
export function searching(input, list, path, label, choose) {
  const query = newest();
  let wait;
  const close = () => { list.hidden = true; list.replaceChildren(); };
  const move = (step) => {
    const all = [...list.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement) + step;
    (at < 0 ? input : all[Math.min(at, all.length - 1)])?.focus();
  };
  const look = async () => {
    if (!input.value.trim()) return close();
    try {
      const results = await query(`${path}?q=${encodeURIComponent(input.value.trim())}`);
      if (results === null) return;
      list.replaceChildren(...results.map((result) => el("li", {}, el("button", {
        type: "button", onclick: () => { input.value = ""; close(); input.focus(); choose(result); },
      }, label(result)))));
      if (!results.length) list.append(el("li", { class: "soft" }, "nothing has these words"));
      list.hidden = false;
      say(`${results.length} results`);
    } catch (error) { complain(error); }
  };
  input.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(look, 120); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); move(1); }
    if (event.key === "Enter") { event.preventDefault(); list.querySelector("button")?.click(); }
    if (event.key === "Escape") close();
  });
  list.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); move(event.key === "ArrowDown" ? 1 : -1); }
    if (event.key === "Escape") { close(); input.focus(); }
  });
  document.addEventListener("click", (event) => { if (!input.parentElement.contains(event.target)) close(); });
}

export const bought = (count) => (count ? `${count.toLocaleString("en")}×` : "unseen");
export const number = (value) => {
  const text = Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
  return text.replace("-", "−");
};
