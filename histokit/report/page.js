"use strict";
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), row = head.parentElement, body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending", column = [...row.children].indexOf(head);
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = line => line.children[column].dataset.key;
    const numbers = [...body.rows].every(line => key(line) === "" || !Number.isNaN(Number(key(line))));
    const order = (a, b) => {
      const first = key(a), second = key(b);
      if (first === "" || second === "") return (first === "") - (second === "");
      const sign = numbers ? Number(first) - Number(second) : first.localeCompare(second, undefined, { numeric: true });
      return down ? -sign : sign;
    };
    body.append(...[...body.rows].sort(order));
  });
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
const target = () => {
  const part = location.hash && document.getElementById(location.hash.slice(1));
  for (let inner = part; inner; inner = inner.parentElement) if (inner.tagName === "DETAILS") inner.open = true;
};
addEventListener("hashchange", target);
target();
