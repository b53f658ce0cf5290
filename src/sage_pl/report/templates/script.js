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
  const scrolls = () => { for (const box of document.querySelectorAll(".scroll")) box.classList.toggle("more", box.scrollWidth > box.clientWidth + 1); };
  addEventListener("resize", scrolls);
  addEventListener("toggle", scrolls, true);
  scrolls();
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();
  const links = new Map([...document.querySelectorAll("nav.contents a")].map((link) => [link.hash.slice(1), link]));
  const visible = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target.id);
    const inner = [...links.keys()].findLast((id) => visible.has(id));
    if (inner) for (const [id, link] of links) id === inner ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }, { rootMargin: "-10% 0px -80%" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));
  const point = document.getElementById("point");
  for (const map of document.querySelectorAll("svg[data-points]")) {
    const names = JSON.parse(map.closest("section").querySelector("script.names").textContent);
    const numbers = map.dataset.points.split(",");
    const places = [...map.querySelectorAll(".dots")].flatMap((path) => path.getAttribute("d").split("M").slice(1).map((dot) => dot.split(/[ h]/).slice(0, 2).map(Number)));
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", 5);
    const order = places.map((_, i) => i).sort((a, b) => places[a][0] - places[b][0] || places[a][1] - places[b][1]);
    let at = -1;
    const show = (i) => {
      const [x, y] = places[i], box = map.getBoundingClientRect(), scale = box.width / map.viewBox.baseVal.width;
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
      map.append(ring);
      point.textContent = names[numbers[i]];
      point.hidden = false;
      point.style.left = `${Math.max(8, Math.min(box.left + x * scale, innerWidth - point.offsetWidth - 8))}px`;
      point.style.top = `${box.top + y * scale + 12}px`;
    };
    const hide = () => { ring.remove(); point.hidden = true; };
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      const far = ([a, b]) => (a - x) ** 2 + (b - y) ** 2;
      const near = places.reduce((best, place, i) => far(place) < far(places[best]) ? i : best, 0);
      if (far(places[near]) < 64) show(near); else hide();
    });
    map.addEventListener("pointerleave", hide);
    map.addEventListener("blur", hide);
    map.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      at = (at + step + order.length) % order.length;
      show(order[at]);
    });
  }
  if (point) addEventListener("scroll", () => { point.hidden = true; }, { passive: true });
  let collapsed = [];
  addEventListener("beforeprint", () => {
    collapsed = [...document.querySelectorAll("details:not([open])")];
    root.dataset.before = root.dataset.theme || "";
    root.dataset.theme = "light";
    for (const one of collapsed) one.open = !one.querySelector(":scope > pre");
  });
  addEventListener("afterprint", () => {
    for (const one of collapsed) one.open = false;
    if (root.dataset.before) root.dataset.theme = root.dataset.before; else delete root.dataset.theme;
    delete root.dataset.before;
  });
})();
