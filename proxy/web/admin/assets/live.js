// Keeps the sections of the status page up to date. Without this script the page is complete, too.
"use strict";

const live = document.getElementById("live");
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function duration(seconds) {
  let left = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, name] of UNITS) {
    const count = Math.floor(left / unit);
    left -= count * unit;
    if (count || parts.length) parts.push([count, name]);
  }
  const shown = parts.slice(0, 2).filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
  return shown.join(" ") || "0 s";
}

function say(text, kind) {
  if (live.textContent !== text) live.textContent = text;
  live.dataset.kind = kind;
}

// Where the reader is in a section stays as it is: focus, and how far tables are scrolled.
function replace(name, html) {
  const old = document.getElementById(name);
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  if (!old || !fresh) return;
  const places = [...old.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  const reachable = "a[href], .scroll";
  const focused = [...old.querySelectorAll(reachable)].indexOf(document.activeElement);
  const link = focused >= 0 ? document.activeElement.getAttribute("href") : null;
  old.replaceWith(fresh);
  [...fresh.querySelectorAll(".scroll")].forEach((each, index) => {
    if (places[index]) [each.scrollLeft, each.scrollTop] = places[index];
  });
  if (focused >= 0) {
    const found = [...fresh.querySelectorAll(reachable)];
    const same = link ? found.find((each) => each.getAttribute("href") === link) : found[focused];
    (same || found[0])?.focus({ preventScroll: true });
  }
}

function age() {
  const now = Date.now();
  for (const each of document.querySelectorAll("time")) {
    each.textContent = `${duration((now - Date.parse(each.dateTime)) / 1000)} ago`;
  }
}

const source = new EventSource("events");
source.addEventListener("open", () => say("Live", "on"));
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) say("Not live: reload the page", "off");
  else say("Connecting again", "off");
});
source.addEventListener("sections", (event) => {
  for (const [name, html] of Object.entries(JSON.parse(event.data))) replace(name, html);
});
setInterval(age, 1000);
