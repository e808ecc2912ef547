"use strict";
// Live parts of a page, the tail of a log, countdowns, and plots. Everything else works without JavaScript.

// Fetches the page again, and replaces each element that is marked data-live.
let refreshing = false, again = false;
async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.reload(); return; }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (!next || next.innerHTML === old.innerHTML || busy(old)) continue;
      old.replaceChildren(...next.childNodes);
    }
  } catch { /* the next event tries again */ } finally {
    refreshing = false;
    if (again) { again = false; setTimeout(refresh, 300); }
  }
}

// True for an element in which the user is typing or has chosen something: it is not replaced now.
function busy(part) {
  return part.contains(document.activeElement) && part.querySelector("input, textarea, select")
    || part.querySelector("details[open], input:checked");
}

// A browser has six connections per host: a page that is not visible holds none.
const events = document.body.dataset.events;
if (events && document.querySelector("[data-live]")) {
  let source = null;
  const follow = () => {
    if (document.hidden) { source?.close(); source = null; return; }
    if (source) return;
    source = new EventSource(events);
    for (const name of ["event", "progress"]) source.addEventListener(name, refresh);
    source.addEventListener("error", () => document.body.classList.add("offline"));
    source.addEventListener("open", () => { document.body.classList.remove("offline"); refresh(); });
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", () => { source?.close(); source = null; });
  addEventListener("pageshow", follow);
  follow();
}

const log = document.querySelector("[data-tail]");
if (log) {
  const decoder = new TextDecoder();
  let offset = Number(log.dataset.offset);
  log.scrollTop = log.scrollHeight;
  const visible = text => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    c => "\\x" + c.charCodeAt(0).toString(16).padStart(2, "0"));
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(log.dataset.tail + "?offset=" + offset);
      if (!answer.ok) return;
      const bytes = await answer.arrayBuffer();
      if (!bytes.byteLength) return;
      offset += bytes.byteLength;
      const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
      log.append(visible(decoder.decode(bytes, { stream: true })));
      if (log.textContent.length > 2_000_000) log.textContent = log.textContent.slice(-1_000_000);
      if (atEnd) log.scrollTop = log.scrollHeight;
    } catch { /* the next interval tries again */ }
  }, 1000);
}

function left(seconds) {
  if (seconds <= 0) return "now";
  for (const [unit, length, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]])
    if (seconds >= length) {
      const rest = Math.floor(seconds % length / part);
      return Math.floor(seconds / length) + " " + unit + (rest ? " " + rest + " " + smaller : "");
    }
  return Math.floor(seconds) + " s";
}
setInterval(() => {
  for (const part of document.querySelectorAll("[data-until]"))
    part.textContent = left((new Date(part.dataset.until) - Date.now()) / 1000);
}, 1000);

addEventListener("submit", event => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

addEventListener("DOMContentLoaded", () => {
  const figures = document.getElementById("figures");
  if (!figures || !window.Plotly) return;
  const colour = getComputedStyle(document.body).color;
  for (const [name, figure] of Object.entries(JSON.parse(figures.dataset.figures))) {
    if (!document.getElementById(name)) continue;
    figure.layout.font = { color: colour };
    Plotly.newPlot(name, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }
});
