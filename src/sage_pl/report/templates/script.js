"use strict";
(() => {
  const order = (cell) => {
    const key = cell.dataset.sort;
    return key === undefined ? cell.textContent.trim() : Number(key);
  };
  const sort = (table, column, head) => {
    const down = head.getAttribute("aria-sort") !== "descending" && (head.classList.contains("number") || head.getAttribute("aria-sort") === "ascending");
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [order(a.cells[column]), order(b.cells[column])];
      const numbersFirst = (typeof y === "number") - (typeof x === "number");
      if (numbersFirst) return numbersFirst;
      return (typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true })) * (down ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, column, head));
    });
  }
  const theme = document.getElementById("theme"), root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();
  let collapsed = [];
  addEventListener("beforeprint", () => {
    collapsed = [...document.querySelectorAll("details:not([open])")];
    root.dataset.before = root.dataset.theme || "";
    root.dataset.theme = "light";
    for (const one of collapsed) one.open = !one.querySelector("pre");
  });
  addEventListener("afterprint", () => {
    for (const one of collapsed) one.open = false;
    if (root.dataset.before) root.dataset.theme = root.dataset.before; else delete root.dataset.theme;
    delete root.dataset.before;
  });
})();
